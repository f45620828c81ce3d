#!/bin/sh
# Test what spreads runs over Ray, and what trains with its RLlib, in an environment of its own (.venv-ray,
# 1.8 GB): RLlib asks for one version of Gymnasium, which is not the one that all else is tested with.
# Prints the figures of benchmarks/fleet_scaling.py, too.
# Usage: tools/ray.sh
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

if ! cmp -s tools/constraints-ray.txt .venv-ray/constraints.txt; then
    echo "ray: installing schedtuna with Ray into .venv-ray" >&2
    "$python" -m venv .venv-ray
    .venv-ray/bin/pip install -q --upgrade 'pip>=25.1'
    .venv-ray/bin/pip install -q -c tools/constraints-ray.txt -e '.[fleet,ray,server]' pytest hypothesis
    cp tools/constraints-ray.txt .venv-ray/constraints.txt
fi
status=0
.venv-ray/bin/python benchmarks/fleet_scaling.py --quick || status=$?
.venv-ray/bin/python -m pytest -q -ra tests/unit/rl/test_ray.py tests/unit/fleet/test_ray.py || status=$?
exit $status
