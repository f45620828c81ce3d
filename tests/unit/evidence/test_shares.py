import itertools

import numpy as np
import pytest

from schedtuna.evidence.design import Arm
from schedtuna.evidence.shares import compare_shares

ORDERS = tuple(itertools.permutations(Arm))


def shares(default: float, candidate: float, blocks: int = 9, noise: float = 0.2, seed: int = 1):
    rng = np.random.default_rng(seed)
    orders = [ORDERS[rng.integers(6)] for _ in range(blocks)]
    of = {Arm.A: default, Arm.A2: default, Arm.B: candidate}
    rows = [
        {arm: float(share * rng.uniform(1 - noise, 1 + noise)) for arm, share in of.items()}
        for _ in range(blocks)
    ]
    return compare_shares("bad", "bad responses", orders, rows)


def test_a_higher_share_is_told_with_both():
    found = shares(0.01, 0.2)
    assert found.is_higher and found.matters
    assert found.default == pytest.approx(0.01, rel=0.2)
    assert found.candidate == pytest.approx(0.2, rel=0.2)
    assert found.tell().startswith("bad responses: ") and " instead of " in found.tell()


def test_a_share_that_is_higher_by_next_to_nothing_does_not_matter():
    found = shares(1e-6, 1e-4)
    assert found.is_higher and not found.matters


@pytest.mark.parametrize(("default", "candidate"), [(0.0, 0.0), (0.2, 0.01), (1.0, 1.0)])
def test_no_more_failures_are_not_told(default, candidate):
    assert not shares(default, candidate, noise=0.0).is_higher


def test_equal_shares_are_rarely_called_higher():
    called = sum(shares(0.05, 0.05, seed=seed).is_higher for seed in range(200))
    assert called <= 20  # 5% of them, and chance


def test_runs_that_do_not_say_are_left_out():
    nothing = dict.fromkeys(Arm)
    assert compare_shares("bad", "bad", [ORDERS[0]], [nothing]) is None
