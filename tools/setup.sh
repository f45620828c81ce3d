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
need /usr/include/stdio.h libc6-dev
need clang clang
need llvm-strip llvm
need /usr/include/libelf.h libelf-dev
need /usr/include/zlib.h zlib1g-dev
need stress-ng stress-ng
need hackbench rt-tests
need sysbench sysbench
need perf linux-perf
"$python" -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
if [ "$dev" = yes ]; then
    need shellcheck shellcheck
fi

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "setup: install the equivalents of these Debian packages, then run again:$missing" >&2
        exit 3
    elif [ "$(id -u)" -ne 0 ]; then
        echo "setup: run this first: sudo apt-get install -y$missing" >&2
        exit 3
    fi
    echo "setup: installing with apt-get:$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of package names
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

if [ ! -x .venv/bin/pip ]; then
    echo "setup: creating .venv with $("$python" --version)"
    "$python" -m venv .venv
fi
.venv/bin/pip install -q --upgrade 'pip>=25.1'
if [ "$dev" = yes ]; then
    echo "setup: installing schedtuna with all extras and the test tools into .venv"
    # pip would compile 12,000 files one by one, a quarter of them tests of libraries, which nobody imports.
    .venv/bin/pip install -q --no-compile -c constraints.txt -e '.[all]' --group dev
    .venv/bin/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true # templates are not Python
else
    echo "setup: installing schedtuna into .venv, with what traces need"
    .venv/bin/pip install -q -c constraints.txt -e '.[trace]'
fi
