"""Loads under scx_tuna, run inside a guest: each prints what it saw as a JSON object."""

import ctypes
import json
import os
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, "/usr/lib/schedtuna/python")

from schedtuna.kernel.kernel_btf import KernelBtf
from schedtuna.scheduler import tuna


def fork(work, *, cpus=None, nice=0):
    """Start a child that does the work and writes its answer into a pipe; returns (pid, pipe)."""
    reader, writer = os.pipe()
    if pid := os.fork():
        os.close(writer)
        return pid, reader
    os.close(reader)
    if cpus:
        os.sched_setaffinity(0, cpus)
    os.nice(nice)
    os.write(writer, json.dumps(work()).encode())
    os._exit(0)


def answers(children):
    found = []
    for pid, reader in children:
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        os.waitpid(pid, 0)
        found.append(json.loads(text))
    return found


def spin(seconds):
    """Run without a pause; returns CPU time, the longest standstill and the number of switches."""

    def work():
        end = time.monotonic() + seconds
        last, longest = time.monotonic(), 0.0
        while (now := time.monotonic()) < end:
            longest, last = max(longest, now - last), now
        status = Path("/proc/self/status").read_text().splitlines()
        switches = sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
        return {"cpu_s": time.process_time(), "longest_s": max(longest, now - last), "switches": switches}

    return work


def hogs(count, seconds, nices=(0,), cpus=None):
    """Some spin; returns what each has seen."""
    return answers([fork(spin(seconds), cpus=cpus, nice=nices[i % len(nices)]) for i in range(count)])


def switches_per_s(count, seconds, cpus):
    found = hogs(count, seconds, cpus=cpus)
    return sum(one["switches"] for one in found) / seconds


def main():
    answer: object
    with tuna.RunningTuna() as running:
        for order in json.load(sys.stdin):
            match order:
                case ["set", values]:
                    answer = running.set(values)
                case ["set_raw", values]:
                    params = running.params()
                    params.version += 1
                    for name, value in values.items():
                        setattr(params, name, value)
                    running.set_raw(params)
                    answer = params.version
                case ["hogs", count, seconds, nices, cpus]:
                    answer = hogs(count, seconds, nices, cpus)
                case ["stats"]:
                    answer = running.stats()
                case ["in_force"]:
                    answer = {
                        "version": running.params().version,
                        "values": tuna.unpack(running.params()),
                        "decisions": running.nr_decisions(),
                        "refused": running.is_refused(),
                    }
                case ["hotplug", cpu]:
                    for state in "01":
                        Path(f"/sys/devices/system/cpu/cpu{cpu}/online").write_text(state)
                        time.sleep(0.2)
                    answer = True
                case ["flip", count]:
                    for number in range(count):
                        running.set({"rr_sched": bool(number % 2)})
                    answer = running.params().version
                case ["rt", cpu, seconds]:
                    answer = rt_hog(cpu, seconds)
                case ["rt_pinned", cpu, seconds]:
                    answer = rt_hog(cpu, seconds, pinned=True)
                case ["groups", groups, seconds, cpus]:
                    answer = in_groups(groups, seconds, cpus)
                case ["callbacks"]:
                    with KernelBtf() as kernel:
                        answer = sorted(kernel.members("sched_ext_ops"))
                case ["pipes", rounds]:
                    answer = pipes(rounds)
                case ["cost", program, count, seconds]:
                    answer = cost(program, count, seconds)
                case ["bursts", seconds]:
                    answer = bursts(seconds)
                case ["model", name, mode, settings]:
                    text = Path(f"/share/{name}.json").read_text()
                    parts = [text[start : start + 40_000] for start in range(0, len(text), 40_000)]
                    requests = [*({"part": part} for part in parts), {"do": "load"}]
                    answer = ask("model", *requests, {"do": mode, "settings": settings})
                case ["model_status"]:
                    answer = ask("model", {"do": "status"})
                case ["state"]:
                    answer = Path("/sys/kernel/sched_ext/state").read_text().strip()
                case _:
                    raise ValueError(order)
            print(json.dumps(answer), flush=True)


def ask(request, *questions):
    """Put questions to the scheduler's loader; returns the last answer."""
    line = socket.socket(socket.AF_UNIX)
    line.connect("/var/run/scx/root/stats")
    answers = line.makefile()
    for arguments in questions:
        line.sendall(json.dumps({"req": request, "args": arguments}).encode() + b"\n")
        said = json.loads(answers.readline())
        if said["errno"]:
            raise ValueError(said)
    return said["args"]["resp"]


def pipes(rounds):
    """Two tasks wake each other so often; returns ns per round: instructions, where these are the clock."""
    there, back = os.pipe(), os.pipe()

    def serve():
        for _ in range(rounds):
            os.write(back[1], os.read(there[0], 1))
        return {}

    server = fork(serve)
    began = time.monotonic_ns()
    for _ in range(rounds):
        os.write(there[1], b"x")
        os.read(back[0], 1)
    passed_ns = time.monotonic_ns() - began
    answers([server])
    for pipe in (*there, *back):
        os.close(pipe)
    return {"round_ns": passed_ns / rounds}


def cost(program, count, seconds):
    """Some spin on a CPU; what a program of the scheduler took meanwhile, by the kernel's own statistics."""
    sysctl = Path("/proc/sys/kernel/bpf_stats_enabled")
    sysctl.write_text("1")
    before = statistics_of(program)
    hogs(count, seconds)
    ran_ns, runs = (now - then for now, then in zip(statistics_of(program), before, strict=True))
    sysctl.write_text("0")
    return {"runs": runs, "mean_ns": ran_ns / max(runs, 1)}


def statistics_of(program):
    """Run time in ns and runs of a loaded BPF program."""
    fd = descriptor_of(program)
    text = Path(f"/proc/self/fdinfo/{fd}").read_text()
    os.close(fd)
    fields = dict(line.split(":\t") for line in text.splitlines())
    return int(fields["run_time_ns"]), int(fields["run_cnt"])


def descriptor_of(program):
    """Open a loaded BPF program by its name."""
    next_id, open_id, tell = 11, 13, 15  # enum bpf_cmd
    info_bytes, name_at = 72, 64  # of struct bpf_prog_info, as far as it is asked for
    call = ctypes.CDLL(None, use_errno=True).syscall
    number = 0
    while True:
        attributes = ctypes.create_string_buffer(struct.pack("<III", number, 0, 0), 16)
        if call(321, next_id, attributes, 12):
            raise LookupError(program)
        number = struct.unpack_from("<I", attributes, 4)[0]
        fd = call(321, open_id, ctypes.create_string_buffer(struct.pack("<III", number, 0, 0), 16), 12)
        info = ctypes.create_string_buffer(info_bytes + 16)
        asked = struct.pack("<IIQ", fd, info_bytes + 16 - 8, ctypes.addressof(info))
        told = not call(321, tell, ctypes.create_string_buffer(asked, 16), 16)
        if told and info.raw[name_at : name_at + 16].partition(b"\0")[0].decode() == program[:15]:
            return fd
        os.close(fd)


def bursts(seconds):
    """Sleepers of two kinds on one CPU, which want more of it than there is; how late each kind is, in ms."""

    def sleeper(burst_s, nap_s):
        def work():
            late, end = [], time.monotonic() + seconds
            while (began := time.monotonic()) < end:
                time.sleep(nap_s)
                late.append(time.monotonic() - began - nap_s)
                until = time.thread_time() + burst_s
                while time.thread_time() < until:
                    pass
            return sorted(late)[len(late) // 2] * 1e3

        return fork(work)

    short = [sleeper(0.0005, 0.011) for _ in range(4)]
    long = [sleeper(0.008, 0.011) for _ in range(4)]
    return {"short_ms": max(answers(short)), "long_ms": max(answers(long))}


def in_groups(groups, seconds, cpus):
    """Some spin in each of the groups (path -> settings, number); returns the CPU time of each group."""
    root, (gate, opens) = Path("/sys/fs/cgroup"), os.pipe()
    (root / "cgroup.subtree_control").write_text("+cpu")
    children = {}

    def work():
        (end,) = struct.unpack("d", os.read(gate, 8))  # all are where they belong, and end at once
        before_s = time.process_time()
        return spin(end - time.monotonic())()["cpu_s"] - before_s

    for path, (settings, count) in groups.items():
        folder = root / path
        folder.mkdir(exist_ok=True)
        if not count:
            (folder / "cgroup.subtree_control").write_text("+cpu")
        children[path] = [fork(work, cpus=cpus) for _ in range(count)]
        for pid, _ in children[path]:
            (folder / "cgroup.procs").write_text(str(pid))
        for name, text in settings.items():
            (folder / name).write_text(text)
    os.write(opens, struct.pack("d", time.monotonic() + seconds) * sum(count for _, count in groups.values()))
    used = {path: sum(answers(found)) for path, found in children.items()}
    for path in sorted(groups, key=len, reverse=True):
        (root / path).rmdir()
    os.close(gate)
    os.close(opens)
    return used


def rt_hog(cpu, seconds, *, pinned=False):
    """A real-time task takes a CPU where others ran, which may leave it or not; returns what they saw."""

    def work():
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        time.sleep(0.05)  # the kernel tells of a CPU that is taken when such a task wakes
        return spin(seconds)()

    cpus = {cpu} if pinned else None
    free = [fork(spin(seconds + 0.5), cpus=cpus) for _ in range(os.cpu_count() or 1)]
    time.sleep(0.2)
    answers([fork(work, cpus={cpu})])
    return answers(free)


if __name__ == "__main__":
    main()
