#!/bin/sh
# Both sides of the verdict: a load that settings help, and a program that they can't help. Then a simulated machine.
# Usage: tools/demo.sh [SEED [RESULTS [gain|null|both|model]]]; everything is drawn from the seed, and all parts run.
set -eu
cd "$(dirname "$0")/.."
seed=${1:-1}
results=${2:-results}
part=${3:-all}
schedtuna=.venv/bin/schedtuna
tune="$schedtuna tune --seed $seed --results $results"
mix=src/schedtuna/workload/programs/mix.py
# Left as they are: what ranks the command above other programs, and where it runs.
as_is="--exclude autogroup --exclude autogroup_nice --exclude nice --exclude affinity"

runs() { case " $1 " in *" $part "*) ;; *) return 1 ;; esac; }

if runs "all both gain"; then
    echo "1 of 3: two tasks that wake up, answer a request and sleep again, beside a computing task per CPU."
    echo "        What makes the median answer come sooner, from when its request is due?"
    # shellcheck disable=SC2086 # lists of options
    $tune --budget 48 $as_is --parser json -m p50_us -- .venv/bin/python -I "$mix" --seed '{seed}' \
        --seconds 0.6 --tasks 2 --rate 200 --units 1 --loops 200 --hogs "$(nproc)" --apart
fi
if runs "all both"; then echo; fi
if runs "all both null"; then
    # A program that never sleeps is never woken late. Without root its timers stay as they are, too.
    if [ "$(id -u)" -eq 0 ]; then tried=timer_slack_us left=policy; else tried=policy left=timer_slack_us; fi
    echo "2 of 3: a program that only computes. $tried can't matter to it, but single runs differ:"
    echo "        is the best one of them more than luck?"
    # shellcheck disable=SC2086 # lists of options
    $tune --budget 90 --delta 0.1 $as_is --exclude slice_us --exclude "$left" -m cpu_time_s \
        -- .venv/bin/python -I -c 'sum(range(3 * 10**6))'
fi
if runs all; then echo; fi
if runs "all model"; then
    machine="--topology 2x8x1" load=interactive:load=0.9
    echo "3 of 3: a simulated machine of 16 CPUs, on which people type and a video"
    echo "        plays beside batch work. How late are they, under which scheduler?"
    echo
    for scheduler in fair rr:slice_us=3000 interactive; do
        # shellcheck disable=SC2086 # lists of options
        told=$($schedtuna sim run $load --scheduler "$scheduler" $machine --seed "$seed" --for 5s)
        echo "$told" | sed '/^This is a model/d'
    done
    echo "        What if the last of them took the first one's place?"
    # shellcheck disable=SC2086
    $schedtuna compare --backend sim --workload $load $machine --seed "$seed" --results "$results" default interactive
fi
