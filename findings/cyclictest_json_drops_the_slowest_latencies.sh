#!/bin/sh
# cyclictest of rt-tests 2.4 (Debian 12): the JSON that `--json` writes with `-h N` lacks every latency of N us and more.
#
# On the terminal the histogram ends with "Histogram Overflows". The JSON has buckets below N alone, no bucket and no count
# for the rest, and a minimum, average and maximum over all cycles. A percentile from the JSON's buckets can't exceed
# N - 1, and it looks best on the machine whose tail is worst; only "cycles" less the sum of the buckets tells.
# The terminal's own "Total" leaves them out too: it reads 0 here.
#
# Needs apt-get and dpkg; root or not. A limit of 2 us is below what a timer takes anywhere: every cycle overflows.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir -p lists/partial archives/partial
: > status
# An empty status file: all that cyclictest needs is fetched, whatever is installed here.
apt-get -qq -o Dir::State::status="$PWD/status" -o Dir::Cache::archives="$PWD/archives" -o Debug::NoLocking=1 \
    --no-install-recommends --download-only -y install rt-tests=2.4-1 > /dev/null
for package in archives/*.deb; do dpkg -x "$package" root; done
root/lib64/ld-linux-x86-64.so.2 --library-path root/lib/x86_64-linux-gnu:root/usr/lib/x86_64-linux-gnu \
    root/usr/bin/cyclictest -q -i 1000 -l 200 -h 2 --json=out.json > terminal
grep '^# ' terminal
sed -n '/"thread"/,$p' out.json
python3 - <<'PYTHON'
import json, sys

thread = json.load(open("out.json"))["thread"]["0"]
counted = sum(thread["histogram"].values())
if thread["cycles"] != 200 or counted == 200:
    sys.exit(f"changed: {counted} of {thread['cycles']} cycles are in the histogram")
if "overflow" in open("out.json").read().lower():
    sys.exit("changed: the JSON tells of overflows")
print(f"as described: {thread['cycles']} cycles, {counted} in the JSON's histogram, nothing says where the others are")
PYTHON
