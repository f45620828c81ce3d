#!/bin/sh
# Set up a development environment: Debian packages where they are missing, then .venv.
# Usage: tools/setup.sh [EXTRAS], EXTRAS a comma-separated list of the extras of pyproject.toml.
set -eu
cd "$(dirname "$0")/.."
extras=${1:-}
python=${PYTHON:-python3}

# command (or file) -> package that has it
missing=""
need() { [ -e "$1" ] || command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need gcc gcc
need /usr/include/stdio.h libc6-dev
need stress-ng stress-ng
need hackbench rt-tests
need sysbench sysbench
"$python" -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"

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

if [ ! -x .venv/bin/python ]; then
    echo "setup: creating .venv with $("$python" --version)"
    "$python" -m venv .venv
    .venv/bin/pip install -q 'pip>=25.1'
fi
target=.
[ -z "$extras" ] || target=".[$extras]"
echo "setup: installing schedtuna${extras:+ with the extras $extras} and its tools into .venv"
.venv/bin/pip install -q -c constraints.txt -e "$target" --group dev
