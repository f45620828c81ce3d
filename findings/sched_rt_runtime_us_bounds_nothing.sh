#!/bin/sh
# Linux's kernel.sched_rt_runtime_us (seen on 7.3): halved, it leaves realtime tasks the CPU time that they had.
#
# sched(7) and the kernel's sched-rt-group.rst say that it limits what SCHED_FIFO and SCHED_RR tasks get of each
# sched_rt_period_us; hardening guides and tuning tools set it. Since 6.12 ("sched/rt: Remove default bandwidth control")
# it only bounds which SCHED_DEADLINE tasks are admitted. What normal tasks keep is the fair server's runtime, 5% of each
# CPU (debugfs, sched/fair_server/cpuN/runtime), whatever the sysctl says: 1000000, the default of 7.3, is as safe as
# 950000. With CONFIG_RT_GROUP_SCHED groups have budgets of their own, which have to fit into it; not looked at here.
#
# A fifo task computes on the last CPU for four seconds, beside a normal one, as it is and with half of the period.
# Needs root and python3. It sets the sysctl and puts it back; nothing is installed.
set -eu
sysctl=/proc/sys/kernel/sched_rt_runtime_us
before=$(cat $sysctl)
trap 'echo "$before" > $sysctl' EXIT
uname -sr
share() {
    python3 - <<'PYTHON'
import os, time

def hog(fifo):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        if fifo:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        start = time.monotonic()
        while time.monotonic() < start + 4:
            pass
        os.write(writer, f"{time.process_time() / (time.monotonic() - start):.3f}".encode())
        os._exit(0)
    return reader

hog(False)
fifo = hog(True)
os.wait(), os.wait()
print(os.read(fifo, 99).decode())
PYTHON
}
now=$(share)
echo "sched_rt_runtime_us $before: the fifo task got $now of its CPU"
echo $(($(cat /proc/sys/kernel/sched_rt_period_us) / 2)) > $sysctl || {
    echo "refused: this kernel has CONFIG_RT_GROUP_SCHED" >&2
    exit 3
}
half=$(share)
echo "sched_rt_runtime_us $(cat $sysctl): the fifo task got $half of its CPU"
python3 -c "import sys; sys.exit($half < 0.8)" || { echo "changed: the sysctl bounds realtime tasks" >&2; exit 1; }
echo "as described: with half of the period, the fifo task got $half"
