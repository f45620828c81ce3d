"""Advice on a recording: what, for whom, why, and what of it is known."""

import dataclasses
import json

import numpy as np
import pytest

from schedtuna.agent import advising
from schedtuna.agent.advising import advise_on, sensed_of
from schedtuna.agent.contract import Need
from schedtuna.agent.policies.registry import make_policy
from schedtuna.errors import TraceError, UsageError
from schedtuna.fidelity.envelope import Certification
from schedtuna.sim.traced import simulate
from schedtuna.trace.analysis import Analysis

MIXED = {
    "global": {"duration": 3},
    "tasks": {
        "web": {"instance": 2, "loop": -1, "run": 400, "timer": {"ref": "unique", "period": 9000}},
        "batch": {"instance": 3, "loop": -1, "run": 100_000},
    },
}
HOGS = {"global": {"duration": 1}, "tasks": {"batch": {"instance": 3, "loop": -1, "run": 100_000}}}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    path = tmp_path_factory.mktemp("traces") / "mixed"
    simulate(MIXED, cpus=1, trace=path)
    return path


def test_a_recording_is_sensed_as_the_analysis_counts_it(mixed):
    from schedtuna.trace.store import open_trace

    analysis = Analysis(open_trace(mixed))
    sensed = sensed_of(analysis)
    rows = {int(row["tid"]): row for row in analysis.by("task").dicts()}
    assert len(sensed.tasks) == len(rows) == 5
    for task in sensed.tasks:
        row = rows[int(task["tid"])]
        for name in ("cpu_time_ns", "run_delay_ns", "nr_voluntary", "nr_involuntary"):
            assert int(task[name]) == row[name]
    assert sensed.seconds == pytest.approx(3, rel=0.01)
    assert np.all(np.diff(sensed.tasks["tid"].astype(int)) > 0)


def test_who_computes_is_advised_to_step_back_and_the_effect_is_unknown_without_a_certificate(mixed):
    found = advise_on(mixed, make_policy("rules"))
    (one,) = found.advice
    assert (one.setting, one.new, one.threads) == ("nice", 10, {"batch": 3})
    assert one.expected is None
    assert "not certified" in one.why_unknown
    assert one.model[0] < one.model[1] < 1
    assert one.id == advise_on(mixed, make_policy("rules")).advice[0].id
    assert "batch (3)" in one.tell() and "unknown" in one.tell()


def test_with_a_certificate_the_effect_is_expected_within_bounds(mixed, monkeypatch):
    from schedtuna.fidelity import envelope

    monkeypatch.setattr(envelope, "certification", lambda *_: Certification(True, "certified for a test"))
    (one,) = advise_on(mixed, make_policy("rules")).advice
    assert one.expected.metric == "wakeup_latency_mean_us"
    assert (one.expected.ratio_low, one.expected.ratio_high) == one.model
    assert "certified for a test" in one.tell()


def test_what_the_model_sees_no_gain_in_is_not_advised(mixed, monkeypatch):
    judged = advising._judged

    def useless(*given):
        return dataclasses.replace(judged(*given), model=(0.9, 1.1))

    monkeypatch.setattr(advising, "_judged", useless)
    found = advise_on(mixed, make_policy("rules"))
    assert not found.advice
    assert "no gain" in found.dropped[0]


def test_nothing_is_advised_where_nobody_waits_for_those_who_compute(tmp_path):
    simulate(HOGS, cpus=1, trace=tmp_path / "hogs")
    assert advise_on(tmp_path / "hogs", make_policy("rules")) == advising.AdviceOfTrace([], [])


def test_what_is_no_trace_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({}))
    with pytest.raises(TraceError):
        advise_on(tmp_path, make_policy("rules"))


def test_a_policy_that_needs_more_than_a_recording_is_refused(mixed):
    class Params:
        name = "params"
        needs = frozenset({Need.SCHEDULER})

        def decide(self, sensed, standing):
            return []

    with pytest.raises(UsageError, match="params needs more"):
        advise_on(mixed, Params())
