#!/bin/sh
# Set up .venv: first the Debian packages that are missing, then schedtuna itself, editable.
# Usage: tools/setup.sh [--dev], --dev for every extra and the tools of the tests.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
dev=no
[ "${1:-}" != --dev ] || dev=yes

# need COMMAND-OR-FILE PACKAGE
missing=""
need() { [ -e "$1" ] || command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need gcc gcc
need g++ g++
need /usr/include/stdio.h libc6-dev
need clang clang
# Schedulers need 17 or newer, which Debian 12 has beside its usual one.
if grep -qs '^VERSION_CODENAME=bookworm' /etc/os-release; then need clang-19 clang-19; fi
need llvm-strip llvm
need /usr/include/libelf.h libelf-dev
need /usr/include/zlib.h zlib1g-dev
need /usr/include/nlohmann/json.hpp nlohmann-json3-dev
need stress-ng stress-ng
need hackbench rt-tests
need sysbench sysbench
need perf linux-perf
need "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" python3-dev
"$python" -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
if [ "$dev" = yes ]; then
    need shellcheck shellcheck
    need valgrind valgrind
fi

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "setup: install the equivalents of these Debian packages, then run again:$missing" >&2
        exit 3
    elif [ "$(id -u)" -ne 0 ]; then
        echo "setup: run this first: sudo apt-get install -y$missing" >&2
        exit 3
    fi
    export DEBIAN_FRONTEND=noninteractive
    echo "setup: fetching Debian's package lists"
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of package names
    set -- --no-install-recommends $missing
    size=$(apt-get install -qq --print-uris "$@" | awk '{ bytes += $3 } END { printf "%.0f MB", bytes / 1e6 }')
    echo "setup: installing with apt-get, which fetches $size:$missing"
    apt-get install -y -qq "$@" >/dev/null
fi

if [ ! -x .venv/bin/pip ]; then
    echo "setup: creating .venv with $("$python" --version)"
    "$python" -m venv .venv
fi

# Run pip install, and show of what it says how far it is: each file with its size, then what takes long.
install() {
    rm -f .venv/failed
    { .venv/bin/pip install --progress-bar off "$@" || touch .venv/failed; } | sed -u -n \
        -e '/\.metadata/d' -e 's/^ *Downloading \([^/]*\/\)*/setup: fetching /p' \
        -e 's/^ *Building editable for schedtuna.*started.*/setup: compiling what is native of schedtuna/p' \
        -e 's/^Installing collected packages: .*/setup: unpacking/p'
    [ ! -e .venv/failed ]
}

install --upgrade 'pip>=25.1'
if [ "$dev" = yes ]; then
    echo "setup: installing schedtuna with all extras and the test tools into .venv"
    # pip would compile 12,000 files one by one, a quarter of them tests of libraries, which nobody imports.
    install --no-compile -c constraints.txt -e '.[all,arrow]' --group dev
    echo "setup: compiling Python's files"
    .venv/bin/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true # templates are not Python
else
    echo "setup: installing schedtuna into .venv, with what traces and the simulator need"
    install -c constraints.txt -e '.[sim]'
fi
