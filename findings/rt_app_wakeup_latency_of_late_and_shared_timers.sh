#!/bin/sh
# rt-app 1.0 (Debian 12): the column wu_lat, "wakeup latencies after timer events", reads 0 for the latest wakeups of all.
#
# - A thread that comes to its timer after the time has passed does not sleep, and logs a latency of 0, however
#   late it is. In an overload every row says 0, and the mean over a run falls as more periods are missed. Only a
#   negative "slack" tells.
# - Where two instances share a timer (any "ref" that does not start with "unique"), one moves the next time on while
#   the other sleeps. That they then take turns is documented; that the latency is taken from the moved
#   time, gets negative and is logged as an unsigned number, about 18446744073709541616 us, is not.
#
# Needs apt-get, dpkg and python3; root or not. Two loads of a second.
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
    root/lib64/ld-linux-x86-64.so.2 --library-path root/lib/x86_64-linux-gnu:root/usr/lib/x86_64-linux-gnu \
        root/usr/bin/rt-app "$1"
}
cat > late.json <<'JSON'
{"global": {"calibration": 100, "duration": 1, "logdir": "logs", "log_basename": "late"},
 "tasks": {"worker": {"runtime": 15000, "timer": {"ref": "unique", "period": 10000}}}}
JSON
cat > shared.json <<'JSON'
{"global": {"calibration": 100, "duration": 1, "logdir": "logs", "log_basename": "shared"},
 "tasks": {"worker": {"instance": 2, "run": 100, "timer": {"ref": "tick", "period": 10000}}}}
JSON
run late.json > /dev/null
run shared.json > /dev/null
for log in logs/*.log; do
    echo "$log"
    sed -n 2,6p "$log"
done
python3 - <<'PYTHON'
import glob, sys

def column(logs: str, name: str) -> list[int]:
    lines = [line.split() for log in glob.glob(logs) for line in open(log) if not line.startswith("# Policy")]
    place = lines[0].index(name)
    return [int(line[place]) for line in lines if line and not line[0].startswith("#")]

slack, late = column("logs/late*", "slack"), column("logs/late*", "wu_lat")
shared = column("logs/shared*", "wu_lat")
wrapped = sum(latency > 2**63 for latency in shared)
print(f"late: slack {max(slack)} us at best, wu_lat {max(late)} at most; shared: {wrapped} of {len(shared)} beyond 2^63 us")
if max(slack) >= 0 or max(late) > 0 or not late:
    sys.exit("changed: a late wakeup has a latency")
if wrapped < 10:
    sys.exit("changed: the latencies of a shared timer are not negative")
print("as described: 0 us for wakeups that came too late, 2^64 less something for shared timers")
PYTHON
