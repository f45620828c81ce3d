#!/bin/sh
# rt-app 1.0 (Debian 12): whoever comes last to a barrier passes it again and again until those whom
# it woke have run.
#
# A barrier counts down how many are still missing. The last one finds 0 and wakes the others, but it is they who count
# up again, each when it gets a CPU. Until then the barrier reads 0, and the task that comes next, which is mostly the
# one that just left, does not wait. On one CPU it goes on for its whole slice: two tasks that are to work in step, lap
# by lap, are tens to hundreds of laps apart, and nothing in rt-app's log says so but the times. With a "sleep" between the
# barriers they keep in step, as pthread_barrier_wait() does without it, too.
#
# Needs apt-get, dpkg and python3; root or not. Two loads of less than a second, on one CPU.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir -p lists/partial archives/partial logs
: > status
# An empty status file: all that rt-app needs is fetched, whatever is installed here.
apt-get -qq -o Dir::State::status="$PWD/status" -o Dir::Cache::archives="$PWD/archives" -o Debug::NoLocking=1 \
    --no-install-recommends --download-only -y install rt-app=1.0-1 > /dev/null
for package in archives/*.deb; do dpkg -x "$package" root; done
run() {
    taskset -c 0 root/lib64/ld-linux-x86-64.so.2 --library-path root/lib/x86_64-linux-gnu:root/usr/lib/x86_64-linux-gnu \
        root/usr/bin/rt-app "$1"
}
load() { # NAME WHAT-COMES-AFTER-THE-BARRIER
    cat > "$1.json" <<JSON
{"global": {"calibration": 20, "duration": 3, "logdir": "logs", "log_basename": "$1"},
 "tasks": {"worker": {"instance": 2, "loop": 1, "phases": {"lap": {"loop": 500, "run": 100, "barrier": "step"$2}}}}}
JSON
    run "$1.json" > /dev/null 2>&1
}
load busy ''
load sleeping ', "sleep": 500'
python3 - <<'PYTHON'
import glob, sys

def ahead(name: str) -> int:
    """How many laps one of the two has done more than the other, at most."""
    ends = []
    for task, log in enumerate(sorted(glob.glob(f"logs/{name}-*.log"))):
        ends += [(int(line.split()[5]), 1 - 2 * task) for line in open(log) if line.strip() and line[0] != "#"]
    most = lead = 0
    for _, step in sorted(ends):
        lead += step
        most = max(most, abs(lead))
    return most

busy, sleeping = ahead("busy"), ahead("sleeping")
print(f"laps apart, of 500: {busy} without a sleep, {sleeping} with one")
if busy < 10:
    sys.exit("changed: tasks at a barrier keep in step")
if sleeping > 3:
    sys.exit("changed: not even those that sleep keep in step")
print("as described: the barrier holds nobody whose partner hasn't run yet")
PYTHON
