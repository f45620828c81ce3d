#!/bin/sh
# Build the wheel that needs no compiler where it is installed: native parts and BPF programs are in it, the
# manual page and the shells' completions, too; its tag names the oldest C library that it runs with.
# Usage: tools/wheel.sh [FOLDER], which is dist otherwise
set -eu
cd "$(dirname "$0")/.."
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

.venv/bin/python tools/share.py "$made/share"
# In a folder of its own: the editable installation keeps what it has built.
.venv/bin/python -m pip wheel -q --no-deps -w "$made" -C build-dir="$made/build" \
    -C cmake.define.SCHEDTUNA_SHARE="$made/share" .
PATH="$PWD/.venv/bin:$PATH" .venv/bin/auditwheel repair -w "${1:-dist}" "$made"/*.whl
ls "${1:-dist}"/*.whl
