"""Wealth that no fair game makes grow, and that an effect does."""

import itertools

import numpy as np
import pytest

from schedtuna.evidence.eprocess import REMEMBERED, RankWealth, SizeRanks, pair_scores, slot_scores, unspent


def test_wealth_is_a_fair_game_exactly():
    """All sign sequences of equal chance: the mean wealth stays 1, whatever the sizes are."""
    sizes = np.array([3.0, 1.0, 1.0, 7.0, 0.5, 2.0, 7.0])
    totals = []
    for signs in itertools.product((-1, 1), repeat=len(sizes)):
        wealth, ranks = RankWealth(), SizeRanks()
        for sign, size in zip(signs, sizes, strict=True):
            wealth.add(pair_scores(np.array([sign * size]), ranks))
        totals.append(wealth.e_values[0])
    assert np.mean(totals) == pytest.approx(1, abs=1e-12)
    assert max(totals) > 3


@pytest.mark.parametrize("values", [[1.0, 2, 3, 4, 5], [2.0, 2, 1, 1, 9, 3], [0.0] * 4])
def test_the_scores_of_a_cycle_have_mean_0_over_the_places_that_chance_could_draw(values):
    scores = [slot_scores(np.array(values)[:, None], place)[0] for place in range(len(values))]
    assert np.mean(scores) == pytest.approx(0, abs=1e-12)
    assert max(np.abs(scores)) <= 1


def test_the_lowest_slot_of_a_drifting_load_is_found_beside_its_neighbours():
    values = np.arange(20.0)
    values[12] -= 1.5
    scores = [slot_scores(values[:, None], place)[0] for place in range(20)]
    assert int(np.argmax(scores)) == 12


def test_what_is_not_in_the_game_yet_is_never_negative_and_is_used_up():
    shares = [unspent(n) for n in (0, 1, 10, 1000, 10**6)]
    assert shares[0] == 1
    assert all(later < before for before, later in itertools.pairwise(shares))
    assert shares[-1] > 0


def test_ranks_are_among_the_last_sizes_only():
    ranks = SizeRanks()
    for _ in range(10):
        ranks.rank(np.array([100.0]))
    assert ranks.rank(np.array([5.0]))[0] == pytest.approx(1 / 22)
    for _ in range(REMEMBERED):
        last = ranks.rank(np.array([5.0]))[0]
    assert last == pytest.approx(0.5)


def test_a_fair_coin_seldom_makes_one_rich_however_long_one_looks():
    """Ville: 20 is reached by 5% at most; 2,000 lives of 1,000 pairs leave 1.5% for chance."""
    rng = np.random.default_rng(5)
    lives = 2000
    wealth, ranks = RankWealth(lives), SizeRanks(lives)
    noise = np.zeros(lives)
    for _ in range(1000):
        noise = 0.7 * noise + rng.standard_t(3, lives)
        wealth.add(pair_scores(noise * rng.choice([-1, 1], lives), ranks))
    assert (wealth.most >= 20).mean() <= 0.065
    assert (wealth.most >= 20).mean() > 0.001  # a game that nobody plays would pass, too


@pytest.mark.parametrize(("begins", "within"), [(0, 25), (360, 70)])
def test_an_effect_is_found_soon_also_when_it_begins_after_an_hour(begins, within):
    """360 pairs of 10 s; nine in ten lives with a shift of one standard deviation."""
    rng = np.random.default_rng(6)
    lives = 400
    wealth, ranks = RankWealth(lives), SizeRanks(lives)
    for _ in range(begins):
        wealth.add(pair_scores(rng.normal(0, 1, lives), ranks))
    early = (wealth.most >= 20).mean()
    for _ in range(within):
        wealth.add(pair_scores(rng.normal(1, 1, lives), ranks))
    assert early <= 0.08
    assert (wealth.most >= 20).mean() >= 0.9
