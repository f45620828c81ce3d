"""Choices and their candidates: recorded ones, and simulated ones."""

import numpy as np
import pytest

from schedtuna.errors import DatasetError
from schedtuna.learn.building import build_dataset
from schedtuna.learn.candidate_rows import llc_of_cpus
from schedtuna.learn.decisions import ALONE, NO_SWITCH, choices_of
from schedtuna.learn.made_rows import BuildOptions
from schedtuna.learn.sources import RunSource
from schedtuna.trace.picks import CANDIDATE_DTYPE, PICK_DTYPE, Picks
from schedtuna.trace.schema import EVENT_DTYPE, EventType
from schedtuna.trace.trace import MemorySource, Trace

pytest.importorskip("polars")

from schedtuna.sim import simulate


@pytest.fixture(scope="module")
def source():
    return RunSource.of(simulate("interactive:load=0.9", cpus=2, duration_s=1, seed=5), "interactive")


def test_every_choice_has_one_who_was_chosen_and_two_candidates_or_more(source):
    data = build_dataset([source], BuildOptions("next", split="time"))
    sets = data.column("candidate_set")
    _, number, size = np.unique(sets, return_inverse=True, return_counts=True)
    assert size.min() >= 2
    assert (np.bincount(number, data.labels()) == 1).all()
    times = data.column("time_ns")
    assert all(len(set(times[sets == one].tolist())) == 1 for one in np.unique(sets)[:50])
    assert 0 < data.card.settings["share_of_real_choices"] < 1
    sides = data.column("split")
    assert all(len(set(sides[sets == one].tolist())) == 1 for one in np.unique(sets))


def test_who_was_chosen_runs_next_says_the_trace(source):
    choices = choices_of(source)
    assert choices.nr_seen == choices.dropped[ALONE] + len(choices.time_ns) > 200
    switches = source.trace.events[source.trace.events["type"] == 1]
    came = {(int(e["timestamp_ns"]), int(e["cpu"])): int(e["other_tid"]) for e in switches}
    chosen = choices.tid[choices.is_chosen]
    kept = 0
    for time, cpu, tid, before in zip(choices.time_ns, choices.cpu, chosen, choices.prev_tid, strict=True):
        if tid == before:
            kept += 1
            assert (int(time), int(cpu)) not in came
        else:
            assert came[int(time), int(cpu)] == tid
    assert 0 < kept < len(chosen)


def test_choices_are_thinned_whole(source):
    data = build_dataset([source], BuildOptions("next", split="time", most_rows=200))
    sets = data.column("candidate_set")
    assert len(data) <= 200
    _, number = np.unique(sets, return_inverse=True)
    assert (np.bincount(number, data.labels()) == 1).all()


def switches_of(picks):
    """The switch of each pick."""
    events = np.zeros(len(picks.queues), EVENT_DTYPE)
    events["type"] = EventType.SWITCH
    for name, of in (
        ("timestamp_ns", "timestamp_ns"),
        ("cpu", "cpu"),
        ("tid", "prev_tid"),
        ("other_tid", "tid"),
    ):
        events[name] = picks.queues[of]
    return events


def recorded(picks, events=None):
    """A trace that tells nothing but picks, and their switches."""

    class Source(MemorySource):
        def picks(self):
            yield picks

    events = switches_of(picks) if events is None else events
    return RunSource.of(Trace({"nr_cpus": 1}, Source(events=events)), "picks")


def picks_of(*choices):
    """Picks of one queue: per choice (time, [(tid, flags), ...]), the chosen one first."""
    queues, candidates = np.zeros(len(choices), PICK_DTYPE), []
    for queue, (time, rows) in zip(queues, choices, strict=True):
        queue["timestamp_ns"], queue["tid"] = time, rows[0][0]
        queue["nr_queued"] = queue["nr_candidates"] = len(rows)
        queue["sum_weight"] = 1024 * (len(rows) - 1)
        candidates += rows
    made = np.zeros(len(candidates), CANDIDATE_DTYPE)
    made["weight"] = 1024
    made["tid"], made["flags"] = np.array(candidates, int).reshape(-1, 2).T
    return Picks(queues, made)


def test_recorded_candidates_are_tasks_that_could_run():
    found = choices_of(
        recorded(picks_of((9, [(1, 0), (2, 0)]), (5, [(3, 0), (4, 1), (5, 0)]), (7, [(6, 0), (7, 1)])))
    )
    assert found.time_ns.tolist() == [5, 9]
    assert found.tid.tolist() == [3, 5, 1, 2]
    assert found.is_chosen.tolist() == [True, False, True, False]
    assert found.dropped[ALONE] == 1
    assert found.nr_seen == 3


@pytest.mark.parametrize("late_ns", [-140, 0, 140])
def test_a_choice_is_as_of_its_switch_whenever_its_pick_was_written(late_ns):
    """By a pick that is written after its switch, who was chosen would run already."""
    picks = picks_of(*((1000 * k, [(1 + k % 2, 0), (2 - k % 2, 0)]) for k in range(1, 6)))
    picks.queues["prev_tid"] = [1 if tid == 2 else 2 for tid in picks.queues["tid"]]
    events = switches_of(picks)
    picks.queues["timestamp_ns"] = picks.queues["timestamp_ns"].astype(int) + late_ns
    assert choices_of(recorded(picks, events)).time_ns.tolist() == [1000, 2000, 3000, 4000, 5000]


def test_picks_without_a_switch_are_counted():
    picks = picks_of((1000, [(1, 0), (2, 0)]), (2000, [(2, 0), (1, 0)]))
    events = switches_of(picks)
    events["tid"][1] = 77
    found = choices_of(recorded(picks, events))
    assert found.time_ns.tolist() == [1000]
    assert found.dropped[NO_SWITCH] == 1


def test_the_kernels_own_rule_is_right_of_what_it_decides_by():
    """Who was chosen has the first deadline of those that are not ahead of V; of all it need not have it."""
    picks = picks_of((1, [(1, 0), (2, 0), (3, 0), (4, 1)]), (2, [(1, 0), (2, 0)]))
    picks.candidates["weight"] = [1024, 2048, 1024, 1024, 1024, 1024]
    picks.candidates["vruntime"] = [0, 30, -70, 11, -5, 5]
    picks.candidates["deadline"] = [100, 90, 400, 0, 7, 6]
    picks.queues["sum_weight"] = [4096, 1024]
    picks.queues["sum_w_vruntime"] = [1024 * (2 * 30 - 70 + 11), 1024 * 5]
    assert picks.is_consistent().all()
    virtual = choices_of(recorded(picks)).virtual
    # V is (0 + 60 - 70 + 11) / 5, rounded down, and 0.
    assert virtual["vlag_ns"].tolist() == [0, -30, 70, 5, -5]
    assert virtual["deadline_ns"].tolist() == [100, 90, 400, 7, 6]
    assert virtual["is_eligible"].tolist() == [1, 0, 1, 1, 0]


def test_recorded_choices_that_are_not_whole_are_counted():
    picks = picks_of((1, [(1, 0), (2, 0)]), (2, [(1, 0), (2, 4)]), (3, [(1, 0), (2, 0)]))
    picks.queues["sum_weight"][0] += 1
    found = choices_of(recorded(picks))
    assert found.time_ns.tolist() == [3]
    assert [count for count in found.dropped.values() if count] == [1, 1]


def test_a_trace_without_choices_is_refused():
    with pytest.raises(DatasetError, match="has no choices") as error:
        choices_of(recorded(picks_of()))
    assert "record --picks" in error.value.hint


def test_a_simulation_that_comes_out_otherwise_is_refused(source):
    manifest = source.trace.manifest
    changed = Trace(manifest | {"simulation": manifest["simulation"] | {"seed": 99}}, source.trace._source)
    with pytest.raises(DatasetError, match="simulated again"):
        choices_of(RunSource.of(changed, "other"))


def test_caches_are_those_of_the_machine():
    assert llc_of_cpus({"simulation": {"topology": "2x2x2"}}, 8).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    cpus = [{"cpu": 0, "llc": 3}, {"cpu": 1, "llc": 0}]
    assert llc_of_cpus({"origin": {"machine": {"topology": {"cpus": cpus}}}}, 2).tolist() == [3, 0]
    assert llc_of_cpus({"origin": {"machine": {"topology": {"cpus": cpus[:1]}}}}, 2) is None
    assert llc_of_cpus({}, 2) is None
