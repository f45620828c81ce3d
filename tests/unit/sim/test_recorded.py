"""A replay repeats what was recorded: exactly where the machine is the simulated one that it came from."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.errors import IncompleteTraceError, TraceError, UsageError
from schedtuna.sim.flat import FOREVER, INTERRUPTION_DTYPE, NONE, STEP_DTYPE, TASK_DTYPE, FlatLoad
from schedtuna.sim.native import NEVER, Op, cost_table
from schedtuna.sim.recorded import LOOPS, RecordedLoad
from schedtuna.sim.simulation import Simulation
from schedtuna.sim.traced import simulate
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.schema import EVENT_DTYPE, EventType, PrevState, Waker
from schedtuna.trace.schema import TASK_DTYPE as TASK_ROW_DTYPE
from schedtuna.trace.trace import MemorySource, Trace

MS = 1_000_000
# What interrupts for a remote CPU take of a task can't be seen from its switches.
COSTS = {"ipi_ns": 0}
FREE = {name: 0 for name, *_ in cost_table()} | {"tick_ns": 4 * MS}

AMOUNT = st.one_of(st.integers(1, 9000), st.builds(lambda mean: {"exponential": mean}, st.integers(20, 6000)))
EVENTS = st.one_of(
    st.fixed_dictionaries({"run": AMOUNT}),
    st.fixed_dictionaries({"run": AMOUNT, "sleep": AMOUNT}),
    st.fixed_dictionaries({"run": AMOUNT, "io": AMOUNT}),
    st.fixed_dictionaries({"run": AMOUNT, "fork": st.just("child"), "sleep": AMOUNT}),
    st.fixed_dictionaries(
        {
            "run": AMOUNT,
            "timer": st.fixed_dictionaries({"ref": st.just("unique"), "period": st.integers(500, 9000)}),
        }
    ),
)
TASK = st.builds(
    lambda events, instance, loop, delay, nice: {
        "instance": instance,
        "delay": delay,
        "priority": nice,
        "loop": 1,
        "phases": {"all": {"loop": loop, **events}},
    },
    EVENTS,
    st.integers(1, 3),
    st.integers(1, 30),
    st.integers(0, 20_000),
    st.integers(-20, 19),
)
CHILD = {"instance": 0, "loop": 1, "phases": {"all": {"loop": 2, "run": 900, "sleep": 700}}}
LOADS = st.dictionaries(st.sampled_from("abcdef"), TASK, min_size=1).map(
    lambda tasks: {"tasks": tasks | {"child": CHILD}, "global": {"duration": 1}}
)


def totals(trace: Trace) -> dict:
    """All but the number of the loop's steps, which differs where two bursts are told as one."""
    found = trace.manifest["simulation"]["totals"]
    return {name: value for name, value in found.items() if name != "nr_events"}


@given(
    LOADS,
    st.integers(1, 4),
    st.sampled_from(["fair", "fifo", "rr:slice_us=700", "mlfq"]),
    st.sampled_from([COSTS, FREE]),
    st.sampled_from(LOOPS),
)
@settings(max_examples=200)
def test_under_the_same_scheduler_all_switches_are_the_same(load, cpus, scheduler, costs, loop):
    told = simulate(load, scheduler, cpus=cpus, costs=costs, duration_s=0.08)
    again = simulate(RecordedLoad(told, loop=loop), scheduler, costs=costs)
    assert totals(again) == totals(told)
    assert again.window_ns == told.window_ns


@st.composite
def waking_loads(draw):
    """Tasks that wake each other by locks, barriers, or by name."""
    tasks = {}
    for k in range(draw(st.integers(1, 3))):
        run, other, sleep = (draw(st.integers(50, 6000)) for _ in range(3))
        kind = draw(st.sampled_from(["lock", "barrier", "resume"]))
        if kind == "lock":
            held = {"run": run, "lock": f"m{k}", "run1": other, "unlock": f"m{k}", "sleep": sleep}
            tasks[f"locks{k}"] = {"instance": 2, "loop": 1, "phases": {"all": {"loop": 15, **held}}}
        elif kind == "barrier":
            met = {"run": {"exponential": run}, "barrier": f"b{k}"}
            tasks[f"meets{k}"] = {"instance": 2, "loop": 1, "phases": {"all": {"loop": 15, **met}}}
        else:
            wakes = {"loop": -1, "run": run, "resume": f"s{k}", "sleep": sleep}
            tasks[f"wakes{k}"] = {"loop": 1, "phases": {"all": wakes}}
            tasks[f"is_woken{k}"] = {
                "loop": 1,
                "phases": {"all": {"loop": -1, "suspend": f"s{k}", "run": other}},
            }
    return {"tasks": tasks, "global": {"duration": 1}}


@given(waking_loads(), st.integers(1, 3), st.integers(1, 1000))
@settings(max_examples=100)
def test_tasks_that_wake_each_other_do_so_again(load, cpus, seed):
    told = simulate(load, cpus=cpus, costs=COSTS, duration_s=0.08, seed=seed)
    again = simulate(RecordedLoad(told), costs=COSTS)
    assert totals(again) == totals(told)


PHASE = st.builds(
    lambda events, loop, nice, policy, slice_us, cpus: {
        "loop": loop,
        **events,
        "priority": nice,
        "policy": policy,
        "dl-runtime": slice_us,
        "cpus": cpus,
    },
    EVENTS,
    st.integers(1, 5),
    st.integers(-20, 19),
    st.sampled_from(["SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE"]),
    st.integers(100, 9000),
    st.sampled_from([[0], [1], [0, 1], [1, 2], [0, 1, 2]]),
)
CHANGING = st.dictionaries(
    st.sampled_from("abcd"),
    st.builds(
        lambda phases, instance, loop: {"phases": phases, "instance": instance, "loop": loop},
        st.dictionaries(st.sampled_from("xyz"), PHASE, min_size=1),
        st.integers(1, 2),
        st.integers(1, 3),
    ),
    min_size=1,
).map(lambda tasks: {"tasks": tasks | {"child": CHILD}, "global": {"duration": 1}})


@given(CHANGING, st.sampled_from(["fair", "vtime"]), st.sampled_from(LOOPS))
@settings(max_examples=100)
def test_what_tasks_ask_for_changes_when_it_did(load, scheduler, loop):
    told = simulate(load, scheduler, cpus=3, costs=COSTS, duration_s=0.05)
    again = simulate(RecordedLoad(told, loop=loop), scheduler, costs=COSTS)
    assert totals(again) == totals(told)


GROUPED = {
    "tasks": {
        "one": {"run": 1000, "loop": -1, "taskgroup": "/a"},
        "eight": {"run": 700, "loop": -1, "instance": 8, "taskgroup": "/b/c"},
        "sleeper": {"run": 300, "sleep": 2000, "loop": -1, "taskgroup": "/b"},
    },
    "taskgroups": {"/a": {"cpu_weight": 100}, "/b": {"cpu_weight": 100}},
}


def cpu_time_by_cgroup(trace: Trace) -> dict[str, int]:
    return dict(trace.tasks.group_by("cgroup").agg(pl.col("cpu_time_ns").sum()).rows())


@pytest.mark.parametrize("weights", [(100, 100), (300, 100), (1, 10_000)])
@pytest.mark.parametrize("cpus", [1, 2])
def test_groups_come_to_the_same_switches(cpus, weights):
    taskgroups = {path: {"cpu_weight": w} for path, w in zip(("/a", "/b"), weights, strict=True)}
    load = GROUPED | {"taskgroups": taskgroups}
    told = simulate(load, "fair", cpus=cpus, costs=COSTS, duration_s=0.3)
    recorded = RecordedLoad(told)
    assert not [note for note in recorded.notes if "group" in note]
    assert totals(simulate(recorded, "fair", costs=COSTS)) == totals(told)


def test_a_group_of_one_has_as_much_as_one_of_eight():
    told = simulate(GROUPED, "fair", cpus=1, costs=FREE, duration_s=1)
    again = cpu_time_by_cgroup(simulate(RecordedLoad(told), "fair", costs=FREE))
    assert again["/a"] / sum(again.values()) == pytest.approx(0.5, abs=0.01)


def test_groups_that_are_unknown_are_flat_and_that_is_said():
    told = simulate(GROUPED, "fair", cpus=1, costs=FREE, duration_s=1)
    del told.manifest["groups"]
    recorded = RecordedLoad(told)
    assert [
        note for note in recorded.notes if note.startswith("Tasks are of 3 cgroups, whose weights are un")
    ]
    again = simulate(recorded, "fair", costs=FREE).tasks
    one = again.filter(pl.col("comm") == "one")["cpu_time_ns"].sum()
    assert one / again["cpu_time_ns"].sum() == pytest.approx(1 / 9.5, abs=0.02)


def moved(told: Trace, share: float) -> Trace:
    """Let the hog of group /a have been in the root group for a share of the time, from the beginning."""
    rows = told.attribute_rows
    [place] = np.flatnonzero(rows["tid"] == 1)
    later = rows[place : place + 1].copy()
    rows["group_id"][place] = 1
    later["timestamp_ns"] = round(share * told.window_ns[1])
    told.__dict__["attribute_rows"] = np.concatenate([rows, later])
    return told


def test_who_was_moved_is_where_it_was_longest():
    told = simulate(GROUPED, "fair", cpus=1, costs=FREE, duration_s=0.3)
    recorded = RecordedLoad(moved(told, 0.05))
    [note] = [note for note in recorded.notes if "in other groups than" in note]
    assert 0.005 < float(note.split("%")[0]) / 100 < 0.05
    names = {0: "/"} | {number: name for number, (name, *_) in enumerate(recorded.flat(1, FREE).groups, 1)}
    assert names[recorded.flat(1, FREE).tasks["group"][0]] == "/a"


def test_who_was_moved_too_late_is_refused():
    told = simulate(GROUPED, "fair", cpus=1, costs=FREE, duration_s=0.3)
    with pytest.raises(TraceError, match="while tasks were in other groups"):
        simulate(RecordedLoad(moved(told, 0.4)), "fair", costs=FREE)


def test_shares_that_changed_are_told_or_refused():
    told = simulate(GROUPED, "fair", cpus=1, costs=FREE, duration_s=0.3)
    rows = told.group_rows
    later = rows[rows["id"] == 2].copy()
    later["shares"], later["timestamp_ns"] = 2048, 0.97 * told.window_ns[1]
    told.__dict__["group_rows"] = np.concatenate([rows, later])
    [note] = [note for note in RecordedLoad(told).notes if "whose shares were others" in note]
    assert float(note.split("%")[0]) == pytest.approx(1.5, abs=0.2)
    later["timestamp_ns"] //= 2
    told.__dict__["group_rows"] = np.concatenate([rows, later])
    del told.__dict__["groups"]
    with pytest.raises(TraceError, match="these had other shares"):
        simulate(RecordedLoad(told), "fair", costs=FREE)


def test_who_may_run_nowhere_is_refused():
    load = {"tasks": {"a": {"run": 1000, "cpus": [1]}}}
    told = simulate(load, "fair", cpus=2, duration_s=0.01)
    with pytest.raises(UsageError, match="a may only run on CPUs 1, and the machine has 1"):
        simulate(told, cpus=1)


def test_that_fails_where_the_trace_is_of_another_scheduler():
    load = {"tasks": {"hog": {"run": 9000}, "sleeper": {"instance": 3, "run": 700, "sleep": 1300}}}
    told = simulate(load, "fair", cpus=1, costs=COSTS, duration_s=0.1)
    assert totals(simulate(told, "fair", costs=COSTS))["hash"] == totals(told)["hash"]
    assert totals(simulate(told, "fifo", costs=COSTS))["hash"] != totals(told)["hash"]


@given(LOADS, st.integers(1, 4))
@settings(max_examples=30)
def test_each_task_computes_as_long_as_it_did(load, cpus):
    told = simulate(load, "fair", cpus=cpus, costs=FREE, duration_s=0.05)
    recorded = RecordedLoad(told)
    assert recorded.cpu_time_ns.sum() == Analysis(told).overall()["cpu_time_ns"]
    flat = recorded.flat(cpus, FREE)
    task = np.repeat(np.arange(len(flat.tasks)), flat.tasks["nr_steps"])
    runs = (flat.steps["op"] == Op.RUN.value) & (flat.steps["amount"] != FOREVER)
    ran = np.bincount(task[runs], flat.steps["amount"][runs], len(flat.tasks))
    outlasts = np.bincount(task[flat.steps["amount"] == FOREVER], minlength=len(flat.tasks)) > 0
    assert (ran[~outlasts] == recorded.cpu_time_ns[~outlasts]).all()
    assert (ran <= recorded.cpu_time_ns).all()


def wakes(trace: Trace) -> list[int]:
    return list(map(int, trace.events["timestamp_ns"][trace.events["type"] == EventType.WAKEUP]))


def pauses(trace: Trace) -> list[int]:
    slept = (trace.events["type"] == EventType.SWITCH) & (trace.events["prev_state"] == PrevState.SLEEPING)
    return [b - a for a, b in zip(trace.events["timestamp_ns"][slept].tolist(), wakes(trace), strict=False)]


def test_an_open_loop_keeps_its_times_and_a_closed_one_its_pauses():
    load = {"tasks": {"hog": {"run": 900_000}, "a": {"run": 1000, "sleep": 3000}}, "global": {"duration": 1}}
    told = simulate(load, "fair", cpus=1, costs=FREE, duration_s=0.2)
    open_, closed = (
        simulate(RecordedLoad(told, loop=loop), "rr:slice_us=500", costs=FREE) for loop in ("open", "closed")
    )
    assert len(wakes(told)) > 20
    assert set(wakes(open_)) < set(wakes(told))
    assert set(pauses(closed)) == {3 * MS}
    assert set(pauses(open_)) != {3 * MS}


@pytest.mark.parametrize(
    ("events", "rule", "loop"),
    [
        ({"run": 500, "timer": {"ref": "unique", "period": 4000}}, "timer", "open"),
        ({"run": {"exponential": 900}, "sleep": 3000}, "pause", "closed"),
        ({"run": 500, "io": {"exponential": 3000}}, "device", "closed"),
        ({"run": 500, "sleep": {"exponential": 3000}}, "outside", "open"),
    ],
)
def test_a_rule_says_why_a_task_wakes_up(events, rule, loop):
    told = simulate({"tasks": {"a": events}}, "fair", cpus=1, costs=FREE, duration_s=0.2)
    [decision] = RecordedLoad(told).decisions
    assert (decision.task, decision.rule, decision.loop, decision.nr_by_tasks) == ("a", rule, loop, 0)
    assert decision.nr_wakeups > 10
    [decision] = RecordedLoad(told, loop="closed").decisions
    assert (decision.rule, decision.loop) == ("asked", "closed")


def hand_made(events: list[tuple], manifest: dict | None = None, tasks=(), losses=()) -> Trace:
    """A trace of (time, type, tid, other_tid, cpu, prev_state)."""
    rows = np.zeros(len(events), EVENT_DTYPE)
    for row, (time, kind, tid, other, cpu, state) in zip(rows, events, strict=True):
        row["timestamp_ns"], row["type"], row["tid"], row["other_tid"] = time, kind, tid, other
        row["cpu"] = row["target_cpu"] = row["orig_cpu"] = cpu
        row["prev_state"] = state
    task_rows = np.zeros(len(tasks), TASK_ROW_DTYPE)
    for row, (tid, policy) in zip(task_rows, tasks, strict=True):
        row["tid"], row["policy"], row["static_prio"], row["comm"] = tid, policy, 120, f"t{tid}".encode()
    known = {"clock": "monotonic", "nr_cpus": 1, "window_ns": [0, 10 * MS]}
    return Trace(known | (manifest or {}), MemorySource(rows, task_rows, loss_rows=list(losses)))


SWITCH, WAKEUP, WAKING = EventType.SWITCH, EventType.WAKEUP, EventType.WAKING
SLEEPING, PREEMPTED = PrevState.SLEEPING, PrevState.PREEMPTED


def rally(nr_rounds: int) -> list[tuple]:
    """7 runs 200 us, wakes 8 up half way, and sleeps; 8 runs 100 us and wakes 7 up."""
    events: list[tuple] = [(0, SWITCH, 0, 7, 0, PREEMPTED)]
    for start in range(0, nr_rounds * 300_000, 300_000):
        middle, end = start + 200_000, start + 300_000
        events += [
            (start + 100_000, WAKING, 8, 7, 0, 0),
            (start + 100_000, WAKEUP, 8, 7, 0, 0),
            (middle, SWITCH, 7, 8, 0, SLEEPING),
            (end - 1, WAKING, 7, 8, 0, 0),
            (end - 1, WAKEUP, 7, 8, 0, 0),
            (end, SWITCH, 8, 7, 0, SLEEPING),
        ]
    return events


PAIR = rally(1)


def test_who_was_woken_by_a_task_is_woken_by_it_again():
    recorded = RecordedLoad(hand_made(rally(20), {"window_ns": [0, 6 * MS]}))
    assert [(each.tid, each.nr_by_tasks, each.nr_wakeups) for each in recorded.decisions] == [
        (7, 20, 20),
        (8, 19, 19),
    ]
    assert {(each.rule, each.loop) for each in recorded.decisions} == {("woken", "closed")}
    switches = [each[0] for each in rally(20) if each[1] == SWITCH]
    again = simulate(recorded, "fifo", costs=FREE).events
    assert again[again["type"] == SWITCH]["timestamp_ns"].tolist() == switches
    slower = simulate(recorded, "fifo", costs=FREE | {"irq_per_s": 5000, "irq_ns": 100_000}).events
    assert np.sum(slower["type"] == SWITCH) < 0.8 * len(switches)
    open_ = RecordedLoad(recorded.trace, loop="open")
    assert [each.nr_by_tasks for each in open_.decisions] == [0, 0]


@pytest.mark.parametrize(("waker", "by_tasks"), [(Waker.TASK, 1), (Waker.INTERRUPT, 0), (Waker.UNKNOWN, 0)])
def test_a_trace_that_tells_who_woke_whom_is_believed(waker, by_tasks):
    trace = hand_made(rally(1), {"window_ns": [0, 300_001]})
    rows = trace.events.copy()
    rows["aux"][rows["type"] == WAKING] = waker
    [told] = RecordedLoad(Trace(trace.manifest, MemorySource(rows))).decisions
    assert (told.tid, told.nr_by_tasks) == (7, by_tasks)


def test_who_always_runs_when_a_timer_fires_wakes_nobody_up():
    events: list[tuple] = [(0, SWITCH, 0, 7, 0, PREEMPTED)]
    for time in range(1000, 6 * MS, 100_000):
        events += [(time, WAKING, 8, 7, 0, 0), (time, WAKEUP, 8, 7, 0, 0)]
        events += [(time, SWITCH, 7, 8, 0, PREEMPTED), (time + 900, SWITCH, 8, 7, 0, SLEEPING)]
    recorded = RecordedLoad(hand_made(events, {"window_ns": [0, 6 * MS]}))
    assert [(each.tid, each.nr_by_tasks, each.rule) for each in recorded.decisions] == [(8, 0, "timer")]


def test_a_real_time_task_takes_its_cpu_away():
    events = [
        (0, SWITCH, 0, 7, 0, PREEMPTED),
        (2 * MS, SWITCH, 7, 9, 0, PREEMPTED),
        (5 * MS, SWITCH, 9, 7, 0, SLEEPING),
        (6 * MS, SWITCH, 7, 0, 0, SLEEPING),
    ]
    recorded = RecordedLoad(hand_made(events, tasks=[(7, 0), (9, 1)]))
    again = simulate(recorded, "fifo", costs=FREE).events
    assert again[again["type"] == SWITCH]["timestamp_ns"].tolist() == [0, 6 * MS]
    assert any("Real-time tasks take 30.00%" in note for note in recorded.notes)


@pytest.mark.parametrize(
    ("manifest", "losses", "error", "message"),
    [
        ({"filter": {"comm": "x"}}, (), TraceError, "only some tasks were recorded"),
        (
            {},
            [{"nr_lost": 3, "cpu": 0, "first_ns": 3 * MS, "last_ns": 4 * MS}],
            IncompleteTraceError,
            "3 events were lost",
        ),
    ],
)
def test_what_does_not_tell_everything_is_refused(manifest, losses, error, message):
    with pytest.raises(error, match=message):
        RecordedLoad(hand_made(PAIR, manifest, losses=losses))


def test_what_is_unknown_takes_the_cpu_away_and_is_told():
    losses = [{"nr_lost": 3, "cpu": 0, "first_ns": 70 * MS, "last_ns": 71 * MS}]
    recorded = RecordedLoad(hand_made(PAIR, {"window_ns": [0, 100 * MS]}, losses=losses), allow_lost=True)
    assert any("in 1.0% of their time is unknown" in note for note in recorded.notes)
    [taken] = recorded.flat(1, FREE).interruptions
    assert (taken["start_ns"], taken["length_ns"], taken["cpu"]) == (70 * MS, MS, 0)
    losses[0]["last_ns"] = 90 * MS
    with pytest.raises(TraceError, match="in 20% of their time is unknown"):
        RecordedLoad(hand_made(PAIR, {"window_ns": [0, 100 * MS]}, losses=losses), allow_lost=True)


def test_a_trace_without_tasks_is_refused():
    with pytest.raises(TraceError, match="no scheduler events"):
        RecordedLoad(hand_made([]))
    with pytest.raises(UsageError, match="loop 'shut'"):
        RecordedLoad(hand_made(PAIR), loop="shut")  # type: ignore[arg-type]


def flat_load(steps: list[tuple], interruptions=(), **fields) -> FlatLoad:
    """One task that does (op, amount, object, flags)."""
    rows = np.zeros(len(steps), STEP_DTYPE)
    rows["object"] = NONE
    for row, (op, amount, *more) in zip(rows, steps, strict=True):
        row["op"], row["amount"] = op if isinstance(op, int) else op.value, amount
        for name, value in zip(("object", "flags"), more, strict=False):
            row[name] = value
    task = np.zeros(1, TASK_DTYPE)
    task["cpu_set"] = task["first_cpu"] = NONE
    task["nr_steps"] = len(steps)
    for name, value in fields.items():
        task[name] = value
    taken = np.zeros(len(interruptions), INTERRUPTION_DTYPE)
    for row, values in zip(taken, interruptions, strict=True):
        row["start_ns"], row["length_ns"], row["cpu"] = values
    return FlatLoad(["t"], task, rows, 20 * MS, interruptions=taken)


class Given(RecordedLoad):
    """A load that is one already."""

    def __init__(self, flat: FlatLoad) -> None:
        self._flat, self.nr_cpus = flat, 2

    def workload(self, nr_cpus, costs):
        return self._flat.workload(), {}


def run_flat(flat: FlatLoad) -> Simulation:
    simulation = Simulation(Given(flat), "fifo", costs=FREE, traced=True)
    simulation.run()
    return simulation


def test_interruptions_prolong_what_runs_there():
    taken = [(1 * MS, 2 * MS, 0), (2 * MS, MS, 0), (9 * MS, MS, 0), (1 * MS, 9 * MS, 1)]
    simulation = run_flat(flat_load([(Op.RUN, 5 * MS)], taken))
    assert simulation.now_ns == 8 * MS
    assert simulation.totals.interrupts_ns == 3 * MS


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        (flat_load([(99, 1)]), "step 0: there is no such step"),
        (flat_load([(Op.RUN, -1)]), "can't be negative"),
        (flat_load([(Op.RUN, 1)], nr_steps=2), "too few steps"),
        (flat_load([(Op.RUN, 1)], nr_steps=0), "more steps or tasks"),
        (flat_load([(Op.READ, 1, 0)]), "needs a pipe"),
        (flat_load([(Op.FORK, 1, 5)]), "no such task to fork"),
        (flat_load([(Op.SLEEP_UNTIL, 1)]), "no such timer"),
        (flat_load([(Op.RUN, 1)], start_ns=NEVER), "none of its tasks ever starts"),
        (flat_load([(Op.RUN, 1)], cpu_set=3), "no such set of CPUs"),
        (flat_load([(Op.RUN, 1)], [(1, 1, 2)]), "a CPU that is not there"),
        (flat_load([(Op.RUN, 1)], [(2, 1, 0), (1, 1, 0)]), "stand in order"),
        (flat_load([(Op.RUN, 1)], [(2, -1, 0)]), "stand in order"),
    ],
)
def test_flat_loads_are_checked(flat, message):
    from schedtuna.sim.native import BadInputError

    with pytest.raises((UsageError, BadInputError), match=message):
        Simulation(Given(flat), "fifo")
