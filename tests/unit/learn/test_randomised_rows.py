"""Rows of migrations that a coin decided: costs, what CPUs were used, labels, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_ind

from schedtuna.errors import DatasetError
from schedtuna.learn.building import build_dataset
from schedtuna.learn.made_rows import BuildOptions
from schedtuna.learn.randomised_rows import (
    CUT,
    HALF_LIFE_NS,
    KIND,
    LOST,
    Wanting,
    labels_of_draws,
    mean_effect,
    use_permille,
)
from schedtuna.learn.sources import RunSource
from schedtuna.sim import simulate
from schedtuna.trace.intervals import Intervals, intervals
from schedtuna.trace.states import RUNNABLE, TaskState
from schedtuna.trace.trace import MemorySource, Trace

pl = pytest.importorskip("polars")

MS = 1_000_000


@pytest.fixture(scope="module")
def trace():
    return simulate("interactive:load=0.9", cpus=2, duration_s=1.5, seed=4)


def drawn(trace, nr_draws=45, *, events=None, losses=(), **columns):
    """A recording, as far as a trace tells, with draws every 30 ms."""
    time = np.arange(1, nr_draws + 1) * 30 * MS
    columns = {
        "timestamp_ns": time,
        "tid": np.ones(nr_draws, int),
        "source": np.arange(nr_draws) % 2,
        "destination": 1 - np.arange(nr_draws) % 2,
        "moves": (np.arange(nr_draws) // 3) % 2,
        "odds": np.full(nr_draws, 0.5),
    } | columns
    source = MemorySource(
        events=trace.events if events is None else events,
        task_rows=trace.task_rows,
        attribute_rows=trace.attribute_rows,
        cpu_set_texts=trace.cpu_sets,
        group_rows=trace.group_rows,
        loss_rows=list(losses),
        sample_frames={KIND: pl.DataFrame(columns)},
    )
    manifest = {name: value for name, value in trace.manifest.items() if name != "simulation"}
    return RunSource.of(Trace(manifest | {"window_ns": list(trace.window_ns)}, source), "drawn")


def built(*sources):
    return build_dataset(list(sources), BuildOptions("migrate", split="time"))


def test_the_integral_is_that_of_how_many_run_or_wait(trace):
    states = intervals(trace.events, start_ns=0, end_ns=trace.window_ns[1]).sorted()
    states = states.select(states.tid != 0)
    begin, end = 123_456_789, 987_654_321
    wants = Wanting(states)
    found = wants.until(np.array([end])) - wants.until(np.array([begin]))
    which = np.isin(states.state, (TaskState.RUNNING, *RUNNABLE))
    overlap = np.clip(states.end_ns[which], begin, end) - np.clip(states.start_ns[which], begin, end)
    assert found[0] == overlap.sum()
    at = (states.start_ns[which] < begin) & (states.end_ns[which] >= begin)
    assert wants.at(np.array([begin]))[0] == at.sum()


def test_use_decays_by_half_in_32_ms():
    now = 10 * HALF_LIFE_NS * 100
    spans = [
        (now - 12 * HALF_LIFE_NS, now),
        (now - 9 * HALF_LIFE_NS, now - HALF_LIFE_NS),
        (now - HALF_LIFE_NS, now),
    ]
    columns: dict[str, Any] = {
        "task": np.arange(3, dtype=np.int32),
        "tid": np.arange(1, 4, dtype=np.uint32),
        "state": np.full(3, TaskState.RUNNING, np.uint8),
        "start_ns": np.array([start for start, _ in spans]),
        "end_ns": np.array([end for _, end in spans]),
        "cpu": np.arange(3, dtype=np.uint16),
        "began_before": np.zeros(3, bool),
        "ends_after": np.zeros(3, bool),
        "burst_ns": np.zeros(3, int),
    }
    found = use_permille(Intervals(**columns), np.array([0, 1, 2, 3]), np.full(4, now))
    assert found.tolist() == [1000, 498, 500, 0]


def test_the_effect_is_the_difference_of_means_by_welch():
    rng = np.random.default_rng(1)
    cost, moves = rng.normal(0, 1, 300), rng.random(300) < 0.5
    effect = mean_effect(cost, moves)
    test = ttest_ind(cost[moves], cost[~moves], equal_var=False)
    assert effect.ns / effect.error_ns == pytest.approx(test.statistic)
    assert np.isnan(mean_effect(cost[:3], np.array([True, False, False])).ns)


@pytest.mark.parametrize("odds", [0.5, 0.2])
def test_labels_lean_to_what_is_better_where_it_is(odds):
    """Moving helps where x is 1 and harms where it is 0: so say labels by weight, though each is a guess."""
    rng = np.random.default_rng(3)
    x, moves = rng.random(20_000) < 0.5, rng.random(20_000) < odds
    cost = rng.normal(100, 20, len(x)) + np.where(moves, np.where(x, -8, 8), 0)
    found = labels_of_draws(cost, moves, np.full(len(x), odds))
    share = {
        side: np.average(found["label"][x == side], weights=found["weight"][x == side]) for side in (0, 1)
    }
    assert share[0] < 0.46 and share[1] > 0.54
    assert found["weight"].mean() == pytest.approx(1)
    assert len(labels_of_draws(np.empty(0), np.empty(0, bool), np.empty(0))["label"]) == 0


def test_a_row_is_a_draw_and_its_outcome(trace):
    data = built(drawn(trace))
    (run,) = data.card.runs
    assert len(data) + run.nr_dropped[CUT] == 45
    assert data.card.classes == ["stay", "migrate"]
    assert data.rows["was_migrated"].to_list() == [(n // 3) % 2 for n in range(len(data))]
    assert data.rows["cpu"].to_list() == [1 - n % 2 for n in range(len(data))]
    longer = [data.rows[f"cost_{name}_ns"].to_numpy() for name in ("10ms", "50ms", "200ms")]
    assert (longer[0] < longer[1]).all() and (longer[1] < longer[2]).all()
    assert set(data.card.settings["mean_effect_ns"]) == {"10ms", "50ms", "200ms"}
    assert any("caused by the move" in note for note in data.card.notes)


@pytest.mark.parametrize("nth", [5, 20, 33])
def test_features_know_nothing_of_what_came_of_it(trace, nth):
    """Whatever is so at a draw goes on for ever."""
    now = nth * 30 * MS
    frozen = built(drawn(trace, events=trace.events[trace.events["timestamp_ns"] < now]))
    sides = [side.where(side.column("time_ns") <= now) for side in (built(drawn(trace)), frozen)]
    assert len(sides[0]) == nth
    assert np.array_equal(sides[0].features(), sides[1].features())
    assert not np.array_equal(*(side.column("cost_200ms_ns") for side in sides))


def test_what_is_damaged_lost_or_too_little_is_refused_or_counted(trace):
    loss = {"nr_lost": 1, "cpu": 0, "first_ns": 700 * MS, "last_ns": 701 * MS}
    (run,) = built(drawn(trace, losses=[loss])).card.runs
    assert run.nr_dropped[LOST] > 10
    with pytest.raises(DatasetError, match="odds"):
        built(drawn(trace, odds=np.full(45, 1.0)))
    with pytest.raises(DatasetError, match="too few threads"):
        built(drawn(trace, moves=np.zeros(45, int)))
    with pytest.raises(DatasetError, match="lack moves"):
        built(drawn(trace, moves=pl.Series([None] * 45, dtype=pl.Int64)))
    with pytest.raises(DatasetError, match="nobody was moved at random there"):
        built(drawn(trace), RunSource.of(trace, "simulated"))
