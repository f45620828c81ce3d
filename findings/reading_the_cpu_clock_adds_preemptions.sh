#!/bin/sh
# Linux (seen on 6.18, HZ=250, EEVDF's default slice): a task that reads its own CPU clock is preempted far more often.
#
# clock_gettime(CLOCK_THREAD_CPUTIME_ID), Python's time.thread_time(), and getrusage() look like reads. To give the exact
# time the kernel brings the running task's account up to date, and there it sees that the slice is over; without that
# it sees so at the next tick. With slices shorter than a tick (1.4 to 2.8 ms against 4 ms at HZ=250), two tasks that
# share a CPU change places at each slice's end instead of each tick. A benchmark that measures its own CPU time in the
# loop measures another schedule than the program has without it.
#
# Two processes compute on one CPU for two seconds, once reading the wall clock in their loop, once their CPU clock.
# Needs python3 and a kernel whose slice is shorter than its tick (6.6 or newer, HZ=250 or less, no HRTICK).
set -eu
uname -sr
python3 - <<'PYTHON'
import os, resource, sys, time

def preemptions_per_cpu_second(clock) -> float:
    """Of two processes on the first allowed CPU that read `clock` all the time."""
    reader, writer = os.pipe()
    end = time.monotonic() + 2
    for _ in range(2):
        if os.fork() == 0:
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            while time.monotonic() < end:
                for _ in range(100):
                    clock()
            used = resource.getrusage(resource.RUSAGE_SELF)
            os.write(writer, f"{used.ru_nivcsw} {used.ru_utime + used.ru_stime}\n".encode())
            os._exit(0)
    os.wait()
    os.wait()
    counts = [line.split() for line in os.read(reader, 4096).decode().splitlines()]
    return sum(int(switches) for switches, _ in counts) / sum(float(seconds) for _, seconds in counts)

wall = cpu = 0.0
for _ in range(3):  # in turn, so that other load meets both
    wall += preemptions_per_cpu_second(time.monotonic) / 3
    cpu += preemptions_per_cpu_second(time.thread_time) / 3
print(f"preemptions per CPU second: {wall:.0f} reading the wall clock, {cpu:.0f} reading the CPU clock")
if cpu < 1.4 * wall:
    sys.exit("changed: reading the CPU clock adds no preemptions")
print("as described: the program that times itself is scheduled otherwise")
PYTHON
