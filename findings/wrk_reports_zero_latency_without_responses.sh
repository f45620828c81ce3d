#!/bin/sh
# wrk 4.1.0 (Debian 12) against a server that accepts connections and never answers:
#
# - the latency table is printed all the same, and every percentile in it reads 0.00us, better than any
#   real server's;
# - no line tells of an error: a request counts as timed out after 2 s, and one that was sent less than
#   2 s before the end is never counted, so a run of 2 s has no "Socket errors" line at all;
# - the exit code is 0.
#
# A program that minimises p99 from this output prefers a server that is down. Only "0 requests in" tells.
# Run it as root or not; it needs apt-get, dpkg and python3, and talks to 127.0.0.1 alone.
set -eu
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq wrk=4.1.0-3+b2 libluajit-5.1-2=2.1.0~beta3+git20220320+dfsg-4.1+deb12u1
for package in *.deb; do dpkg -x "$package" root; done
libraries=$(dirname "$(find "$PWD/root" -name 'libluajit-5.1.so.2')")

python3 -c '
import socket, time
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
print(listener.getsockname()[1], flush=True)
time.sleep(30)' > port &
server=$!
while [ ! -s port ]; do sleep 0.1; done

code=0
LD_LIBRARY_PATH=$libraries root/usr/bin/wrk -t1 -c2 -d2s --latency "http://127.0.0.1:$(cat port)/" > output || code=$?
cat output
[ "$code" -eq 0 ] || { echo "changed: exit code $code" >&2; exit 1; }
grep -q '^  0 requests in ' output || { echo "changed: the count of requests" >&2; exit 1; }
grep -q '^     99%    0.00us$' output || { echo "changed: the percentile of no latencies" >&2; exit 1; }
! grep -q 'Socket errors' output || { echo "changed: an error is told" >&2; exit 1; }
echo "as described: p99 0.00us of 0 requests, no error, exit code 0"
