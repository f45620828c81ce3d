"""Effects and intervals from pairs and cycles of windows."""

import math

import numpy as np
import pytest

from schedtuna.evidence.on_off import OnOffCycle, OnOffEvidence, OnOffPair


def evidence_of(effect, nr_pairs, seed, *, cycles=0, noise=0.2, tolerated=1.0):
    rng = np.random.default_rng(seed)
    evidence = OnOffEvidence(tolerated=tolerated)
    for _ in range(nr_pairs):
        on, off = rng.normal(0, noise, 2)
        evidence.add(OnOffPair(on + effect, off))
    for _ in range(cycles):
        values = rng.normal(0, noise, 20) + effect
        off_at = int(rng.integers(20))
        values[off_at] -= effect
        evidence.add(OnOffCycle(tuple(values), off_at))
    return evidence


@pytest.mark.parametrize("effect", [-0.25, 0.0, 0.1, 0.6])
def test_the_interval_holds_the_effect_at_every_look(effect):
    missed = 0
    for seed in range(40):
        evidence = evidence_of(effect, 60, seed, cycles=20).effect()
        missed += not evidence.low <= math.exp(effect) <= evidence.high
    assert missed <= 5  # of 40 at 5%: more happens once in 70


def test_the_interval_shrinks_towards_the_effect():
    few, many = evidence_of(0.3, 8, 1).effect(), evidence_of(0.3, 200, 1).effect()
    assert math.isinf(few.high) or few.high / few.low > many.high / many.low
    assert many.low > 1
    assert many.ratio == pytest.approx(math.exp(0.3), rel=0.06)


def test_a_loss_that_is_tolerated_is_no_harm():
    assert evidence_of(0.04, 400, 2, noise=0.05).e_harm > 20
    assert evidence_of(0.04, 400, 2, noise=0.05, tolerated=1.05).e_harm < 20
    assert evidence_of(0.2, 60, 2, noise=0.05, tolerated=1.05).e_harm > 20


def test_labels_swapped_turn_help_into_harm():
    help_, harm = evidence_of(-0.2, 60, 3), evidence_of(0.2, 60, 3)
    assert help_.e_help > 20 > help_.e_harm
    assert harm.e_harm > 20 > harm.e_help


def test_cycles_alone_find_an_effect():
    assert evidence_of(-0.4, 0, 4, cycles=40).e_help > 20


def test_noise_is_of_windows_of_the_same_arm():
    evidence = OnOffEvidence()
    assert math.isnan(evidence.effect().noise_ratio)
    evidence.add_same([0.0, 0.1, 0.0, 0.1])
    assert evidence.effect().noise_ratio == pytest.approx(math.exp(0.1))


def test_nothing_is_known_of_nothing():
    effect = OnOffEvidence().effect()
    assert math.isnan(effect.ratio)
    assert (effect.low, effect.high, effect.nr_units) == (0, math.inf, 0)


def test_more_is_better_is_told_of_the_metric_itself():
    effect = evidence_of(-0.3, 60, 5).effect()
    turned = effect.of_more_is_better()
    assert turned.ratio == pytest.approx(1 / effect.ratio)
    assert (turned.low, turned.high) == (1 / effect.high, 1 / effect.low)
