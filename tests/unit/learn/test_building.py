"""Datasets of simulated traces: what is in them, what is not, and what is refused."""

import numpy as np
import pytest

from schedtuna.errors import DatasetError, UsageError
from schedtuna.learn.building import build_dataset
from schedtuna.learn.dataset_form import read_dataset, write_dataset
from schedtuna.learn.made_rows import BuildOptions
from schedtuna.learn.sources import RunSource
from schedtuna.learn.task_rows import CUT, LOST, NO_HISTORY
from schedtuna.trace.labels import LabelRule
from schedtuna.trace.schema import EventType
from schedtuna.trace.trace import MemorySource, Trace

pytest.importorskip("polars")

from schedtuna.sim import simulate

FAMILIES = ("interactive", "poisson", "bursts")


@pytest.fixture(scope="module")
def traces():
    return {
        name: simulate(f"{name}:load=0.7,member=2", cpus=2, duration_s=1, seed=number)
        for number, name in enumerate(FAMILIES, 1)
    }


@pytest.fixture(scope="module")
def sources(traces):
    return [RunSource.of(trace, name) for name, trace in traces.items()]


def remade(trace, *, events=None, losses=(), manifest=None):
    """A copy of a trace in memory, with something changed."""
    source = MemorySource(
        events=trace.events if events is None else events,
        task_rows=trace.task_rows,
        cgroup_paths=trace.cgroups,
        loss_rows=list(losses),
        attribute_rows=trace.attribute_rows,
        cpu_set_texts=trace.cpu_sets,
        group_rows=trace.group_rows,
    )
    return Trace(trace.manifest | (manifest or {}), source)


def bursts(*given, **options):
    return build_dataset(given, BuildOptions("burst", **options))


def keyed(data):
    """Features of each row by task and time."""
    keys = zip(data.column("task").tolist(), data.column("time_ns").tolist(), strict=True)
    return dict(zip(keys, map(tuple, data.features().tolist()), strict=True))


def test_a_dataset_of_three_families_leaves_whole_ones_out(sources, tmp_path):
    data = write_dataset(tmp_path / "d", bursts(*sources))
    assert data.card.split == "family"
    assert [len(set(data.part(side).column("family"))) for side in ("train", "validation", "test")] == [
        1,
        1,
        1,
    ]
    assert [run.family for run in data.card.runs] == list(FAMILIES)
    assert data.card.counts["nr_rows"] == len(data) == sum(run.nr_rows for run in data.card.runs)
    assert read_dataset(tmp_path / "d").rows.equals(data.rows)
    assert bursts(*sources).rows.equals(data.rows)


def test_names_of_tasks_are_no_features(traces):
    trace = traces["interactive"]
    rows = trace.task_rows.copy()
    rows["comm"] = b"other"
    other = remade(trace)
    other._source.task_rows = rows
    assert keyed(bursts(RunSource.of(trace, "a"))) == keyed(bursts(RunSource.of(other, "a")))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_future_is_in_no_feature(traces, family):
    """All that comes after a moment is another load's."""
    trace, now = traces[family], 400_000_000
    events = trace.events
    past = events[events["timestamp_ns"] <= now]
    later = traces[FAMILIES[FAMILIES.index(family) - 1]].events
    later = later[(later["timestamp_ns"] > now)]
    attributes = trace.attribute_rows.copy()
    changed = remade(trace, events=np.concatenate([past, later]))
    moved = attributes.copy()
    moved["timestamp_ns"], moved["nice"] = now + 1, 7
    regrouped = trace.group_rows.copy()
    regrouped["timestamp_ns"], regrouped["shares"] = now + 1, 77
    changed._source.group_rows = np.concatenate([trace.group_rows, regrouped])
    changed._source.attribute_rows = np.concatenate([attributes, moved])
    before = keyed(bursts(RunSource.of(trace, "a")))
    after = keyed(bursts(RunSource.of(changed, "a")))
    common = [key for key in before if key[1] <= now and key in after]
    assert len(common) > 20
    assert [after[key] for key in common] == [before[key] for key in common]
    assert any(features != before.get(key) for key, features in after.items() if key[1] > now)


def test_what_rests_on_lost_events_is_dropped(traces):
    trace = traces["poisson"]
    loss = {"nr_lost": 5, "cpu": 0, "first_ns": 300_000_000, "last_ns": 310_000_000}
    whole, lossy = (bursts(RunSource.of(one, "a")) for one in (trace, remade(trace, losses=[loss])))
    before, after = keyed(whole), keyed(lossy)
    (run,) = lossy.card.runs
    assert run.nr_dropped[LOST] > 0
    assert run.nr_dropped[NO_HISTORY] > 0
    assert "events were lost" in run.notes[0]
    assert len(after) < len(before)
    labels = dict(zip(after, lossy.labels().tolist(), strict=True))
    assert not [key for key in after if key[1] < 310_000_000 < key[1] + labels[key]]
    untouched = [key for key in after if key[1] < 250_000_000]
    assert [after[key] for key in untouched] == [before[key] for key in untouched]


def test_a_trace_that_does_not_tell_attributes_has_fewer_features(traces, sources):
    silent = remade(traces["poisson"], manifest={"attributes": {"unknown": "it was not asked"}})
    data = bursts(sources[0], RunSource.of(silent, "silent"))
    assert not {"nice", "policy", "task_weight"} & set(data.feature_names)
    assert any("nice is left out: unknown in silent" in note for note in data.card.notes)


def test_runs_without_enough_others_are_divided_by_time(sources):
    data = bursts(sources[0])
    assert data.card.split == "time"
    assert any("divided by time" in note for note in data.card.notes)
    assert data.card.runs[0].nr_dropped[CUT] > 0
    with pytest.raises(DatasetError, match="at least 3 runs"):
        bursts(*sources[:2], split="run")


def test_rows_are_thinned_evenly(sources):
    data = bursts(*sources, most_rows=150)
    assert len(data) <= 150
    assert data.card.counts["nr_rows_before_thinning"] > 1000
    whole = keyed(bursts(sources[0]))
    first = data.where(data.column("group") == 0)
    assert 10 < len(first) <= 50
    assert {key: whole[key] for key in keyed(first)} == keyed(first)


def test_classes_are_the_generators_roles(sources):
    data = build_dataset(sources, BuildOptions("class"))
    assert data.card.classes == ["interactive", "periodic", "requests"]
    assert any("no rows of batch" in note for note in data.card.notes)
    in_interactive = data.where(data.column("family") == "interactive")
    assert set(in_interactive.labels()) == {0, 1}
    weights = data.column("weight")
    per_task = {
        weights[(data.column("group") == 1) & (data.column("task") == task)].sum().round(3)
        for task in np.unique(data.where(data.column("group") == 1).column("task"))
    }
    assert len(per_task) == 1


def test_classes_are_the_users_labels(sources):
    rules = (LabelRule(label="people", comm="typ*"), LabelRule(label="film", comm="video"))
    data = build_dataset(sources[:1], BuildOptions("class", labels=rules))
    assert data.card.classes == ["film", "people"]
    with pytest.raises(DatasetError, match="no task has a label"):
        build_dataset(sources, BuildOptions("class", labels=[LabelRule(label="x", comm="nobody")]))
    with pytest.raises(DatasetError, match="the same label, people"):
        build_dataset(sources[:1], BuildOptions("class", labels=rules[:1]))


def test_what_gives_nothing_is_refused(traces):
    empty = remade(traces["poisson"], events=traces["poisson"].events[:0])
    with pytest.raises(DatasetError, match="no scheduling events"):
        bursts(RunSource.of(empty, "empty"))
    one = remade(traces["poisson"], events=traces["poisson"].events[:3])
    with pytest.raises(DatasetError, match="give no rows"):
        bursts(RunSource.of(one, "one"))
    with pytest.raises(UsageError, match="did you mean burst"):
        build_dataset([], BuildOptions("brust"))
    with pytest.raises(UsageError, match="no trace to build of"):
        bursts()


def test_events_are_counted(traces, sources):
    data = bursts(*sources)
    assert data.card.counts["nr_events"] == sum(len(trace.events) for trace in traces.values())
    assert (traces["poisson"].events["type"] == EventType.SWITCH).any()
