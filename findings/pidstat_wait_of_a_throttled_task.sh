#!/bin/sh
# pidstat 12.6.1 (Debian 12) on Linux (seen on 6.18): %wait is near 100 though the CPU is free.
#
# "%wait" is said to be the share of time that a task waits to run, and is read as competition for CPUs. A task that its
# cgroup's quota (cpu.max, in a container the CPU limit) holds back counts as waiting all that time, for the kernel's
# run_delay, which pidstat reads from /proc/PID/schedstat, goes on while a group is throttled. No other task, nice value,
# slice or scheduler makes such a task run sooner; a tuner that minimises run_delay there works on a number that the
# quota alone decides. nr_throttled in the group's cpu.stat tells the two apart.
#
# Needs root, apt-get, dpkg and a mounted cpu controller. One group with a quota of 10% holds one shell that counts.
set -eu
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    group=/sys/fs/cgroup/finding-$$
    grep -qw cpu /sys/fs/cgroup/cgroup.subtree_control || { echo "no cpu controller for groups here" >&2; exit 3; }
else
    group=/sys/fs/cgroup/cpu/finding-$$
fi
folder=$(mktemp -d)
task=
trap '[ -z "$task" ] || { kill "$task"; wait "$task" || true; }; rmdir "$group"; rm -rf "$folder"' EXIT
mkdir "$group"
cd "$folder"
apt-get download -qq sysstat=12.6.1-1
dpkg -x sysstat_*.deb root
if [ -e "$group/cpu.max" ]; then
    echo "10000 100000" > "$group/cpu.max"
else
    echo 100000 > "$group/cpu.cfs_period_us"
    echo 10000 > "$group/cpu.cfs_quota_us"
fi
sh -c "echo \$\$ > $group/cgroup.procs; while :; do :; done" &
task=$!
sleep 1
LC_ALL=C root/usr/bin/pidstat -u -p "$task" 4 1 | tee report
cat "$group/cpu.stat"
waited=$(awk '/^Average/ { print $7 }' report | tail -n 1)
awk -v waited="$waited" 'BEGIN { exit !(waited > 70) }' || { echo "changed: %wait is $waited under a quota of 10%" >&2; exit 1; }
echo "as described: %wait $waited, and it is the quota that the task waits for"
