import itertools
import math
import time
from collections import Counter

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from schedtuna.errors import EvidenceError
from schedtuna.evidence.design import (
    LOOKS,
    Arm,
    least_budget,
    looks_for,
    minimum_blocks,
    plan_block,
    plan_blocks,
    plan_campaign,
    split_budget,
)


def test_every_order_of_the_arms_is_equally_likely():
    rng = np.random.default_rng(1)
    counts = Counter(plan_block(rng).order for _ in range(6000))
    assert set(counts) == set(itertools.permutations(Arm))
    chi_square = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    assert chi_square < 20.5  # 99.9% of a chi-square with 5 degrees of freedom


def test_blocks_have_distinct_seeds_and_a_campaign_is_reproducible():
    plans = plan_campaign(np.random.default_rng(7), 200)
    assert len({plan.seed for plan in plans}) == 200
    assert plans == plan_campaign(np.random.default_rng(7), 200)


def test_tabulated_looks_are_the_computed_ones():
    computed = looks_for(27)
    assert [look.blocks for look in LOOKS] == [look.blocks for look in computed] == [6, 9, 13, 19, 27]
    assert [look.p_bound for look in LOOKS] == pytest.approx([look.p_bound for look in computed], abs=3e-6)


@pytest.mark.parametrize("max_blocks", [4, 8, 20, 27, 54])
@pytest.mark.parametrize("alpha", [0.025, 0.0125])
def test_looks_spend_alpha_as_planned(max_blocks, alpha):
    """The oracle is the multivariate normal distribution function, not a recursion."""
    if max_blocks < minimum_blocks(alpha):
        pytest.skip("no outcome could be significant")
    looks = looks_for(max_blocks, alpha)
    blocks = np.array([look.blocks for look in looks])
    levels = norm.isf([look.p_bound for look in looks])
    covariance = np.sqrt(np.minimum.outer(blocks, blocks) / np.maximum.outer(blocks, blocks))
    for k in range(1, len(looks) + 1):
        crossed = 1 - multivariate_normal(np.zeros(k), covariance[:k, :k], seed=1).cdf(levels[:k])
        planned = alpha * math.log1p((math.e - 1) * blocks[k - 1] / max_blocks)
        assert crossed == pytest.approx(planned, abs=2e-5)
    assert crossed <= alpha + 2e-5


@pytest.mark.parametrize("max_blocks", range(4, 60))
def test_every_look_can_reach_its_bound(max_blocks):
    looks = looks_for(max_blocks)
    assert looks[-1].blocks == max_blocks
    assert all(3.0**-look.blocks <= look.p_bound for look in looks)
    assert all(first.blocks < second.blocks for first, second in itertools.pairwise(looks))


def test_too_few_blocks_say_how_many_are_needed():
    assert minimum_blocks() == 4  # 3^-4 <= 0.025 < 3^-3
    with pytest.raises(EvidenceError, match=r"3 blocks \(9 runs\) are too few") as caught:
        looks_for(3)
    assert "12 runs" in str(caught.value.hint)
    with pytest.raises(EvidenceError, match="error rate"):
        looks_for(27, 0.7)


@pytest.mark.parametrize(("total", "split"), [(40, (16, 24)), (150, (90, 60)), (200, (119, 81))])
def test_budgets_are_split_as_planned(total, split):
    assert split_budget(total) == split


def test_the_least_budget_of_a_search_is_the_first_that_has_enough():
    searches = {total: split_budget(total)[0] for total in range(13, 3000)}
    for wanted in range(1, 2000):
        assert least_budget(wanted) == next(total for total, runs in searches.items() if runs >= wanted)


@pytest.mark.parametrize("wanted", [20_000_000, 10**15])
def test_the_least_budget_of_a_huge_search_is_soon_found(wanted):
    started = time.process_time()
    total = least_budget(wanted)
    assert time.process_time() - started < 20
    assert split_budget(total)[0] >= wanted > split_budget(total - 1)[0]


def test_a_split_spends_the_budget_in_whole_blocks_and_grows_with_it():
    splits = [split_budget(total) for total in range(13, 2000)]
    for total, (search, confirmation) in zip(range(13, 2000), splits, strict=True):
        assert search + confirmation == total
        assert confirmation % 3 == 0
        assert search >= 1
        assert confirmation >= 3 * minimum_blocks()
    assert all(first[1] <= second[1] for first, second in itertools.pairwise(splits))


def test_a_budget_without_a_confirmation_is_refused():
    with pytest.raises(EvidenceError, match="too small") as caught:
        split_budget(12)
    assert "13" in str(caught.value.hint)


def test_plans_follow_the_square_root_law():
    assert plan_blocks(0.10, 0.05) == pytest.approx(4 * plan_blocks(0.05, 0.05), rel=0.05)
    assert plan_blocks(0.05, 0.05, power=0.5) < plan_blocks(0.05, 0.05, power=0.9) <= 27
    assert plan_blocks(0.0, 0.05) == LOOKS[0].blocks


@pytest.mark.parametrize("arguments", [(0.05, 0.0), (0.05, 1.0), (-1.0, 0.05), (math.nan, 0.05)])
def test_impossible_plans_are_refused(arguments):
    with pytest.raises(EvidenceError):
        plan_blocks(*arguments)
    with pytest.raises(EvidenceError):
        plan_blocks(0.05, 0.05, power=1.0)
