#!/bin/sh
# Run the tests, but for those that take minutes: the pure ones two at a time; then those that change the
# machine's settings or measure it, one by one, and beside them those that only use guests or files.
# Usage: tools/test.sh [--retry], to try what failed once more, alone: others who use the machine may be to blame.
set -eu
cd "$(dirname "$0")/.."
failed=no

# Tests start hundreds of commands: compile what they import once.
unset PYTHONDONTWRITEBYTECODE

# run ARGUMENTS-OF-PYTEST: go on after tests that failed; stop where not all of them ran
run() {
    status=0
    .venv/bin/pytest -m "not long" "$@" || status=$?
    case $status in
        0) ;;
        1) failed=yes ;;
        *) exit "$status" ;;
    esac
}

run --numprocesses 2 --dist worksteal tests/unit tests/property
run --numprocesses 2 --dist loadscope --ignore tests/unit --ignore tests/property
[ "$failed" = yes ] || exit 0
[ "${1:-}" = --retry ] || exit 1
exec .venv/bin/pytest -m "not long" --last-failed --last-failed-no-failures none
