#!/bin/sh
# Linux's cgroups (seen on 6.18, v1 and v2): writing 1 to cpu.idle and then 0 does not give the group's weight back.
#
# cpu.idle reads like a switch beside cpu.weight (v1: cpu.shares). It is not: 1 overwrites the weight with the lowest one, and 0
# sets it to the default, 100 (v1: 1024), whatever it was before. A program that tries cpu.idle on a service and puts the
# one file that it wrote back leaves that service with another share of the CPUs, for good, and every write succeeded.
#
# Needs root and a mounted cpu controller. It makes one empty group and removes it; nothing is installed.
set -eu
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    group=/sys/fs/cgroup/finding-$$
    weight=cpu.weight own=400 default=100
    grep -qw cpu /sys/fs/cgroup/cgroup.subtree_control || { echo "no cpu controller for groups here" >&2; exit 3; }
else
    group=/sys/fs/cgroup/cpu/finding-$$
    weight=cpu.shares own=4096 default=1024
fi
mkdir "$group"
trap 'rmdir "$group"' EXIT
uname -sr
say() { echo "cpu.idle $(cat "$group/cpu.idle"), $weight $(cat "$group/$weight")"; }
echo "$own" > "$group/$weight"
say
echo 1 > "$group/cpu.idle"
say
echo 0 > "$group/cpu.idle"
say
now=$(cat "$group/$weight")
[ "$now" -eq "$default" ] || { echo "changed: $weight is $now after cpu.idle went back to 0" >&2; exit 1; }
echo "as described: $weight was $own, cpu.idle is what it was, $weight is $now"
