"""Runs inside a guest under scx_tuna: windows of a load, a parameter off and on, in pairs of random order.

Reads {"rows": {name: [load, off, on]}, "pairs": N, "seconds": S, "seed": X}; prints a JSON object per window.
"""

import ctypes
import json
import os
import random
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, "/usr/lib/schedtuna/python")
from tests.kernel import tuna_loads

from schedtuna.scheduler import tuna


def ping_pong(seconds, cpus=None):
    """Two tasks wake each other through pipes; returns how often."""
    there, back = os.pipe(), os.pipe()

    def serve():
        while os.read(there[0], 1) != b"e":
            os.write(back[1], b"x")
        return {}

    server = tuna_loads.fork(serve, cpus=cpus)
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        os.write(there[1], b"x")
        os.read(back[0], 1)
        count += 1
    os.write(there[1], b"e")
    tuna_loads.answers([server])
    for pipe in (*there, *back):
        os.close(pipe)
    return {"rounds": count}


def sleepers(count, seconds, nap_s, cpus=None):
    """Tasks that sleep and run a little; returns the lateness of their wakeups in ms, the 90th percentile."""

    def work():
        late, end = [], time.monotonic() + seconds
        while (before := time.monotonic()) < end:
            time.sleep(nap_s)
            late.append(time.monotonic() - before - nap_s)
        return {"late_ms": sorted(late)[len(late) * 9 // 10] * 1e3}

    return [tuna_loads.fork(work, cpus=cpus) for _ in range(count)]


def mixed(seconds, *, hogs=4, pinned=None):
    """Sleepers beside tasks that spin; returns what the sleepers have seen."""
    spinning = [tuna_loads.fork(tuna_loads.spin(seconds), cpus=pinned) for _ in range(hogs)]
    napping = sleepers(2, seconds, 0.003, cpus=pinned)
    late = tuna_loads.answers(napping)
    spun = tuna_loads.answers(spinning)
    return {
        "late_ms": max(one["late_ms"] for one in late),
        "longest_s": max(one["longest_s"] for one in spun),
    }


def shares(seconds, nices):
    """Two tasks of these nice values on one CPU; returns the first's part of their CPU time."""
    found = tuna_loads.hogs(2, seconds, nices, [1])
    times = [one["cpu_s"] for one in found]
    switches = sum(one["switches"] for one in found)
    return {"share": times[0] / sum(times), "switches_per_s": switches / sum(times)}


def light(seconds):
    """Two sleepers, and nobody else."""
    late = tuna_loads.answers(sleepers(2, seconds, 0.004))
    return {"late_ms": max(one["late_ms"] for one in late)}


def bursts(ready, start, *, lasts_s, period_s, burst_s, offset_s=0.0):
    """A task of CPU 1 that runs for so long in each period, from when it is told; answers how long it ran."""

    def work():
        os.write(ready, b"r")
        begin = struct.unpack("d", os.read(start, 8))[0]
        at, ran_s = begin + offset_s, time.thread_time()
        while at < begin + lasts_s:
            time.sleep(max(at - time.monotonic(), 0))
            until = time.thread_time() + burst_s
            while burst_s and time.thread_time() < until:
                pass
            at = max(at + period_s, time.monotonic())
        used_s = time.thread_time() - ran_s
        time.sleep(max(begin + lasts_s + 0.1 - time.monotonic(), 0))  # nobody ends before all have run
        return used_s

    return tuna_loads.fork(work, cpus=[1])


def credits_(running, seconds):
    """Sleepers on a CPU that is used for a fifth, then wholly; the mean caps of their credit, in ms."""

    def mean_cap_ms(used):
        lasts_s, settles_s = 0.4 + seconds / 2, 0.4
        readiness, start = os.pipe(), os.pipe()
        kinds = [{"period_s": 0.047, "burst_s": 0.047 * used}]
        kinds += [{"period_s": 0.3, "burst_s": 0.0, "offset_s": 0.025 * number} for number in range(12)]
        tasks = [bursts(readiness[1], start[0], lasts_s=lasts_s, **kind) for kind in kinds]
        for _ in tasks:  # what their start has cost is forgotten when the window begins
            os.read(readiness[0], 1)
        begin = time.monotonic() + 0.1
        os.write(start[1], len(tasks) * struct.pack("d", begin))
        time.sleep(begin + settles_s - time.monotonic())
        before = running.stats()
        time.sleep(max(begin + lasts_s - time.monotonic(), 0))
        caps = {name: number - before[name] for name, number in running.stats().items()}
        used = sum(tuna_loads.answers(tasks)) / lasts_s
        for end in (*readiness, *start):
            os.close(end)
        return caps["credit_ns"] / max(caps["nr_credits"], 1) / 1e6, used

    fifth_ms, fifth_used = mean_cap_ms(0.15)  # the sleepers use the rest of it
    full_ms, full_used = mean_cap_ms(1.0)
    return {"fifth_ms": fifth_ms, "fifth_used": fifth_used, "full_ms": full_ms, "full_used": full_used}


def crowded(seconds):
    """More tasks than CPUs, which run for about a millisecond and sleep for as long."""

    def work():
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.003)
            until = time.thread_time() + 0.001
            while time.thread_time() < until:
                pass
        return {}

    tuna_loads.answers([tuna_loads.fork(work) for _ in range(8)])
    return {}


where = ctypes.CDLL(None).sched_getcpu


def behind_kthreads(seconds):
    """A task that a bound kernel thread wakes on its CPU; how often it stays there, and how long it waits."""

    def run_delay_ms():
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e6

    def work():
        all_cpus, stays, waits, end = os.sched_getaffinity(0), [], [], time.monotonic() + seconds
        # Each CPU is given work for its kernel thread, and the end of it is waited for, that of CPU 0 first.
        refresh = os.open("/proc/sys/vm/stat_refresh", os.O_RDONLY)
        while time.monotonic() < end:
            os.sched_setaffinity(0, {0})
            os.sched_setaffinity(0, all_cpus)
            time.sleep(0.003)
            cpu, delay_ms = where(), run_delay_ms()
            os.pread(refresh, 100, 0)
            stays.append(where() == cpu)
            waits.append(run_delay_ms() - delay_ms)
        waits.sort()
        return {
            "stayed": sum(stays) / len(stays),
            "wait_ms": waits[len(waits) * 9 // 10],
            "longest_wait_ms": waits[-1],
        }

    return tuna_loads.answers([tuna_loads.fork(work)])[0]


def on_fast_cpus(running, seconds, *, feeders):
    """Two tasks beside four that spin; which part of their time they had on fast CPUs.

    They feed a GPU as a hint says, or, `opening`, because they open a device of /dev/full's number and up.
    """

    def work(burst_s, nap_s, *, opens=False):
        def run():
            if opens:
                os.close(os.open("/dev/full", os.O_RDONLY))
            spent, end = [0.0, 0.0], time.monotonic() + seconds
            while time.monotonic() < end:
                until = time.thread_time() + burst_s
                while (before := time.thread_time()) < until:
                    cpu, now = where(), before
                    while where() == cpu and (now := time.thread_time()) < min(before + 0.001, until):
                        pass
                    spent[cpu in FAST] += now - before
                time.sleep(nap_s)
            return spent

        return tuna_loads.fork(run)

    running.set_fast_cpus({cpu: cpu in FAST for cpu in range(4)})
    time.sleep(0.2)  # the watch looks at them
    running.set_gpu_devices({1: 7})
    first = [work(0.005, 0.005, opens=feeders == "opening") for _ in range(2)]
    for pid, _ in first:
        running.set_class(pid, tuna.CLASS_GPU if feeders == "hinted" else 0)
    others = [work(0.05, 0.0) for _ in range(4)]
    found = {"first": tuna_loads.answers(first), "others": tuna_loads.answers(others)}
    running.set_fast_cpus(dict.fromkeys(range(4), False))
    for pid, _ in first:
        running.set_class(pid, 0)
    time.sleep(1.2)  # until then fast CPUs would be kept free for them
    shares = {
        f"{name}_on_fast": sum(one[1] for one in all_) / sum(map(sum, all_)) for name, all_ in found.items()
    }
    return {**shares, "used": sum(sum(map(sum, all_)) for all_ in found.values()) / (4 * seconds)}


FAST = (2, 3)
CONSTANTS = {"sticky_wait_ns": 500_000}
LOADS = {
    "alike": lambda _, seconds: shares(seconds, [0]),
    "nice 0 and 10": lambda _, seconds: shares(seconds, [0, 10]),
    "ping-pong": lambda _, seconds: ping_pong(seconds),
    "mixed": lambda _, seconds: mixed(seconds),
    "pinned": lambda _, seconds: mixed(seconds, hogs=4, pinned=[1]),
    "light": lambda _, seconds: light(seconds),
    "credits": credits_,
    "crowded": lambda _, seconds: crowded(seconds),
    "behind kthreads": lambda _, seconds: behind_kthreads(seconds),
    "feeders": lambda running, seconds: on_fast_cpus(running, seconds, feeders="hinted"),
    "opening feeders": lambda running, seconds: on_fast_cpus(running, seconds, feeders="opening"),
    "no feeders": lambda running, seconds: on_fast_cpus(running, seconds, feeders=""),
}


def main():
    plan = json.load(sys.stdin)
    rng = random.Random(plan["seed"])
    windows = [(name, pair) for name in plan["rows"] for pair in range(plan["pairs"])]
    rng.shuffle(windows)
    with tuna.RunningTuna() as running:
        for name, pair in windows:
            load, *sides = plan["rows"][name]
            order = [0, 1]
            rng.shuffle(order)
            for side in order:
                values = {**tuna.DEFAULTS, **CONSTANTS, **sides[side]}
                tuna_loads.ask("set", {name: values.pop(name) for name in CONSTANTS})
                running.set(values)
                before = running.stats()
                found = LOADS[load](running, plan["seconds"])
                counted = {key: number - before[key] for key, number in running.stats().items()}
                print(json.dumps({"row": name, "pair": pair, "on": side, **counted, **found}), flush=True)


if __name__ == "__main__":
    main()
