#!/bin/sh
# Test what trains with Ray's RLlib, in an environment of its own (.venv-ray, 1.8 GB): it asks for one version
# of Gymnasium, which is not the one that all else is tested with.
# Usage: tools/ray.sh
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

if ! cmp -s tools/constraints-ray.txt .venv-ray/constraints.txt; then
    echo "ray: installing schedtuna with Ray into .venv-ray" >&2
    "$python" -m venv .venv-ray
    .venv-ray/bin/pip install -q --upgrade 'pip>=25.1'
    .venv-ray/bin/pip install -q -c tools/constraints-ray.txt -e '.[ray]' pytest hypothesis
    cp tools/constraints-ray.txt .venv-ray/constraints.txt
fi
exec .venv-ray/bin/python -m pytest -q -ra tests/unit/rl/test_ray.py
