"""What the model says before a search: of which settings, for which metrics, and of whose tasks."""

import numpy as np
import pytest

from schedtuna.errors import UsageError
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.sim.recorded import RecordedLoad
from schedtuna.sim.topology import MachineShape
from schedtuna.sim.traced import simulate
from schedtuna.sim.whose import of_cgroup, of_command, of_process
from schedtuna.space import ParameterSpec, ParameterType
from schedtuna.tune.replica import FINISH, Replica
from schedtuna.tune.screen import KEPT, _kept, figure_for, screen
from schedtuna.workload.spec import Direction, MetricSpec

P99 = MetricSpec(name="sched.wakeup_latency_p99_us", direction=Direction.MIN)
ONE = MachineShape.of(1, None)


def number(name, default, least, most, **more):
    return ParameterSpec(
        name=name, type=ParameterType.INTEGER, default=default, min_value=least, max_value=most, **more
    )


FAIR = SchedulerConfig(
    name="fair",
    parameters={
        "slice_us": number("slice_us", 700, 100, 100_000, log=True),
        "policy": ParameterSpec(
            name="policy", type=ParameterType.CATEGORICAL, default="other", choices=("other", "batch", "idle")
        ),
        "nice": number("nice", 0, -20, 19),
        "timer_slack_us": number("timer_slack_us", 50, 1, 10_000, log=True),
    },
)
MIX = {
    "tasks": {
        "server": {"instance": 2, "run": 400, "timer": {"ref": "unique", "period": 3000}},
        "hog": {"instance": 2, "run": 50_000},
    },
    "global": {"duration": 1},
}


@pytest.fixture(scope="module")
def recorded():
    return RecordedLoad(simulate(MIX, "fair", topology=ONE))


def named(*names):
    return lambda load: np.isin(load.names, names)


EVERYBODY = named("server", "hog")


def replica(source, *, whose=EVERYBODY, scheduler=FAIR, costs=None):
    return Replica(source, scheduler, shape=ONE, costs=costs or {}, whose=whose)


def costs_of(runs):
    return [run.cost for run in runs if run.cost is not None]


def set_to(**values):
    return FAIR.space.default() | values


def test_the_default_is_the_recording_itself(recorded):
    found = replica(recorded).run(set_to(), seed=1)
    figures = recorded.analysis.overall()
    for name in ("wakeup_latency_p99_ns", "nr_switches", "cpu_time_ns", "run_delay_ns"):
        assert found[name] == figures[name], name


def test_what_is_set_of_tasks_is_set_of_those_alone(recorded):
    """Against hogs that stay as they are, servers of a lower nice value or a shorter slice wait less."""
    servers = replica(recorded, whose=named("server"))
    default, nicer, last = (
        servers.run(set_to(**values), seed=1) for values in ({}, {"nice": -15}, {"policy": "idle"})
    )
    assert nicer["run_delay_ns"] < 0.8 * default["run_delay_ns"] < 0.5 * last["run_delay_ns"]
    assert default["nr_tasks"] == 2
    everybody = replica(recorded).run(set_to(nice=-15), seed=1)
    same = replica(recorded).run(set_to(), seed=1)
    assert everybody["run_delay_ns"] == pytest.approx(same["run_delay_ns"], rel=0.02)


def test_drawn_loads_are_set_too():
    drawn = replica(MIX)
    assert drawn.is_drawn
    short, long = (drawn.run(set_to(slice_us=slice_us), seed=1)["nr_switches"] for slice_us in (200, 20_000))
    assert short > 1.2 * long


def test_parameters_of_the_machine_have_the_models_units():
    """A base slice is as long as the kernel makes it: times 2 on two CPUs."""
    scheduler = SchedulerConfig(
        name="fair",
        parameters={
            "base_slice_us": number("base_slice_us", 1400, 100, 10_000),
            "feature_run_to_parity": ParameterSpec(
                name="feature_run_to_parity", type=ParameterType.BOOLEAN, default=True
            ),
            "autogroup": ParameterSpec(name="autogroup", type=ParameterType.BOOLEAN, default=True),
        },
    )
    two = Replica(MIX, scheduler, shape=MachineShape.of(2, None), costs={}, whose=named("hog"))
    assert two.parameters == ("base_slice_us", "feature_run_to_parity")
    told = two._scheduler({"base_slice_us": 6000, "feature_run_to_parity": False, "autogroup": False})
    assert told.values == {"base_slice_us": 3000, "run_to_parity": False}


def test_the_best_settings_come_first_and_the_default_costs_nothing(recorded):
    found, notes = screen(replica(recorded), FAIR.space, [P99], load="trace", seed=3, most=40)
    costs = costs_of(found.runs)
    assert found.nr_settings == 40
    assert costs == sorted(costs)
    assert next(run.cost for run in found.runs if not run.values) == 0
    assert costs[0] < -0.1
    assert found.parameters == ("slice_us", "policy", "nice")
    assert not any("timer_slack_us" in run.values for run in found.runs)
    assert found.figures == {P99.name: "wakeup_latency_p99_ns"}
    assert any("knows nothing of timer_slack_us" in note for note in notes)
    again, _ = screen(replica(recorded), FAIR.space, [P99], load="trace", seed=3, most=40)
    assert again == found


def test_settings_without_a_difference_do_not_steer(recorded):
    # nothing waits on a CPU of its own
    alone = RecordedLoad(
        simulate({"tasks": {"a": {"run": 900, "sleep": 900}}, "global": {"duration": 1}}, cpus=1)
    )
    found, notes = screen(replica(alone, whose=named("a")), FAIR.space, [P99], load="x", seed=1, most=12)
    assert found.runs == ()
    assert any("make no difference" in note for note in notes)


@pytest.mark.parametrize("nr_settings", [2, KEPT // 2, KEPT, KEPT + 1, 2 * KEPT, 1000])
def test_the_better_half_is_kept_and_others_evenly(nr_settings):
    ranked = [(0.01 * k, set_to(slice_us=1000 + k)) for k in range(nr_settings)]
    kept = costs_of(_kept(FAIR.space, ranked))
    assert kept[: KEPT // 2] == [cost for cost, _ in ranked[: KEPT // 2]]
    assert kept == sorted(set(kept))
    assert min(nr_settings, KEPT / 2) <= len(kept) <= KEPT


@pytest.mark.parametrize(
    ("name", "direction", "figure", "is_same"),
    [
        ("sched.preempt_delay_mean_us", "min", "preempt_delay_mean_ns", True),
        ("wall_time_s", "min", FINISH, True),
        ("nr_involuntary_switches", "min", "nr_involuntary", True),
        ("requests_per_s", "max", "run_delay_ns", False),
        ("p99_us", "min", "wakeup_latency_p99_ns", False),
        ("latency_mean_ms", "min", "wakeup_latency_mean_ns", False),
        ("time_s", "min", FINISH, False),
    ],
)
def test_each_metric_has_something_that_stands_for_it(name, direction, figure, is_same):
    found = figure_for(MetricSpec(name=name, direction=Direction(direction)))
    assert (found.name, found.is_same) == (figure, is_same)
    assert is_same or found.direction is Direction.MIN


def test_a_time_is_until_the_last_task_exits_and_may_be_longer_than_the_recording():
    work = {
        "tasks": {
            "build": {"instance": 3, "loop": 60, "phases": {"all": {"loop": 1, "run": 2000}}},
            "hog": {"loop": 100, "phases": {"all": {"loop": 1, "run": 5000}}},
        }
    }
    load = RecordedLoad(simulate(work, "fair", topology=ONE))
    wall = MetricSpec(name="wall_time_s", direction=Direction.MIN)
    judged = replica(load, whose=named("build"))
    found, _ = screen(judged, FAIR.space, [wall], load="x", seed=1, most=12)
    assert found.figures == {"wall_time_s": FINISH}
    late = judged.run(set_to(policy="idle"), seed=1)[FINISH]
    assert late > 1.1 * judged.run(set_to(), seed=1)[FINISH]
    assert min(costs_of(found.runs)) < 0 < max(costs_of(found.runs))
    # hogs without an end never finish: then what they wait counts
    endless = replica(RecordedLoad(simulate(MIX, "fair", topology=ONE)))
    assert screen(endless, FAIR.space, [wall], load="x", seed=1, most=5)[0].figures == {
        "wall_time_s": "run_delay_ns"
    }


def test_what_the_model_can_not_know_is_refused(recorded):
    slack = FAIR.with_parameters({"timer_slack_us": FAIR.parameters["timer_slack_us"]})
    with pytest.raises(UsageError, match="knows none of what is tuned: timer_slack_us"):
        screen(replica(recorded, scheduler=slack), slack.space, [P99], load="x", seed=1)
    with pytest.raises(UsageError, match="no task of the command"):
        screen(replica(recorded, whose=named("nobody")), FAIR.space, [P99], load="x", seed=1)


def test_whose_tasks_are_meant():
    forks = {
        "tasks": {
            "shell": {"loop": 2, "phases": {"p": {"loop": 1, "run": 100, "fork": "child", "sleep": 900}}},
            "child": {"instance": 0, "loop": 1, "phases": {"p": {"loop": 1, "run": 300}}},
            "other": {"instance": 2, "run": 700},
        },
        "global": {"duration": 1},
    }
    load = RecordedLoad(simulate(forks, "fair", topology=ONE))
    table = load.trace.tasks
    shell = table.filter(table["comm"] == "shell")["tid"].item()
    assert of_command(load).all()  # of no command: all but the kernel's
    load.trace.manifest |= {"command": ["make"], "recorder": {"tgid": shell}}
    assert {name for name, own in zip(load.names, of_command(load), strict=True) if own} == {"child"}
    children = table.filter(table["comm"] == "child")["tgid"].to_list()
    load.trace.manifest["helper_tgids"] = children[:1]
    assert of_command(load).sum() == len(children) - 1
    assert of_process(load, shell).tolist() == [
        tid == shell for tid in load.lives.states.tid[load.lives.first]
    ]
    assert of_cgroup(load, "/").all()
    assert not of_cgroup(load, "/nowhere").any()
