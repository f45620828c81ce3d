#!/bin/sh
# Run what takes minutes to hours, every step of it, whatever those before ended with. Says which step it is
# at, and in the end how long each took and how it ended; the exit code is 1 unless all worked.
# Usage: tools/long.sh [--quick], for the benchmarks alone and a little of each
set -eu
cd "$(dirname "$0")/.."
quick=${1:-}
# Matrices are small here: a thread per CPU for each would take more CPU time, and no less time.
export OMP_NUM_THREADS=1

# Those that print something; the other modules belong to them.
steps=$(grep -l '^def main' benchmarks/*.py | sed "s|.*|.venv/bin/python & $quick|; s| *$||")
[ -n "$quick" ] || steps=".venv/bin/pytest -m long --ignore tests/property
.venv/bin/pytest -m long tests/property
.venv/bin/pytest -m 'not long' tests/property --hypothesis-profile=explore
tools/ray.sh
$steps"

nr_steps=$(echo "$steps" | wc -l)
number=0
nr_failed=0
ended=""
tell_all() {
    printf '\n%s' "$ended" >&2
    echo "$number of $nr_steps steps ended, $nr_failed of them in failure" >&2
}
trap tell_all EXIT
trap 'exit 130' INT TERM

while IFS= read -r step <&3; do
    echo "# $((number + 1)) of $nr_steps, $(date +%H:%M): $step" >&2
    since=$(date +%s)
    status=0
    sh -c "$step" 3<&- || status=$?
    number=$((number + 1))
    [ "$status" -eq 0 ] || nr_failed=$((nr_failed + 1))
    ended="$ended$(printf '%6d s  exit code %d  %s' $(($(date +%s) - since)) "$status" "$step")
"
done 3<<END
$steps
END
[ "$nr_failed" -eq 0 ]
