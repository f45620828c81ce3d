"""Tasks of a recording that ask for something else: the others wait less, and nothing else is moved."""

import numpy as np
import pytest

from schedtuna.errors import UsageError
from schedtuna.sim.changed import CHANGED, KEPT, ChangedLoad
from schedtuna.sim.recorded import RecordedLoad
from schedtuna.sim.traced import simulate
from schedtuna.trace.analysis import Analysis

LOAD = {
    "global": {"duration": 2},
    "tasks": {
        "web": {"instance": 2, "loop": -1, "run": 400, "timer": {"ref": "unique", "period": 9000}},
        "batch": {"instance": 2, "loop": -1, "run": 100_000},
    },
}


@pytest.fixture(scope="module")
def recorded():
    return RecordedLoad(simulate(LOAD, cpus=1))


def keys(load, comm):
    rows = load.trace.tasks.select("tid", "start_time_ns", "comm").rows()
    return [(tid, start) for tid, start, name in rows if name == comm]


def figures(load):
    trace = simulate(load, cpus=1)
    analysis = Analysis(trace)
    latency = analysis.measured.values["wakeup_latency"]
    of_kept = np.array([name == KEPT for name in analysis.comms])
    cpu_ns = analysis.measured.time_ns[:, 1]
    return latency.value_ns[of_kept[latency.task]].mean(), sorted(analysis.comms), cpu_ns


def test_who_is_not_changed_waits_less(recorded):
    changes = {key: {"nice": 10} for key in keys(recorded, "batch")}
    before, names, _ = figures(ChangedLoad(recorded, changes, is_applied=False))
    after, same_names, _ = figures(ChangedLoad(recorded, changes))
    assert after < 0.7 * before
    assert names == same_names == [CHANGED, CHANGED, KEPT, KEPT]


def test_not_applied_it_is_the_recording(recorded):
    changes = {key: {"nice": 10} for key in keys(recorded, "batch")}
    plain = Analysis(simulate(recorded, cpus=1)).measured
    marked = Analysis(simulate(ChangedLoad(recorded, changes, is_applied=False), cpus=1)).measured
    assert np.array_equal(plain.time_ns, marked.time_ns)
    other = Analysis(simulate(ChangedLoad(recorded, changes), cpus=1)).measured
    assert not np.array_equal(plain.time_ns, other.time_ns)


@pytest.mark.parametrize("settings", [{"slice_us": 100}, {"policy": "idle"}, {"nice": 5, "policy": "batch"}])
def test_all_simulated_settings_do_something(recorded, settings):
    comm = "web" if "slice_us" in settings else "batch"
    load = ChangedLoad(recorded, dict.fromkeys(keys(recorded, comm), settings))
    assert load.nr_changed == 2
    plain = Analysis(simulate(recorded, cpus=1)).measured
    assert not np.array_equal(plain.time_ns, Analysis(simulate(load, cpus=1)).measured.time_ns)


def test_what_is_not_in_the_recording_changes_nothing(recorded):
    assert ChangedLoad(recorded, {(99_999, 5): {"nice": 10}}).nr_changed == 0


def test_what_the_simulator_does_not_know_is_refused(recorded):
    with pytest.raises(UsageError, match="cpu_weight can't be simulated"):
        ChangedLoad(recorded, {(1, 0): {"cpu_weight": 50}})
