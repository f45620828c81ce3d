#!/bin/sh
# fio 3.33 (Debian 12): with unified_rw_reporting=both the text says of all directions together "IOPS=0, BW=0".
#
# The line "mixed:" stands behind those of reads and writes, with a mean and percentiles that are right, over all
# operations of both; only its rate and bandwidth, which should be the sums, are 0. The JSON of the same run has them, and
# so has the text with unified_rw_reporting=mixed. Whoever takes the last IOPS= of the text compares zeros.
# Needs apt-get and dpkg.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir -p lists/partial archives/partial
: > status
# An empty status file: all that fio needs is fetched, whatever is installed here.
apt-get -qq -o Dir::State::status="$PWD/status" -o Dir::Cache::archives="$PWD/archives" -o Debug::NoLocking=1 \
    --no-install-recommends --download-only -y install fio=3.33-3 > /dev/null
for package in archives/*.deb; do dpkg -x "$package" root; done
libraries=root/lib/x86_64-linux-gnu:root/usr/lib/x86_64-linux-gnu

for how in both mixed; do
    root/lib64/ld-linux-x86-64.so.2 --library-path "$libraries" root/usr/bin/fio --name=a --filename="$PWD/data" \
        --size=4m --bs=4k --rw=randrw --unified_rw_reporting="$how" > "$how"
    grep 'IOPS=' "$how" | sed "s/^ */$how: /; s/, BW.*//"
done > rates
cat rates
grep -q '^both: read: IOPS=[1-9]' rates && grep -q '^both: write: IOPS=[1-9]' rates || {
    echo "changed: no rates of reads and writes" >&2; exit 1; }
grep -q '^both: mixed: IOPS=0$' rates || { echo "changed: with both, the rate of all is not 0" >&2; exit 1; }
grep -q '^mixed: mixed: IOPS=[1-9]' rates || { echo "changed: alone, the rate of all is 0, too" >&2; exit 1; }
echo "as described: reads and writes have rates, and what should be their sum is 0"
