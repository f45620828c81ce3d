"""Simulations from Python: they step, fork and tell their state, and say what is wrong with their input."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.cli.main import main
from schedtuna.errors import SimulationError, TraceError, UsageError
from schedtuna.sim.native import LONGEST_NS, NEVER, Stop, TaskState
from schedtuna.sim.simulation import Simulation, require_memory
from schedtuna.sim.topology import MachineShape

MS = 1_000_000
# As on a machine whose switches and interrupts take no time.
FREE = dict.fromkeys(
    ("context_switch_ns", "wakeup_ns", "ipi_ns", "tick_cost_ns", "migration_ns", "migration_llc_ns"), 0
) | {"idle_exit_ns": 0, "timer_irq_ns": 0}
MIXED = {
    "tasks": {
        "hog": {"run": 10_000},
        "sleeper": {"instance": 3, "run": 700, "sleep": 1300},
        "timer": {"run": {"exponential": 400}, "timer": {"ref": "t", "period": 4000}},
    }
}


def ending(loop=3, run_us=1000):
    return {"tasks": {"one": {"loop": 1, "phases": {"all": {"loop": loop, "run": run_us}}}}}


def test_a_task_alone_runs_for_as_long_as_it_asks():
    simulation = Simulation(ending(), "fifo", cpus=1, costs=FREE)
    assert simulation.run() is Stop.ALL_EXITED
    (task,) = simulation.state().tasks
    assert (task.name, task.state, task.cpu_time_ns) == ("one", TaskState.DEAD, 3 * MS)
    assert simulation.now_ns == 3 * MS
    assert simulation.totals.idle_ns == 0


def test_it_stops_at_the_time_that_it_is_given():
    simulation = Simulation(MIXED, "fifo", cpus=2)
    assert simulation.run(5 * MS) is Stop.TIME
    assert simulation.now_ns == 5 * MS
    state = simulation.state()
    assert len(state.running) == 2 and state.next_event_ns > 5 * MS
    assert sum(task.state is TaskState.RUNNING for task in state.tasks) == sum(
        who is not None for who in state.running
    )


def test_steps_end_where_a_run_does():
    run, stepped = (Simulation(ending(), "fifo", cpus=1) for _ in range(2))
    run.run()
    nr_steps = 1
    while stepped.step() is Stop.TIME:
        nr_steps += 1
    assert stepped.totals == run.totals
    assert nr_steps == run.totals.nr_events


@given(
    st.lists(st.integers(0, 60 * MS), max_size=6),
    st.sampled_from(["fifo", "rr:slice_us=300", "rr"]),
    st.integers(1, 4),
    st.integers(0, 2**64 - 1),
)
def test_where_a_run_pauses_or_forks_changes_nothing(pauses, scheduler, cpus, seed):
    straight, paused = (Simulation(MIXED, scheduler, cpus=cpus, seed=seed) for _ in range(2))
    straight.run(80 * MS)
    for until_ns in sorted(pauses):
        paused.run(until_ns)
        paused = paused.fork()
    paused.run(80 * MS)
    assert paused.totals == straight.totals
    assert paused.state() == straight.state()


def test_threads_simulate_side_by_side_what_each_does_alone():
    def run(seed):
        simulation = Simulation(MIXED, "rr:slice_us=500", cpus=2, seed=seed)
        simulation.run(500 * MS)
        return simulation.totals

    alone = [run(seed) for seed in range(8)]
    assert len({totals.hash for totals in alone}) == 8
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(8))) == alone


def test_the_two_seeds_draw_for_two_things():
    def totals(**options):
        simulation = Simulation(MIXED, "rr", cpus=2, **options)
        simulation.run(200 * MS)
        return simulation.totals

    noisy = {"irq_per_s": 500}
    assert totals(seed=1) == totals(seed=1, noise_seed=7)  # a quiet machine draws nothing
    assert totals(seed=1) != totals(seed=2)
    assert totals(seed=1, costs=noisy) == totals(seed=1, noise_seed=1, costs=noisy)
    assert totals(seed=1, costs=noisy) != totals(seed=1, noise_seed=2, costs=noisy)


def test_a_deadlock_is_told_with_who_waits_for_what():
    crossed = {
        "tasks": {
            name: {
                "loop": 1,
                "phases": {
                    "all": {
                        "loop": 9,
                        "lock": a,
                        "run": 100,
                        "lock2": b,
                        "run2": 10,
                        "unlock": b,
                        "unlock2": a,
                    }
                },
            }
            for name, a, b in (("left", "m", "n"), ("right", "n", "m"))
        }
    }
    simulation = Simulation(crossed, "fifo", cpus=2)
    assert simulation.run() is Stop.DEADLOCK
    told = simulation.waiting()
    assert all(name in told for name in ("left", "right", "m", "n"))


def test_a_load_without_an_end_needs_one():
    with pytest.raises(UsageError, match="no end") as caught:
        Simulation(MIXED, "fifo").run()
    assert "--for" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cpus": 0}, "1 to 1,024"),
        ({"cpus": 1025}, "1 to 1,024"),
        ({"topology": "2x4"}, "LLCSxCORESxTHREADS"),
        ({"topology": "2x4x3"}, "1 or 2 threads"),
        ({"topology": "0x4x1"}, "at least one cache"),
        ({"topology": "99x99x1"}, "at most 1,024"),
        ({"topology": "2x2x2", "cpus": 4}, "8 CPUs, and 4"),
        ({"seed": -1}, "seed -1"),
        ({"noise_seed": 2**64}, "expected 0 to"),
        ({"costs": {"tick": 1}}, "did you mean tick_ns"),
        ({"costs": {"tick_ns": -5}}, "tick_ns"),
        ({"costs": {"tick_ns": 2**63}}, "tick_ns"),
        ({"scheduler": "fif"}, "did you mean fifo"),
        ({"scheduler": "rr:slice=5"}, "did you mean slice_us"),
        ({"scheduler": "rr:slice_us=0"}, "out of bounds"),
        ({"scheduler": "json:JSONDecoder"}, "no subclass of Scheduler"),
        ({"workload": "nowhere.json"}, "no workload file"),
        ({"workload": {"tasks": {}}}, "tasks"),
        ({"workload": {"tasks": {"a": {"runs": 5}}}}, "tasks.a.runs"),
        ({"workload": {"tasks": {"a": {"run": 5, "cpus": [9]}}}}, "CPU"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(options, told):
    with pytest.raises(UsageError, match=told):
        Simulation(**{"workload": MIXED, "scheduler": "fifo", **options})


def test_a_file_that_is_no_text_is_said_to_be_unreadable(tmp_path):
    (tmp_path / "x.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="can't be read"):
        Simulation(tmp_path / "x.json", "fifo")
    with pytest.raises(TraceError, match="is not a trace"):
        Simulation(tmp_path, "fifo")


def test_a_time_that_is_none_is_refused_and_ends_nothing():
    simulation = Simulation(MIXED, "fifo")
    for until_ns in (-1, NEVER + 1):
        with pytest.raises(UsageError, match="no time"):
            simulation.run(until_ns)
    simulation.run(MS)


def test_tasks_that_do_not_fit_into_memory_are_refused():
    require_memory(1_000_000, 400_000_000)
    require_memory(1_000_000, None)
    with pytest.raises(UsageError, match="1,000,000 tasks need up to 400 MB of memory, and 399 MB are"):
        require_memory(1_000_000, 399_000_000)


def test_the_command_tells_the_memory_of_many_tasks_up_front(tmp_path, capsys):
    load = tmp_path / "load.json"
    late = {"instance": 130_000, "delay": 9000, "run": 1, "sleep": 9}
    load.write_text(json.dumps({"tasks": {"late": late, "first": {"run": 100, "sleep": 100}}}))
    with pytest.raises(SystemExit) as ended:
        main(["sim", "run", str(load), "--scheduler", "fifo", "--for", "1ms"])
    assert ended.value.code == 0
    assert "note: 130,001 tasks: up to 52 MB of memory" in capsys.readouterr().err


def test_time_ends_after_104_days():
    asleep = {"tasks": {"a": {"run": 1, "sleep": 2_000_000_000}}}
    simulation = Simulation(asleep, "fifo", cpus=1, costs=FREE)
    simulation.run(LONGEST_NS)
    with pytest.raises(UsageError, match="104 days"):
        simulation.run(LONGEST_NS + 1)
    stepped = Simulation(asleep, "fifo", cpus=1, costs=FREE)
    stepped.run(LONGEST_NS)
    with pytest.raises(UsageError, match="104 days"):
        stepped.step()


def test_a_workload_that_does_what_it_cannot_ends_its_simulation():
    alone = {"tasks": {"a": {"instance": 2, "run": 10, "barrier": "b"}}}
    simulation = Simulation(alone, "fifo", cpus=1)
    simulation.run(MS)
    busy = {"tasks": {"a": {"loop": 1, "phases": {"p": {"loop": 10**9, "yield": ""}}}}}
    stuck = Simulation(busy, "fifo", cpus=1, costs=FREE)
    with pytest.raises((UsageError, SimulationError)):
        stuck.run(MS)
    with pytest.raises(SimulationError, match="has ended"):
        stuck.run(2 * MS)


def test_shapes_are_read_and_written_alike():
    shape = MachineShape.parse("2x4x2")
    assert (shape.nr_cpus, str(shape), MachineShape.parse(str(shape))) == (16, "2x4x2", shape)
    assert MachineShape.of(None, None).nr_cpus == 8
    assert MachineShape.of(4, MachineShape(2, 2)).nr_llcs == 2
