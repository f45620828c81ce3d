#!/bin/sh
# perf 6.1 (Debian 12): `perf sched timehist -s` on a recording of one command, that is `perf record` without -a.
#
# An event of sched_switch is kept for a task only while it is the one that leaves its CPU: the switches that
# brought the command's tasks onto a CPU are not in the file. `perf sched latency` notices ("context switch bugs").
# `perf sched timehist` does not: it prints run times for every task, no warning at all, and says of CPUs
# that were busy all the time "idle entire time window".
#
# Needs root (tracepoints), apt-get and dpkg. It records a shell that counts on every CPU for about a second.
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
for cpu in $(seq "$(nproc)"); do
    (i=0; while [ $i -lt 400000 ]; do i=$((i + 1)); done) &
done
wait
BUSY
run perf record -q -e sched:sched_switch,sched:sched_wakeup -o one.data sh busy.sh
run perf sched -i one.data timehist -s > summary 2> warnings || { cat warnings; exit 1; }
cat warnings summary
idle=$(grep -c 'idle entire time window' summary || true)
[ "$idle" -eq "$(nproc)" ] || { echo "changed: $idle of $(nproc) CPUs are called idle" >&2; exit 1; }
! grep -iq 'warn\|lost\|incomplete\|bugs' warnings summary || { echo "changed: it warns" >&2; exit 1; }
grep -q 'Total run time (msec): [0-9]*[1-9]' summary || { echo "changed: no run time is printed" >&2; exit 1; }
echo "as described: every CPU was busy, is called idle for the entire time window, and nothing warns"
