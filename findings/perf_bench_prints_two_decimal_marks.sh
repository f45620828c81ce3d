#!/bin/sh
# perf 6.1 (Debian 12): `perf bench syscall basic` in German: a point is the decimal mark of one line, and parts the
# thousands of another.
#
#      Total time: 0.028 [sec]
#        0,280120 usecs/op
#       3.569.898 ops/sec
#
# The seconds are printed as two whole numbers with a point between them, whatever the language is; the microseconds with
# %f and the rate with %'d, which follow LC_NUMERIC. `perf bench sched pipe` prints its rate without marks. So no one
# rule, "the point is the decimal mark" or "it is not", reads the output, and the language can't be told from one line:
# below a million, on a slow or loaded machine, the rate is `761.011`, which most parsers take for 761 per second.
# --format=simple has a point with the seconds of syscall, and a comma with the bytes per second of mem.
#
# Needs apt-get, dpkg and localedef (libc-bin).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir -p lists/partial archives/partial
: > status
# An empty status file: what perf needs is fetched, whatever is installed here.
apt-get -qq -o Dir::State::status="$PWD/status" -o Dir::Cache::archives="$PWD/archives" -o Debug::NoLocking=1 \
    --no-install-recommends --download-only -y install linux-perf=6.1.192-3 locales=2.36-9+deb12u14 > /dev/null
for package in archives/*.deb; do dpkg -x "$package" root; done
I18NPATH=root/usr/share/i18n localedef -i de_DE -f UTF-8 ./de_DE.UTF-8
bench() {
    LOCPATH="$PWD" LC_ALL=de_DE.UTF-8 root/lib64/ld-linux-x86-64.so.2 \
        --library-path root/lib/x86_64-linux-gnu:root/usr/lib/x86_64-linux-gnu root/usr/bin/perf bench "$@"
}
bench syscall basic -l 100000 > syscall
bench --format=simple mem memcpy -s 1MB -f default > memory
cat syscall memory
expect() { # FILE PATTERN
    grep -Eq "$2" "$1" || { echo "changed: $1 has no line like $2" >&2; exit 1; }
}
expect syscall 'Total time: [0-9]+\.[0-9]{3} \[sec\]'
expect syscall ' [0-9]+,[0-9]{6} usecs/op'
expect syscall ' [0-9]{1,3}(\.[0-9]{3})+ ops/sec'
expect memory '^[0-9]+,[0-9]{6}$'
echo "as described: within three lines a point is the decimal mark, and parts the thousands"
