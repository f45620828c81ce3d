#!/bin/sh
# Both sides of the verdict: a load that settings help, and a program that they can't help.
# Usage: tools/demo.sh [SEED [RESULTS [gain|null]]]; everything is drawn from the seed, and both parts run.
set -eu
cd "$(dirname "$0")/.."
seed=${1:-1}
results=${2:-results}
part=${3:-both}
tune=".venv/bin/schedtuna tune --seed $seed --results $results"
mix=src/schedtuna/workload/programs/mix.py
# Left as they are: what ranks the command above other programs, and where it runs.
as_is="--exclude autogroup --exclude autogroup_nice --exclude nice --exclude affinity"

if [ "$part" != null ]; then
    echo "1 of 2: two tasks that wake up, answer a request and sleep again, beside a computing task per CPU."
    echo "        What makes the median answer come sooner, from when its request is due?"
    # shellcheck disable=SC2086 # lists of options
    $tune --budget 48 $as_is --parser json -m p50_us -- .venv/bin/python -I "$mix" --seed '{seed}' \
        --seconds 0.6 --tasks 2 --rate 200 --units 1 --loops 200 --hogs "$(nproc)" --apart
fi
[ "$part" != both ] || echo
if [ "$part" != gain ]; then
    # A program that never sleeps is never woken late. Without root its timers stay as they are, too.
    if [ "$(id -u)" -eq 0 ]; then tried=timer_slack_us left=policy; else tried=policy left=timer_slack_us; fi
    echo "2 of 2: a program that only computes. $tried can't matter to it, but single runs differ:"
    echo "        is the best one of them more than luck?"
    # shellcheck disable=SC2086 # lists of options
    $tune --budget 90 --delta 0.1 $as_is --exclude slice_us --exclude "$left" -m cpu_time_s \
        -- .venv/bin/python -I -c 'sum(range(3 * 10**6))'
fi
