import numpy as np
import pytest
from tests.unit.evidence.studies import blocks_of

from schedtuna.errors import EvidenceError
from schedtuna.evidence.design import LOOKS, looks_for
from schedtuna.evidence.sequential import Sequential
from schedtuna.evidence.verdict import Verdict, judge
from schedtuna.workload.spec import Direction

MIN = Direction.MIN


def run(study, blocks):
    for block in blocks:
        if study.should_stop():
            break
        study.add(block)
    return study


def test_a_large_effect_stops_at_the_first_look():
    study = run(Sequential(MIN), blocks_of(np.random.default_rng(1), 27, effect=0.7))
    assert len(study.blocks) == 6
    result = study.result()
    assert (result.verdict, result.blocks, result.look) == (Verdict.IMPROVED, 6, 1)
    assert result.p_bound == pytest.approx(LOOKS[0].p_bound, abs=1e-5)


def test_noise_runs_to_the_horizon():
    study = run(Sequential(MIN, max_blocks=13), blocks_of(np.random.default_rng(2), 27, cv=0.4))
    assert len(study.blocks) == 13
    assert study.should_stop()
    assert study.result().verdict is Verdict.TOO_NOISY


def test_an_excluded_gain_stops_early():
    study = run(Sequential(MIN), blocks_of(np.random.default_rng(3), 27, cv=0.01))
    assert study.should_stop() and len(study.blocks) < 27
    assert study.result().verdict is Verdict.NO_EVIDENCE


def test_a_regression_gate_goes_on_until_it_knows_that_it_is_worse():
    rng_blocks = [blocks_of(np.random.default_rng(seed), 27, effect=1.08) for seed in range(12)]
    tuned = [run(Sequential(MIN), blocks).result().verdict for blocks in rng_blocks]
    gated = [run(Sequential(MIN, settle_worse=True), blocks).result().verdict for blocks in rng_blocks]
    assert tuned.count(Verdict.WORSE) < gated.count(Verdict.WORSE)
    assert gated.count(Verdict.WORSE) >= 11
    assert Verdict.IMPROVED not in tuned + gated


def test_interrupted_studies_report_their_last_look():
    blocks = blocks_of(np.random.default_rng(4), 27, cv=0.2)
    study = Sequential(MIN)
    for block in blocks[:8]:
        study.add(block)
    assert study.result() == judge(blocks[:6], MIN, look=study.looks[0], look_number=1)


def test_before_the_first_look_nothing_is_decided():
    study = Sequential(MIN)
    with pytest.raises(EvidenceError, match="no complete block"):
        study.result()
    for block in blocks_of(np.random.default_rng(5), 5, effect=0.5, cv=0.01):
        study.add(block)
    result = study.result()
    assert (result.verdict, result.look) == (Verdict.TOO_NOISY, 0)
    assert result.effect.ratio == pytest.approx(0.5, abs=0.02)


def test_more_data_is_a_new_study():
    blocks = blocks_of(np.random.default_rng(6), 27, effect=0.7)
    study = run(Sequential(MIN), blocks)
    with pytest.raises(EvidenceError, match="new study"):
        study.add(blocks[-1])


def test_a_share_of_alpha_gives_stricter_looks():
    assert Sequential(MIN, max_blocks=20, alpha=0.0125).looks == looks_for(20, 0.0125)
    with pytest.raises(EvidenceError, match="too few"):
        Sequential(MIN, max_blocks=2)


def test_looking_at_results_changes_nothing():
    blocks = blocks_of(np.random.default_rng(7), 27, effect=0.96)
    quiet, curious = Sequential(MIN), Sequential(MIN)
    run(quiet, blocks)
    for block in blocks:
        if curious.should_stop():
            break
        curious.add(block)
        curious.result()
    assert curious.result() == quiet.result()
