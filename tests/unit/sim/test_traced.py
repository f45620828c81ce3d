"""A simulated trace is one like any other, and its figures are the engine's own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.errors import SimulationError, UsageError
from schedtuna.machine.cpu_lists import format_cpu_list
from schedtuna.sim.native import cost_table
from schedtuna.sim.simulation import Simulation
from schedtuna.sim.traced import simulate
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.attributes import attribute_table
from schedtuna.trace.schema import EventType, PrevState
from schedtuna.trace.store import open_trace

MS = 1_000_000
LOAD = {
    "tasks": {
        "hog": {"run": 10_000, "priority": 5},
        "sleeper": {"instance": 3, "run": 700, "sleep": 1300},
        "late": {"delay": 30_000, "loop": 1, "phases": {"all": {"loop": 5, "run": 900, "sleep": 100}}},
    }
}
EVENTS = st.one_of(
    st.fixed_dictionaries({"run": st.integers(1, 9000)}),
    st.fixed_dictionaries({"run": st.integers(1, 2000), "sleep": st.integers(1, 5000)}),
    st.fixed_dictionaries(
        {
            "run": st.integers(1, 3000),
            "timer": st.fixed_dictionaries({"ref": st.just("unique"), "period": st.integers(500, 9000)}),
        }
    ),
    st.fixed_dictionaries({"run": st.integers(1, 900), "yield": st.just("")}),
)
TASKS = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(
        lambda events, instance, loop, delay, nice: {
            "instance": instance,
            "delay": delay,
            "priority": nice,
            "loop": 1,
            "phases": {"all": {"loop": loop, **events}},
        },
        EVENTS,
        st.integers(1, 3),
        st.integers(1, 40),
        st.integers(0, 20_000),
        st.integers(-20, 19),
    ),
    min_size=1,
)


@given(TASKS, st.integers(1, 4), st.sampled_from(["fifo", "rr:slice_us=700"]), st.booleans())
def test_its_figures_are_the_engines_own(tasks, cpus, scheduler, is_free):
    costs = {name: 0 for name, *_ in cost_table() if name != "tick_ns"} if is_free else None
    options = {"cpus": cpus, "costs": costs}
    trace = simulate({"tasks": tasks}, scheduler, duration_s=0.1, **options)
    own = Simulation({"tasks": tasks}, scheduler, **options)
    own.run(100 * MS)
    totals = trace.manifest["simulation"]["totals"]
    assert totals == vars(own.totals) | {"hash": f"{own.totals.hash:016x}"}

    kinds = np.bincount(trace.events["type"], minlength=9)
    assert kinds[EventType.SWITCH] == totals["nr_switches"]
    assert kinds[EventType.MIGRATE] == totals["nr_migrations"]
    assert kinds[EventType.WAKEUP] + kinds[EventType.WAKEUP_NEW] == totals["nr_wakeups"]

    source = Analysis(trace)
    figures = source.overall()
    born = [task for task in own.state().tasks if task.state.name != "UNBORN"]
    assert figures["nr_tasks"] == len(born)
    assert figures["nr_migrations"] == totals["nr_migrations"]
    assert figures["nr_wakeups"] == kinds[EventType.WAKEUP]
    assert figures["cpu_time_ns"] == cpus * own.now_ns - totals["idle_ns"]
    assert figures["unknown_ns"] == 0
    if is_free:  # else interrupts take their part of what tasks are seen to run
        of_task = {row["name"].rpartition(" ")[2].strip("()"): row for row in source.by("task").dicts()}
        assert sorted(row["cpu_time_ns"] for row in of_task.values()) == sorted(t.cpu_time_ns for t in born)


def test_tasks_have_what_readers_look_for(tmp_path):
    trace = simulate(LOAD, "rr:slice_us=1000", cpus=2, duration_s=0.2, trace=tmp_path / "t")
    rows = {row["comm"]: row for row in trace.tasks.to_dicts()}
    assert set(rows) == {"hog", "sleeper", "late"}
    assert (rows["hog"]["nice"], rows["hog"]["weight"], rows["hog"]["policy"]) == (5, 335, "OTHER")
    assert rows["late"]["start_time_ns"] == 30 * MS < rows["late"]["exit_ns"] < 60 * MS
    assert rows["hog"]["exit_ns"] is None
    assert rows["hog"]["cgroup"] == "/"
    assert (trace.clock, trace.state) == ("simulated", "complete")
    figures = {row["name"]: row for row in Analysis(trace).by("comm").dicts()}
    for name, row in figures.items():
        told = trace.tasks.filter(trace.tasks["comm"] == name)
        assert row["nr_voluntary"] == told["nr_voluntary_switches"].sum()
        assert row["nr_involuntary"] == told["nr_involuntary_switches"].sum()
    assert figures["late"]["turnaround_count"] == 1


PHASE = st.fixed_dictionaries(
    {"loop": st.integers(1, 3), "run": st.integers(1, 3000)},
    optional={
        "priority": st.integers(-20, 19),
        "policy": st.sampled_from(["SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE"]),
        "dl-runtime": st.integers(100, 100_000),
        "cpus": st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True),
    },
)
NAMES = {"priority": "nice", "policy": "policy", "dl-runtime": "slice_ns", "cpus": "cpus"}


def asked(before, phase):
    """What a task asks for in a phase: `cpus` holds for a phase alone, the rest until it is changed."""
    after = before | {NAMES[key]: value for key, value in phase.items() if key in NAMES}
    return after | {"cpus": format_cpu_list(phase.get("cpus", before["all_cpus"]))}


@settings(max_examples=200)
@given(st.lists(PHASE, min_size=1, max_size=5), PHASE, st.sampled_from(["fifo", "fair"]))
def test_attributes_are_what_the_file_says(phases, task, scheduler):
    """A phase sets one after the other; between two phases, each value is of one of them."""
    initial = {key: task[key] for key in NAMES if key in task}
    document = {"one": {**initial, "loop": 1, "phases": {f"p{k}": phase for k, phase in enumerate(phases)}}}
    trace = simulate({"tasks": document}, scheduler, cpus=3)
    table = trace.attributes
    assert (table["tid"] == 1).all() and table["reason"][0] == "fork"
    assert (table["reason"][1:] == "changed").all()
    default = {"nice": 0, "policy": "SCHED_OTHER", "slice_ns": 0}
    state = asked(default | {"all_cpus": initial.get("cpus", [0, 1, 2])}, initial)
    wanted = [state]
    for phase in phases:
        state = asked(state, phase)
        if state != wanted[-1]:
            wanted.append(state)
    place = 0
    for row in table.iter_rows(named=True):
        seen = {name: row[name] for name in NAMES.values()}
        seen |= {"policy": f"SCHED_{row['policy']}", "slice_ns": row["slice_ns"] // 1000}
        before, after = wanted[max(place - 1, 0)], wanted[place]
        assert all(seen[name] in (before[name], after[name]) for name in seen)
        place += seen.items() <= after.items()
    assert place == len(wanted)


def test_children_are_born_with_what_their_task_says_and_forks_of_a_simulation_find_it():
    child = {"instance": 0, "priority": 7, "cpus": [1], "loop": 1, "phases": {"p": {"run": 9000}}}
    parent = {"loop": 1, "phases": {"p": {"run": 1000, "fork": "child", "run2": 9000}}}
    simulation = Simulation({"tasks": {"child": child, "parent": parent}}, cpus=2, traced=True)
    simulation.run(3 * MS)
    born = attribute_table(simulation.take_attributes(), simulation.cpu_sets()).to_dicts()
    assert [(row["tid"], row["nice"], row["cpus"], row["reason"]) for row in born] == [
        (1, 0, "0-1", "fork"),
        (2, 7, "1", "fork"),
    ]
    assert born[1]["start_time_ns"] == born[1]["timestamp_ns"] > MS
    other = simulation.fork()
    found = attribute_table(other.take_attributes(), other.cpu_sets()).to_dicts()
    assert [row["reason"] for row in found] == ["snapshot"] * 2
    changed = {"reason": "snapshot", "timestamp_ns": 3 * MS}
    assert found == [row | changed for row in born]
    assert len(simulation.take_attributes()) == 0


def test_a_folder_has_what_memory_has(tmp_path):
    kept = simulate(LOAD, "rr", cpus=2, duration_s=0.1)
    simulate(LOAD, "rr", cpus=2, duration_s=0.1, trace=tmp_path / "t")
    written = open_trace(tmp_path / "t")
    assert np.array_equal(written.events, kept.events)
    assert np.array_equal(written.task_rows, kept.task_rows)
    assert written.cgroups == kept.cgroups
    assert written.attributes.equals(kept.attributes)
    assert written.attributes.rows()[0][:2] == (1, 0)
    assert written.window_ns == kept.window_ns == (0, 100 * MS)
    assert written.manifest["simulation"] == json.loads(json.dumps(kept.manifest["simulation"]))


def test_a_folder_with_a_trace_is_kept_unless_forced(tmp_path):
    for _ in range(2):
        simulate(LOAD, "fifo", duration_s=0.01, trace=tmp_path / "t", force=True)
    with pytest.raises(UsageError, match="already has a trace"):
        simulate(LOAD, "fifo", duration_s=0.01, trace=tmp_path / "t")


def test_it_ends_with_the_load_or_the_time_whichever_comes_first():
    whole = {"tasks": {"one": {"loop": 1, "phases": {"all": {"loop": 2, "run": 1000}}}}}
    assert 2 * MS <= simulate(whole, "fifo", duration_s=5).window_ns[1] < 3 * MS
    limited = LOAD | {"global": {"duration": 1}}
    assert (
        simulate(limited, "fifo").window_ns[1]
        == simulate(limited, "fifo", duration_s=7).window_ns[1]
        == 10**9
    )
    for duration_s in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="duration"):
            simulate(LOAD, "fifo", duration_s=duration_s)


def test_a_deadlock_fails_with_who_waits_and_leaves_what_happened(tmp_path):
    stuck = {
        "tasks": {
            name: {
                "loop": 1,
                "phases": {
                    "all": {
                        "loop": 9,
                        "lock": a,
                        "run": 100,
                        "lock2": b,
                        "run2": 9,
                        "unlock": b,
                        "unlock2": a,
                    }
                },
            }
            for name, a, b in (("left", "m", "n"), ("right", "n", "m"))
        }
    }
    with pytest.raises(SimulationError, match=r"deadlock after .* left"):
        simulate(stuck, "fifo", cpus=2, trace=tmp_path / "t")
    trace = open_trace(tmp_path / "t")
    assert set(trace.tasks["comm"]) == {"left", "right"}


@pytest.mark.parametrize("name", ["poisson", "interactive:load=0.9", "bursts:load=0.5,member=3"])
def test_a_family_is_a_load(name):
    trace = simulate(name, "rr:slice_us=3000", cpus=2, duration_s=1)
    assert trace.window_ns == (0, 10**9)
    assert trace.manifest["simulation"]["workload"]["name"] == name
    assert Analysis(trace).overall()["nr_wakeups"] > 20


@pytest.mark.parametrize(
    "name",
    [
        "poisson:lod=0.9",
        "poisson:load=x",
        "poisson:load=99",
        "poison",
        "poisson:load=0.5,load=0.9",
        "poisson:member=-1",  # Random(-1) is Random(1)
    ],
)
def test_a_family_that_is_none_is_refused(name):
    with pytest.raises(UsageError):
        simulate(name, "fifo", duration_s=1)


@pytest.mark.parametrize("compact", [False, True])
def test_a_trace_in_a_folder_is_the_one_in_memory(tmp_path, compact):
    told = simulate("fork-join", "fair", cpus=2, duration_s=0.3)
    again = simulate("fork-join", "fair", cpus=2, duration_s=0.3, trace=tmp_path / "t", compact=compact)
    assert again.state == "complete"
    assert bool(list((tmp_path / "t").glob("*.spool"))) == (not compact)
    assert np.array_equal(again.events, told.events)
    assert again.tasks.equals(told.tasks)
    assert again.attributes.equals(told.attributes)
    assert again.groups.equals(told.groups)
    assert again.manifest["simulation"] == told.manifest["simulation"]


def test_the_task_table_counts_what_the_events_tell():
    told = simulate("fork-join", "fair", cpus=2, duration_s=0.3)
    events = told.events
    left = events[(events["type"] == EventType.SWITCH) & (events["tid"] != 0)]
    could_run = np.isin(left["prev_state"], (PrevState.PREEMPTED, PrevState.RUNNABLE))
    ended = events[events["type"] == EventType.EXIT]
    born = events[events["type"] == EventType.WAKEUP_NEW]
    assert len(ended) > 10
    for kinds, column in ((~could_run, "nr_voluntary_switches"), (could_run, "nr_involuntary_switches")):
        counts = np.bincount(left["tid"][kinds], minlength=told.tasks.height + 1)
        assert told.tasks[column].to_list() == counts[told.tasks["tid"].to_numpy()].tolist()
    assert dict(told.tasks.select("tid", "exit_ns").drop_nulls().rows()) == dict(
        zip(ended["tid"].tolist(), ended["timestamp_ns"].tolist(), strict=True)
    )
    assert dict(told.tasks.select("tid", "start_time_ns").rows()) == dict(
        zip(born["tid"].tolist(), born["timestamp_ns"].tolist(), strict=True)
    )
