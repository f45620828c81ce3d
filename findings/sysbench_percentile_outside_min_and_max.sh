#!/bin/sh
# sysbench 1.0.20 (Debian 12): the percentile of the latencies can lie below the minimum and above the maximum beside it.
#
# It is not taken from the latencies but from a histogram of 1024 logarithmic buckets over 0.001 to 100000 ms, and what is
# printed, with the same two decimals as the exact minimum, average and maximum, is the bucket's value. Neighbouring
# values are 1.8% apart. A 95th percentile that improves by 1% reads as no change or as a gain of 1.8%, and runs that
# differ tie exactly: a tuner that compares this number can't see what it is after.
#
# Shown with runs of one event each, where minimum, average, maximum and every percentile are one number.
# Needs apt-get and dpkg.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir -p lists/partial archives/partial
: > status
# An empty status file: all that sysbench needs is fetched, whatever is installed here.
apt-get -qq -o Dir::State::status="$PWD/status" -o Dir::Cache::archives="$PWD/archives" -o Debug::NoLocking=1 \
    --no-install-recommends --download-only -y install sysbench=1.0.20+ds-5 > /dev/null
for package in archives/*.deb; do dpkg -x "$package" root; done

for run in 1 2 3 4 5 6 7 8; do
    root/lib64/ld-linux-x86-64.so.2 --library-path root/lib/x86_64-linux-gnu:root/usr/lib/x86_64-linux-gnu \
        root/usr/bin/sysbench cpu --cpu-max-prime=200000 --events=1 --time=0 run > "run$run"
    awk '/ min:| max:| 95th percentile:/ { printf "%s %s   ", $(NF - 1), $NF } END { print "" }' "run$run"
done > latencies
cat latencies
awk '
    $2 != $4 { print "changed: one event has two latencies"; exit 1 }
    $6 != $4 { outside++ }
    {
        bucket = log($6 / 0.001) / log(100000 / 0.001) * 1023
        off = bucket - int(bucket + 0.5)
        if (off * off > 0.01) { print "changed: " $6 " is not the value of a bucket"; exit 1 }
    }
    END { if (NR != 8 || outside < 4) { print "changed: the percentile is the latency in " NR - outside " of " NR; exit 1 } }
' latencies >&2
echo "as described: each run had one event, and its 95th percentile is another number than its minimum and maximum"
