#!/bin/sh
# perf 6.1 (Debian 12): `perf data convert --to-json` of scheduling events writes samples that don't say what happened.
#
# Each sample has a time, a CPU, a task and a call chain. It has neither the event's name nor one of its fields: a
# switch can't be told from a wakeup, and who came next, who was woken and the state left in are gone, though `perf
# script` prints them all from the same file. The conversion reports success and the number of samples. At most the name
# of the kernel's function in the call chain hints at the event, for those who may read the kernel's symbols.
#
# Needs root (tracepoints), apt-get, dpkg and python3. It records a shell that starts a few short sleeps.
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
perf() { # with the fetched loader and libraries
    root/lib64/ld-linux-x86-64.so.2 --library-path root/lib/x86_64-linux-gnu:root/usr/lib/x86_64-linux-gnu \
        root/usr/bin/perf "$@"
}
perf record -q -a -e sched:sched_switch,sched:sched_wakeup -o recorded.data \
    sh -c 'for nap in 1 2 3 4 5; do sleep 0.05; done'
perf script -i recorded.data > script.txt 2> warnings || { cat warnings; exit 1; }
grep -m 2 sched_switch script.txt
grep -m 2 sched_wakeup script.txt
perf data convert -i recorded.data --to-json recorded.json
python3 - <<'PYTHON'
import json, sys

samples = json.load(open("recorded.json"))["samples"]
printed = open("script.txt").read()
kinds = [printed.count(f"sched:{event}:") for event in ("sched_switch", "sched_wakeup")]
names = sorted({name for sample in samples for name in sample})
print(f"{len(samples)} samples in the JSON, {kinds[0]} switches and {kinds[1]} wakeups by perf script")
print("all that a sample tells:", ", ".join(names))
print(json.dumps(samples[0]))
if not all(kinds) or len(samples) < 20:
    sys.exit("too little was recorded")
if set(names) - {"timestamp", "pid", "tid", "cpu", "comm", "callchain"}:
    sys.exit("changed: the samples tell more")
print("as described: no event's name, no field")
PYTHON
