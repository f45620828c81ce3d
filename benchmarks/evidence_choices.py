"""What do the test's own choices buy? Power and false claims of one look with each left out.

`median` aligns blocks by their plain median, `mean` by their mean, `no_places` never takes the
places within blocks off. All variants see the same studies.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from evidence_simulation import OUTLIER_RATE, Fault, Noise, draw_runs
from schedtuna.evidence import permutation
from schedtuna.evidence.design import LOOKS, Arm

VARIANTS = {
    "as_it_is": {},
    "median": {"CLIP_SIGMAS": 0.0},
    "mean": {"CLIP_SIGMAS": math.inf},
    "no_places": {"POSITION_Q": math.inf},
}
NOISE = Noise(outlier_rate=OUTLIER_RATE)
SITUATIONS = {
    "27 blocks, effect 0.95": (LOOKS[4], 0.95, Fault()),
    "9 blocks, effect 0.9": (LOOKS[1], 0.90, Fault()),
    "27 blocks, effect 0.95, first run +10%": (LOOKS[4], 0.95, Fault(first=1.10)),
    "27 blocks, no effect": (LOOKS[4], 1.0, Fault()),
    "27 blocks, no effect, first run +10%": (LOOKS[4], 1.0, Fault(first=1.10)),
}


@contextmanager
def constants(values: dict[str, float]) -> Iterator[None]:
    """Set constants of the test for a while."""
    kept = {name: getattr(permutation, name) for name in values}
    for name, value in values.items():
        setattr(permutation, name, value)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(permutation, name, value)


def main() -> None:
    """Run all situations and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=4000, help="per situation")
    parser.add_argument("--quick", action="store_true", help="100 studies per situation")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    studies = 100 if options.quick else options.studies
    started = time.perf_counter()
    report: dict[str, Any] = {"benchmark": "evidence_choices", "studies": studies}
    for name, (look, effect, fault) in SITUATIONS.items():
        rng = np.random.default_rng(options.seed)
        found = dict.fromkeys(VARIANTS, 0)
        for _ in range(studies):
            runs = draw_runs(rng, NOISE, effect, fault=fault, blocks=look.blocks)
            candidate = np.array([order.index(Arm.B) for order in runs.orders])
            comparison = permutation.BlockCosts(np.log(runs.costs), candidate)
            for variant, values in VARIANTS.items():
                with constants(values):
                    found[variant] += comparison.test().lower <= look.p_bound
        report[name] = {variant: round(count / studies, 4) for variant, count in found.items()}
    report["seconds"] = round(time.perf_counter() - started, 1)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
