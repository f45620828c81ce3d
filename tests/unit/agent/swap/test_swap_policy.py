"""Steps of the policy `swap`: what is chosen, when it counts, and what is never chosen again."""

import numpy as np
import pytest
from tests.unit.agent.rows import SECOND_NS, thread
from tests.unit.agent.sensed import interval

from schedtuna.agent.conformance import check_policy
from schedtuna.agent.contract import Standing, SwapEvent, SwapResult
from schedtuna.agent.decisions.rows import DecisionRow, OutcomeRow
from schedtuna.agent.swap.acting import SWAP_KEY
from schedtuna.agent.swap.book import FRESH_NS, DefaultBook
from schedtuna.agent.swap.canary import LEAST_WINDOWS
from schedtuna.agent.swap.deciders import LinUcbDecider, RegimeDecider
from schedtuna.agent.swap.policy import SwapPolicy
from schedtuna.agent.swap.table import SwapArm, SwapTable
from schedtuna.agent.swap.window import swap_window
from schedtuna.features.observed import OBSERVED

NR_CPUS = 2
MACHINE = {
    "cpu_percent": 50.0,
    "run_queue_length": 3.0,
    "nr_io_blocked_threads": 0.0,
    "nr_threads": 80.0,
    "switches_per_s": 900.0,
    "forks_per_s": 10.0,
}
KERNEL = {
    "wakeups_per_s": 390.0,
    "wakeup_latency_mean_us": 200.0,
    "first_run_delay_mean_us": 400.0,
    "run_delay_ms_per_s": 1000.0,
    "fairness_cv": 0.3,
}


class Running:
    """A policy and what a machine does of what it wants."""

    def __init__(self, arms=("a", "b"), decider=None, *, always=None, **table):
        self.table = SwapTable(arm=tuple(SwapArm(scheduler=name) for name in arms), **table)
        nr = len(self.table.arms)
        chosen = RegimeDecider([(lambda _values: True, always)], nr) if always is not None else decider
        self.policy = SwapPolicy(
            self.table,
            chosen or LinUcbDecider(nr, len(OBSERVED) + nr),
            nr_cpus=NR_CPUS,
            rng=np.random.default_rng(1),
        )
        self.standing, self.number, self.rows = {}, 0, []

    def step(self, *events, kernel=KERNEL, machine=MACHINE, obeys=True, seconds=1.0):
        number = self.number
        self.number += 1
        sensed = interval(number, kernel=kernel, machine=machine, seconds=seconds)
        sensed = type(sensed)(**{**vars(sensed), "swaps": events})
        wanted = self.policy.decide(sensed, dict(self.standing))
        self.rows += self.policy.take_rows()
        if obeys:
            self.standing = {
                one.key: self.standing.get(one.key) or Standing(one, sensed.end_ns, one.old)
                for one in wanted
                if self.standing.get(one.key) is None or self.standing[one.key].intent.new == one.new
            } or {one.key: Standing(one, sensed.end_ns, one.old) for one in wanted}
        return wanted

    def steps(self, nr, **given):
        return [self.step(**given) for _ in range(nr)]

    def chosen(self):
        return [row.action for row in self.rows if isinstance(row, DecisionRow)]

    def outcomes(self):
        return {row.id: row for row in self.rows if isinstance(row, OutcomeRow)}


def test_the_default_is_measured_first_and_then_a_scheduler_is_chosen():
    running = Running(always=1)
    running.steps(7)
    assert running.chosen()[:2] == ["default", "a"]
    assert running.standing[SWAP_KEY].intent.new == "a"
    running.steps(7)
    outcome = running.outcomes()["1"]
    assert outcome.loss == pytest.approx(1.0, abs=2e-3)  # all windows are alike
    assert outcome.terms["default_windows"] == 1


def test_a_window_behind_a_swap_begins_when_what_it_stirred_up_is_over():
    running = Running(always=1, discard_s=2)
    worse = KERNEL | {"run_delay_ms_per_s": 9000.0, "wakeup_latency_mean_us": 9000.0}
    while SWAP_KEY not in running.standing:
        running.step()
    running.steps(2, kernel=worse)
    running.steps(4)
    assert running.outcomes()["1"].loss == pytest.approx(1.0, abs=2e-3)


def test_what_a_swap_took_is_paid():
    running = Running(always=1, step_s=5)
    while SWAP_KEY not in running.standing:
        running.step()
    running.step(SwapEvent("a", SwapResult.ENABLED, disable_s=0.05, enable_s=0.2))
    running.steps(8)
    # A quarter of a second of five, of the three terms' weight.
    assert running.outcomes()["1"].loss == pytest.approx(1 + 0.25 / 5 / 3, abs=2e-3)


def test_a_step_is_twenty_times_as_long_as_enabling_took():
    running = Running(always=1)
    while SWAP_KEY not in running.standing:
        running.step()
    running.step(SwapEvent("a", SwapResult.ENABLED, enable_s=2.0))
    running.steps(37)
    assert "1" not in running.outcomes()
    running.steps(4)
    assert "1" in running.outcomes()


def test_a_load_that_was_not_seen_under_the_default_has_no_outcome_and_the_default_is_due():
    running = Running(always=1)
    running.steps(9)
    other = MACHINE | {"cpu_percent": 95.0}
    running.steps(12, machine=other)
    outcomes = list(running.outcomes().values())
    assert any("was not seen under such a load" in one.unknown for one in outcomes[1:])
    assert "default" in running.chosen()[2:]


def test_what_failed_or_was_ejected_is_not_chosen_again():
    running = Running(("a:x=1", "a:x=2", "b"), always=1)
    while not running.standing:
        running.step()
    running.standing = {}
    running.step(SwapEvent("a:x=1", SwapResult.EJECTED, "runnable task stall"))
    assert set(running.policy.why_not) == {"a:x=1", "a:x=2"}
    running.steps(20)
    assert set(running.chosen()[2:]) == {"default"}
    assert "runnable task stall" in running.outcomes()["1"].unknown


def test_who_stops_a_scheduler_has_the_choice_from_then_on():
    running = Running(always=1)
    while not running.standing:
        running.step()
    running.standing = {}
    running.step(SwapEvent("a", SwapResult.TAKEN, "somebody stopped a"))
    assert not any(running.steps(30))


def test_a_canary_that_costs_three_times_the_default_is_left_out_under_such_loads():
    running = Running(always=1)
    while not running.standing:
        running.step()
    worse = KERNEL | {"run_delay_ms_per_s": 90_000.0, "wakeup_latency_mean_us": 90_000.0}
    running.steps(30, kernel=worse)
    assert running.chosen().count("a") == LEAST_WINDOWS
    assert not running.standing
    assert "a is left out: 2 windows cost" in running.policy._choice.why


def test_the_tripwire_takes_a_scheduler_out_within_three_intervals():
    running = Running(always=1)
    while not running.standing:
        running.step()
    running.steps(3, machine=MACHINE | {"psi_cpu_full_percent": 90.0})
    assert "tripwire" in running.policy.why_not["a"]
    assert not running.standing


def test_what_is_only_advised_has_no_outcome():
    running = Running(always=1)
    running.steps(30, obeys=False)
    assert "a" in running.chosen()
    assert running.outcomes()["1"].loss is None


def test_what_is_drawn_is_written_down_with_its_probability():
    running = Running()
    running.steps(200)
    decided = [row for row in running.rows if isinstance(row, DecisionRow)]
    drawn = [row for row in decided if row.propensities and max(row.propensities) < 1]
    assert len(drawn) > 10
    assert all(min(row.propensities or ()) >= 0.05 - 1e-9 for row in drawn)
    assert all(row.arms == ("default", "a", "b") for row in drawn)
    assert running.policy.decider.nr_learned > 10


def test_the_contract_holds():
    def make():
        return Running(("a", "b")).policy

    check_policy(make)


def test_the_terms_follow_from_what_was_counted():
    window = swap_window(
        [interval(1, kernel=KERNEL, machine=MACHINE)], interval(0, machine=MACHINE), nr_cpus=2
    )
    jobs = 3 + 390 + 10
    assert window.figures["turnaround"] == pytest.approx((1e9 + 1e9) / jobs)
    assert window.figures["first_run"] == pytest.approx((390 * 200e3 + 10 * 400e3) / jobs)
    assert window.figures["fairness"] == 0.3


def test_features_have_the_names_of_the_simulated_environment():
    tasks = np.concatenate([thread(1, wakeups=30), thread(2, wakeups=12)])
    sensed = interval(1, kernel=KERNEL, machine=MACHINE)
    sensed = type(sensed)(**{**vars(sensed), "tasks": tasks})
    window = swap_window([sensed], interval(0, machine=MACHINE), nr_cpus=2)
    assert window.averages["voluntary_switches_per_s"] == 42
    assert window.averages["nr_active_threads"] == 3
    assert set(window.averages) == {name for name in OBSERVED if "." not in name}
    assert window.load_class == "CPUs 40-70% busy, 0-30 sleeps/s each"


def test_what_was_not_measured_leaves_no_figures():
    kernel = {name: value for name, value in KERNEL.items() if name != "wakeups_per_s"}
    window = swap_window(
        [interval(1, kernel=kernel, machine=MACHINE)], interval(0, machine=MACHINE), nr_cpus=2
    )
    assert not window.figures
    assert window.unknown == "wakeups_per_s was not measured"


def test_the_book_forgets_after_ten_minutes():
    book, figures = DefaultBook(), {"turnaround": 1e6, "first_run": 1e5, "fairness": 0.2}
    book.add("x", 0, figures)
    weights = {"turnaround": 1.0, "first_run": 1.0, "fairness": 1.0}
    assert book.loss("x", FRESH_NS, figures, weights) == pytest.approx(1)
    assert book.loss("x", FRESH_NS + 1, figures, weights) is None
    assert book.look("y", 0) is None
    book.add("x", SECOND_NS, {name: 3 * one for name, one in figures.items()})
    assert book.look("x", SECOND_NS).figures["turnaround"] == pytest.approx(2e6)
