#!/bin/sh
# perf 6.1 (Debian 12) on a kernel since 4.14: `perf sched timehist --state` prints W for a task that was preempted,
# and K for an idle kernel thread.
#
# The kernel's sched_switch has the bits of TASK_REPORT (include/linux/sched.h): 128 is idle (I), and 256 is set alone
# where the task was preempted (R+). perf looks bits up in a string of its own, "RSDTtZXxKWP" (TASK_STATE_TO_CHAR_STR
# of tools/perf/builtin-sched.c), which is of kernels before 4.14: W was a state of waking tasks, K of those that only
# a fatal signal wakes. `perf script` prints the same events by the kernel's own letters.
#
# Needs root (tracepoints), apt-get and dpkg. It records two shells that count on one CPU for about a second.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir -p lists/partial archives/partial
: > status
# An empty status file: what perf needs is fetched, whatever is installed here.
apt-get -qq -o Dir::State::status="$PWD/status" -o Dir::Cache::archives="$PWD/archives" -o Debug::NoLocking=1 \
    --no-install-recommends --download-only -y install linux-perf=6.1.192-3 > /dev/null
for package in archives/*.deb; do dpkg -x "$package" root; done
run() { # with the fetched loader and libraries
    program=$1
    shift
    root/lib64/ld-linux-x86-64.so.2 --library-path root/lib/x86_64-linux-gnu:root/usr/lib/x86_64-linux-gnu \
        "root/usr/bin/$program" "$@"
}
cat > busy.sh <<'BUSY'
for worker in 1 2; do
    (i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done) &
done
sleep 0.01
sleep 0.01
wait
BUSY
run perf record -q -a -e sched:sched_switch -o all.data taskset -c 0 sh busy.sh
run perf script -F trace -i all.data > switches 2> warnings || { cat warnings; exit 1; }
run perf sched -i all.data timehist --state > rows 2> warnings || { cat warnings; exit 1; }
echo "perf script, prev_state:"
grep -o 'prev_state=[^ ]*' switches | sort | uniq -c
echo "perf sched timehist, state:"
awk '$2 ~ /^\[/ { print $NF }' rows | sort | uniq -c
preempted=$(grep -c 'prev_state=R+' switches || true)
waking=$(awk '$2 ~ /^\[/ && $NF == "W"' rows | wc -l)
[ "$preempted" -gt 0 ] || { echo "nothing was preempted: run it again" >&2; exit 1; }
! grep -q 'prev_state=[WK]' switches || { echo "changed: the kernel has such states" >&2; exit 1; }
[ "$waking" -gt 0 ] || { echo "changed: no state is W" >&2; exit 1; }
echo "as described: $preempted switches are of preempted tasks, R+ to perf script; $waking rows of timehist are W"
