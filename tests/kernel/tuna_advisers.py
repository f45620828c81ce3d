"""Programs that advise scx_tuna well, badly or not at all, run inside a guest; prints what each saw."""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, "/usr/lib/schedtuna/python")

from schedtuna.kernel.maps import LoadedMaps
from schedtuna.scheduler import tuna_advice
from schedtuna.scheduler.tuna_advice import AdviceChannel, answer_to, features_of

SECOND = 10**9


def sleeper(seconds, cpus=None):
    """A child that sleeps and runs a little; returns (pid, pipe): the CPUs where it was found."""
    reader, writer = os.pipe()
    if pid := os.fork():
        os.close(writer)
        return pid, reader
    os.close(reader)
    if cpus:
        os.sched_setaffinity(0, cpus)
    end, found = time.monotonic() + seconds, []
    where = ctypes.CDLL(None).sched_getcpu
    while time.monotonic() < end:
        time.sleep(0.005)
        found.append(where())
        until = time.thread_time() + 0.001
        while time.thread_time() < until:
            pass
    os.write(writer, json.dumps(found[10:]).encode())
    os._exit(0)


def seen(child):
    pid, reader = child
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def case(advise, seconds=1.5, cpus=None):
    """Let it be asked about one sleeper; returns the counters' changes and where that ran."""
    with AdviceChannel(period_ns=1_000_000) as channel:
        child = sleeper(seconds, cpus)
        before = channel.stats()
        asked = []

        def of_this_one(requests):
            own = [one for one in requests if one.tid == child[0]]
            asked.extend(features_of(one) for one in own)
            return [answer for one in own for answer in advise(one)]

        end = time.monotonic() + seconds
        channel.serve(of_this_one, goes_on=lambda: time.monotonic() < end)
        found = seen(child)
        counted = {name: number - before[name] for name, number in channel.stats().items()}
    return {"counted": counted, "cpus": found, "nr_asked": len(asked), "asked": asked[-1] if asked else {}}


def changed(request, **values):
    """An answer that would hold, but for these."""
    answer = answer_to(request, valid_ns=SECOND, kind="interactive")
    for name, value in values.items():
        setattr(answer, name, value)
    return [answer]


CASES = {
    "place": lambda: case(lambda one: [answer_to(one, valid_ns=SECOND, cpu=2)]),
    "kind": lambda: case(lambda one: [answer_to(one, valid_ns=SECOND, kind="interactive", slice_us=4000)]),
    "not allowed": lambda: case(lambda one: [answer_to(one, valid_ns=SECOND, cpu=2)], cpus={0, 1}),
    "wrong start": lambda: case(lambda one: changed(one, start_time_ns=one.start_time_ns + 1)),
    "stale": lambda: case(lambda one: changed(one, id=one.id + (1 << 60))),
    "unknown": lambda: case(lambda one: changed(one, tid=4_000_000)),
    "many": lambda: case(lambda one: 40 * changed(one, tid=4_000_000), seconds=0.5),
    "late": lambda: case(lambda one: changed(one, expires_ns=time.monotonic_ns() - 10 * SECOND)),
    "no such cpu": lambda: case(lambda one: changed(one, cpu=3)),
    "no such kind": lambda: case(lambda one: changed(one, kind=4)),
    "no such slice": lambda: case(lambda one: changed(one, slice_us=999)),
    "expires": lambda: case(lambda one: [answer_to(one, valid_ns=2_000_000, kind="interactive")]),
}


def left_alone(number):
    """A program that is asked is stopped or killed: the scheduler asks for a second more, and goes on."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        channel = AdviceChannel(period_ns=1_000)
        os.write(writer, b"x")
        channel.serve(lambda requests: [], goes_on=lambda: True)
    os.read(reader, 1)
    time.sleep(0.3)
    os.kill(pid, number)
    children = [sleeper(3) for _ in range(6)]
    time.sleep(2)
    maps = LoadedMaps(("tuna_advised",))

    def read():
        stats = tuna_advice.AdviceStats.from_buffer_copy(
            maps.read("tuna_advised", 0, ctypes.sizeof(tuna_advice.AdviceStats))
        )
        return stats.nr_requests + stats.nr_ring_full

    before = read()
    found = [seen(child) for child in children]
    after = read()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return {"nr_rounds": min(map(len, found)), "asked_after_lease": after - before}


def hints():
    """A hint by tid and one by control group, and what is counted of them."""
    found, told = {}, tuna_advice.Hints()
    maps = LoadedMaps(("tuna_advised",))

    def nr_hinted():
        data = maps.read("tuna_advised", 0, ctypes.sizeof(tuna_advice.AdviceStats))
        return tuna_advice.AdviceStats.from_buffer_copy(data).nr_hinted

    group = Path("/sys/fs/cgroup/hinted")
    group.mkdir()
    for name in ("none", "tid", "group"):
        before = nr_hinted()
        # Nobody looks for an idle CPU for who has one CPU: each wakeup is queued.
        children = [sleeper(1.5, cpus={1}) for _ in range(2)]
        for pid, _ in children:
            if name == "tid":
                told.set("interactive", tid=pid)
            elif name == "group":
                told.set("batch", group=str(group))
                (group / "cgroup.procs").write_text(str(pid))
        for child in children:
            seen(child)
            if name == "tid":
                told.set("none", tid=child[0])
        found[name] = nr_hinted() - before
    told.set("none", group=str(group))
    return found


def main():
    found = {name: run() for name, run in CASES.items()}
    found["stopped"], found["killed"] = left_alone(signal.SIGSTOP), left_alone(signal.SIGKILL)
    found["hints"] = hints()
    found["state"] = Path("/sys/kernel/sched_ext/state").read_text().strip()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
