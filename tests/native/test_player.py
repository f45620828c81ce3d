"""schedtuna-player: files of rt-app's, played for real."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from schedtuna.resources import resource_path
from schedtuna.sim import Simulation, Stop
from schedtuna.sim.native import cost_table


def run_player(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(argument) for argument in (resource_path("native/schedtuna-player"), *arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def play(folder, document, *options: str):
    """Play a file, and return its tasks by their names, in the order of their starts."""
    file = folder / "load.json"
    file.write_text(json.dumps(document))
    done = run_player(file, *options)
    assert done.returncode == 0, done.stderr
    tasks: dict[str, list] = {}
    for task in json.loads(done.stdout)["tasks"]:
        tasks.setdefault(task["name"], []).append(task)
    return tasks


def once(*events: tuple[str, object], laps: int = 1, **task: object) -> dict[str, object]:
    """A task that goes through its events so many times, and ends."""
    return {**task, "loop": 1, "phases": {"lap": {"loop": laps, **dict(events)}}}


def test_all_laps_are_done_and_all_time_is_asked_for(tmp_path):
    tasks = play(tmp_path, {"tasks": {"w": once(("run", 1000), ("sleep", 100), laps=20, instance=2)}})
    assert [(task["nr_phases"], task["asked_ns"], task["ended"]) for task in tasks["w"]] == [
        (20, 20_000_000, True)
    ] * 2
    assert all(task["nr_timers"] == 20 for task in tasks["w"])
    assert all(task["timer_latency_p50_ns"] <= task["timer_latency_max_ns"] for task in tasks["w"])


def test_the_duration_ends_what_goes_on_for_ever(tmp_path):
    tasks = play(tmp_path, {"tasks": {"w": {"run": 100, "sleep": 1000}}, "global": {"duration": 1}})
    (task,) = tasks["w"]
    assert not task["ended"] and task["nr_phases"] > 1
    assert task["nr_voluntary_switches"] >= task["nr_timers"] > 1


def test_spinning_takes_time_and_not_more(tmp_path):
    (task,) = play(tmp_path, {"tasks": {"w": once(("runtime", 20_000))}})["w"]
    assert 0 < task["cpu_time_ns"] < 30_000_000 and task["asked_ns"] == 0


def test_every_kind_of_waiting_ends(tmp_path):
    waiter = once(
        ("lock", "m"),
        ("wait", {"ref": "c", "mutex": "m"}),
        ("unlock", "m"),
        ("suspend", "waiter"),
        ("run", 1),
    )
    # Wakes the other one until it is gone, as a signal that comes too early is lost.
    waker = once(
        ("lock", "m"), ("broad", "c"), ("unlock", "m"), ("resume", "waiter"), ("sleep", 1000), laps=300
    )
    left = once(("run", 10), ("barrier", "b"), laps=50)
    right = once(("run", 10), ("write", "p"), ("barrier", "b"), ("yield", ""), laps=50)
    reader = once(("read", "p"), laps=50)
    tasks = play(
        tmp_path,
        {
            "tasks": {"waiter": waiter, "waker": waker, "left": left, "right": right, "reader": reader},
            "resources": {"p": {"type": "pipe", "capacity": 2}},
        },
    )
    assert {name: task["nr_phases"] for name, (task,) in tasks.items()} == {
        "waiter": 1,
        "waker": 300,
        "left": 50,
        "right": 50,
        "reader": 50,
    }


def test_a_pipe_holds_as_many_messages_as_it_has_room_for(tmp_path):
    writer = {"phases": {"lap": {"write": "p"}}}
    document = {
        "tasks": {"writer": writer, "reader": {"delay": 2_000_000_000, "read": "p"}},
        "global": {"duration": 1},
        "resources": {"p": {"type": "pipe", "capacity": 4}},
    }
    assert play(tmp_path, document)["writer"][0]["nr_phases"] == 4


def test_forks_start_tasks_and_execs_go_on_as_others(tmp_path):
    document = {
        "tasks": {
            "parent": once(("fork", "child"), ("run", 10), laps=3),
            "child": {**once(("run", 100)), "instance": 0, "phases": {"p": {"run": 100, "exec": "other"}}},
            "other": {**once(("run", 50), laps=2), "instance": 0},
        }
    }
    tasks = play(tmp_path, document)
    assert [task["asked_ns"] for task in tasks["child"]] == [200_000] * 3
    assert [task["nr_phases"] for task in tasks["child"]] == [2] * 3


@pytest.mark.parametrize(
    "shape", [{"exponential": 200}, {"pareto": {"smallest": 50, "tail_permille": 1500, "largest": 900}}]
)
def test_a_seed_decides_what_is_drawn(tmp_path, shape):
    document = {"tasks": {"w": once(("run", shape), ("sleep", 50), laps=10, instance=2)}}
    draws = [
        [task["asked_ns"] for task in play(tmp_path, document, "--seed", seed)["w"]]
        for seed in ("1", "1", "2")
    ]
    assert draws[0] == draws[1] != draws[2]
    assert draws[0][0] != draws[0][1]


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_the_player_and_the_simulator_draw_the_same_amounts(tmp_path, seed):
    shapes = (
        {"exponential": 500},
        {"uniform": {"from": 100, "to": 900}},
        {"erlang": {"mean": 500, "stages": 4}},
        {"lognormal": {"median": 500, "sigma_permille": 800}},
        {"pareto": {"smallest": 50, "tail_permille": 1500, "largest": 5000}},
        {"hyper": {"mean": 100, "other_mean": 2000, "other_permille": 50}},
    )
    tasks = {
        f"shape{k}": {
            "instance": 2,
            "loop": 2,
            "phases": {"a": {"loop": 3, "run": run, "sleep": 100}, "b": {"run": run, "run2": run}},
        }
        for k, run in enumerate(shapes)
    }
    document = {
        "tasks": {
            **tasks,
            "child": once(("run", shapes[0]), laps=3, instance=0),
            "parent": once(("run", shapes[0]), ("fork", "child"), laps=2),
        }
    }
    played = play(tmp_path, document, "--seed", str(seed))
    # Without costs a task's CPU time is what it asked for.
    costs = {name: 0 for name, *_ in cost_table() if name != "tick_ns"}
    simulation = Simulation(document, "fifo", cpus=2, seed=seed, costs=costs)
    assert simulation.run() is Stop.ALL_EXITED
    simulated: dict[str, list[int]] = {}
    for task in simulation.state().tasks:
        simulated.setdefault(task.name, []).append(task.cpu_time_ns)
    asked = {name: [task["asked_ns"] for task in same] for name, same in played.items()}
    assert asked == simulated
    assert len({ns for amounts in asked.values() for ns in amounts}) == 15  # all of them drawn


def test_attributes_are_the_kernels(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("a nice value below 0 needs root")
    cpu = min(os.sched_getaffinity(0))
    task = once(("run", 10), ("priority", -5), ("policy", "SCHED_BATCH"), ("cpus", [cpu]), priority=3)
    assert play(tmp_path, {"tasks": {"w": task}})["w"][0]["ended"]


def test_cpus_that_are_not_there_are_named(tmp_path):
    file = tmp_path / "load.json"
    file.write_text('{"tasks": {"w": {"cpus": [4095], "run": 5}}, "global": {"duration": 1}}')
    done = run_player(file)
    assert done.returncode == 1 and "a task's \"cpus\" can't be set" in done.stderr


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("{", [], "load.json:1: not JSON"),
        ('{"tasks": {"w": {"run": 0}}}', [], "tasks.w.run: must be 1"),
        ('{"tasks": {"w": {"io": 5}}}', ["--rt-app"], "rt-app 1.0 has no"),
        ('{"tasks": {"w": {"run": 5, "taskgroup": "/a"}}}', [], "taskgroups are simulated, but not played"),
        ('{"tasks": {"w": {"run": 5}}}', ["--seed", "-1"], "--seed must be a number"),
        ('{"tasks": {"w": {"run": 5}}}', ["--seed", "1x"], "--seed must be a number"),
        ('{"tasks": {"w": {"run": 5}}}', ["--seed"], "usage: schedtuna-player FILE"),
        ('{"tasks": {"w": {"run": 5}}}', ["--fast"], "usage: schedtuna-player FILE"),
        ('{"tasks": {"w": {"run": 5}}}', ["other.json"], "usage: schedtuna-player FILE"),
    ],
)
def test_what_cannot_be_played_is_refused(tmp_path, text, options, words):
    file = tmp_path / "load.json"
    file.write_text(text)
    done = run_player(file, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_file_that_is_not_there_is_named(tmp_path):
    done = run_player(tmp_path / "no.json")
    assert done.returncode == 2 and "no.json can't be read" in done.stderr
