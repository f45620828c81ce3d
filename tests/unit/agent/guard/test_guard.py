"""The guard on replayed intervals: placebo, help, harm, late harm, harm in the rhythm, silence."""

import math

import numpy as np
import pytest
from tests.unit.agent.sensed import IN_FORCE, interval, slo

from schedtuna.agent.contract import AgentGuard, GuardDecision
from schedtuna.agent.guard.guard import ExperimentGuard, GuardState
from schedtuna.agent.guard.watched import WatchedMetric

METRIC = "wakeup_latency_p99_us"
ROWS = (WatchedMetric(METRIC, 1.0, 1.0),)


def live(guard, levels, effect=lambda number: 1.0):
    """Run an agent whose changes multiply a latency; return each interval's verdict."""
    verdicts, decision = [], GuardDecision.ALLOW
    for number, level in enumerate(levels):
        on = decision in {GuardDecision.ALLOW, GuardDecision.HOLD}
        value = level * (effect(number) if on else 1.0)
        # Some loops give what is suspended, others nothing.
        verdict = guard.judge(interval(number, kernel={METRIC: value}), IN_FORCE if on or number % 2 else {})
        verdicts.append(verdict)
        decision = verdict.decision
        if decision is GuardDecision.ROLL_BACK:
            break
    return verdicts


def load(seed, nr_intervals, *, period=0, swing=0.0, correlation=0.5, cv=0.25):
    """A latency with dependence between intervals, and a rhythm."""
    rng = np.random.default_rng(seed)
    noise, levels = 0.0, []
    for number in range(nr_intervals):
        noise = correlation * noise + math.sqrt(1 - correlation**2) * rng.normal(0, cv)
        rhythm = swing * math.sin(2 * math.pi * number / period) if period else 0.0
        levels.append(200 * math.exp(noise + rhythm))
    return levels


def guard(seed, **options):
    return ExperimentGuard(np.random.default_rng(seed), watched=ROWS, **options)


def test_it_keeps_the_contract():
    assert isinstance(guard(1), AgentGuard)


def test_it_allows_and_does_not_experiment_while_nothing_is_in_force():
    watch = guard(1)
    said = {watch.judge(interval(n), {}).decision for n in range(50)}
    assert said == {GuardDecision.ALLOW}
    assert watch.state is GuardState.IDLE


@pytest.mark.parametrize("rhythm", [{}, {"period": 10, "swing": 0.5}, {"period": 5, "swing": 0.5}])
def test_a_placebo_is_seldom_rolled_back_whatever_rhythm_the_load_has(rhythm):
    rolled_back = sum(
        live(guard(seed), load(seed, 2000, **rhythm))[-1].decision is GuardDecision.ROLL_BACK
        for seed in range(12)
    )
    assert rolled_back <= 2  # 3 of 12 at 5%: once in 50


def test_harm_is_rolled_back_and_says_by_how_much():
    verdicts = live(guard(2), load(2, 1200), lambda _: 1.4)
    assert verdicts[-1].decision is GuardDecision.ROLL_BACK
    assert METRIC in verdicts[-1].reason
    effect = verdicts[-1].facts["effects"][METRIC]
    assert effect["e_harm"] >= 20
    assert effect["ratio"] == pytest.approx(1.4, rel=0.2)
    assert effect["noise_ratio"] > 1


def test_harm_that_starts_after_an_hour_is_found():
    verdicts = live(guard(3), load(3, 3600 + 1500), lambda number: 1.5 if number > 3600 else 1.0)
    assert verdicts[-1].decision is GuardDecision.ROLL_BACK
    assert len(verdicts) > 3600


def test_harm_that_comes_and_goes_in_the_rhythm_of_the_pairs_is_found():
    """Every other five intervals: what a fixed order of on and off could miss for ever."""
    watch = guard(4)
    verdicts = live(watch, load(4, 3000), lambda number: 2.0 if number // 5 % 2 else 1.0)
    assert verdicts[-1].decision is GuardDecision.ROLL_BACK


def test_a_benefit_is_proven_and_then_held_out_for_five_percent_of_the_time():
    watch = guard(5)
    verdicts = live(watch, load(5, 6000), lambda _: 0.7)
    assert watch.state is GuardState.PROVEN
    rests = [verdict.decision is GuardDecision.SUSPEND for verdict in verdicts[3000:]]
    assert 0.03 < np.mean(rests) < 0.07
    effect = watch.effects()[METRIC]
    assert effect.low < 0.7 < effect.high < 1


def test_after_a_roll_back_nothing_is_allowed_any_more():
    watch = guard(6)
    live(watch, load(6, 1500), lambda _: 1.8)
    assert watch.state is GuardState.ROLLED_BACK
    verdict = watch.judge(interval(9999), {})
    assert verdict.decision is GuardDecision.ROLL_BACK
    assert verdict.reason


def test_told_to_go_on_it_begins_anew():
    watch = guard(6)
    live(watch, load(6, 1500), lambda _: 1.8)
    watch.resume()
    assert watch.judge(interval(9999), {}).decision is GuardDecision.ALLOW
    assert (watch.state, watch.effects()) == (GuardState.IDLE, {})
    assert live(watch, load(7, 1500), lambda _: 1.8)[-1].decision is GuardDecision.ROLL_BACK


def test_an_objective_without_fresh_data_holds_all_as_it_is():
    watch = guard(7)
    for number in range(30):
        watch.judge(interval(number, slos=[slo(40)]), IN_FORCE)
    held = {watch.judge(interval(n, slos=[slo(40, age_s=60)]), IN_FORCE).decision for n in range(30, 60)}
    assert len(held) == 1
    assert held < {GuardDecision.HOLD, GuardDecision.SUSPEND}
    verdict = watch.judge(interval(60, slos=[slo(None)]), IN_FORCE)
    assert "p99_ms" in verdict.reason


def test_an_objective_of_which_more_is_better_is_harmed_by_less():
    watch, decision = guard(8), GuardDecision.ALLOW
    rng = np.random.default_rng(8)
    for number in range(1000):
        on = decision is GuardDecision.ALLOW
        value = 1000 * math.exp(rng.normal(0, 0.1)) * (0.7 if on else 1)
        reading = slo(value, 600, at_most=False, name="requests_per_s")
        verdict = watch.judge(interval(number, slos=[reading]), IN_FORCE if on else {})
        decision = verdict.decision
        if decision is GuardDecision.ROLL_BACK:
            break
    assert decision is GuardDecision.ROLL_BACK
    assert "requests_per_s" in verdict.reason
    assert watch.effects()["requests_per_s"].high < 1


def test_changes_that_vanish_make_no_experiment():
    watch = guard(9)
    for number in range(60):
        watch.judge(interval(number), IN_FORCE if number == 0 else {})
    assert watch.state is GuardState.IDLE
    assert watch.effects()[METRIC].nr_units == 0


def test_what_windows_said_since_a_change_is_told():
    watch = guard(10)
    live(watch, load(10, 800), lambda number: 0.6 if number > 400 else 1.0)
    assert watch.effects_since(400)[METRIC].ratio < watch.effects_since(-1)[METRIC].ratio < 1
    assert watch.effects_since(10**6) == {}
