"""Loads whose culprit is known: it comes first, and where nothing helps that is said."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from schedtuna.cli.main import main
from schedtuna.cli.sim import app
from schedtuna.cli.sim_why import proving_command, spelled_setting
from schedtuna.errors import SimulationError, UsageError
from schedtuna.sim.flips import Base
from schedtuna.sim.native import Policy
from schedtuna.sim.origin import Origin
from schedtuna.sim.traced import simulate
from schedtuna.sim.waits import KINDS, STATISTICS, WaitMetric, waits_of
from schedtuna.sim.why import Setting, why
from schedtuna.trace.analysis import Analysis
from schedtuna.workload.families import FAMILIES

P99 = WaitMetric("wakeup_latency", "p99")
SLEEPER = {"run": 300, "sleep": 9000}


def load(seconds=2, **tasks):
    return {"tasks": tasks, "global": {"duration": seconds}}


def explained(workload, scheduler="fair", metric=P99, **machine):
    return why(simulate(workload, scheduler, **machine), metric)


def best(report):
    assert report.helps(report.settings[0].value_ns)
    return spelled_setting(report.settings[0])


@settings(max_examples=25)
@given(st.sampled_from(sorted(FAMILIES)), st.integers(1, 5), st.sampled_from(["fair", "rr:slice_us=2000"]))
def test_waits_are_those_of_stats(family, member, scheduler):
    trace = simulate(f"{family}:member={member}", scheduler, cpus=2, duration_s=0.3)
    overall = Analysis(trace).overall()
    events = np.concatenate([*trace.segments()])
    for kind in KINDS:
        lengths = waits_of(events, kind).lengths_ns()
        assert len(lengths) == overall[f"{kind}_count"]
        for statistic in STATISTICS if len(lengths) else ():
            assert WaitMetric(kind, statistic).of(lengths) == pytest.approx(overall[f"{kind}_{statistic}_ns"])


@pytest.fixture(scope="module")
def bursts():
    return np.concatenate([*simulate("bursts", cpus=2, duration_s=0.2).segments()])


@given(st.integers(0, 2_000))
def test_waits_that_go_on_are_put_together_again(bursts, at):
    events, at = bursts, min(at, len(bursts))
    whole, first = (waits_of(part, "wakeup_latency") for part in (events, events[:at]))
    rest = waits_of(events[at:], "wakeup_latency", first.select(first.end_ns < 0))
    ended = np.concatenate([first.lengths_ns(), rest.lengths_ns()])
    assert sorted(ended) == sorted(whole.lengths_ns())


def test_a_slice_that_is_too_long_is_found():
    report = explained(
        load(hog={"instance": 2, "run": 900_000}, sleeper=SLEEPER), "rr:slice_us=100000", cpus=1
    )
    assert best(report) == "slice_us=50000"
    assert report.settings[0].value_ns < report.base.value_ns * 0.55
    assert {one.name for one in report.tasks} == {"hog", "sleeper"}


def test_a_batch_task_that_waits_is_found():
    """A batch task preempts nobody when it wakes up; an ordinary one does at once."""
    tasks = {"hog": {"run": 900_000, "priority": -3}, "waits": SLEEPER | {"policy": "SCHED_BATCH"}}
    report = explained(load(**tasks), cpus=1)
    helpful = [spelled_setting(one) for one in report.settings if report.helps(one.value_ns)]
    assert helpful[0] in {"policy=other of waits", "policy=idle of hog"}
    assert report.tasks[0].name in {"waits", "hog"}


def test_a_heavy_hog_beside_sleepers_is_found_and_so_is_where_it_went():
    """Who sleeps with it wakes up behind it, though there is another CPU."""
    heavy = {"priority": -20, "run": 20_000, "sleep": 20_000}
    tasks = {"other": {"run": 900_000, "policy": "SCHED_IDLE"}, "heavy": heavy}
    report = explained(load(**tasks, sleeper=SLEEPER | {"instance": 2}), cpus=2)
    assert best(report) == "policy=idle of heavy"
    assert report.tasks[0].name == "heavy"
    assert report.settings[0].value_ns < report.base.value_ns / 50


def test_the_pick_that_made_a_task_wait_is_found():
    """In order of arrival a long task comes before a short one, once."""
    short = {"loop": 1, "delay": 10, "phases": {"a": {"sleep": 5000, "run": 100}}}
    long = {"loop": 1, "phases": {"a": {"sleep": 5000, "run": 50_000}}}
    first = {"loop": 1, "phases": {"a": {"run": 6000}}}
    report = explained(
        load(first=first, long=long, short=short), "fifo", WaitMetric("wakeup_latency", "max"), cpus=1
    )
    flip = report.flips[0]
    assert report.names[flip.point.task] == "short"
    assert report.names[flip.instead_of] == "long"
    assert flip.value_ns < 10e6 < 50e6 < report.base.value_ns


def test_where_nothing_helps_it_says_so():
    report = explained(load(one=SLEEPER), cpus=2)
    assert not any(report.helps(one.value_ns) for one in report.settings)
    assert report.nr_left == 0
    report = explained(load(one={"run": 900_000}), cpus=2)
    assert (report.tasks, report.settings, report.flips) == ([], [], [])


def test_what_there_is_no_time_for_is_counted():
    trace = simulate(load(hog={"run": 900_000}, sleeper=SLEEPER), cpus=1)
    report = why(trace, P99, time_left=lambda: 0.0)
    assert (report.settings, report.flips) == ([], [])
    assert report.nr_left > 20


def test_a_trace_of_something_else_is_refused(tmp_path):
    trace = simulate(load(one=SLEEPER), cpus=1)
    origin = Origin.of(trace)
    with pytest.raises(SimulationError, match="does something else than in the trace"):
        dataclasses.replace(origin, hash="0" * 16).repeated()
    with pytest.raises(UsageError, match="metric 'slice_p99': expected one of wakeup_latency"):
        WaitMetric.parse("slice_p99")


def test_a_recorded_trace_is_replayed():
    trace = simulate(load(hog={"run": 900_000}, waits=SLEEPER | {"policy": "SCHED_BATCH"}), cpus=1)
    trace.manifest.pop("simulation")
    report = why(trace, P99)
    assert report.base.origin.is_recorded
    assert report.helps(report.settings[0].value_ns)
    assert {one.name for one in report.tasks} == {"hog", "waits"}


def test_the_tail_is_what_the_metric_is_made_of():
    trace = simulate("interactive", cpus=2, duration_s=1)
    origin = Origin.of(trace)
    base = Base.of(origin, origin.repeated().take_events(), 2, P99)
    lengths = base.waits.lengths_ns(origin.until_ns)
    assert len(base.tail) == np.count_nonzero(lengths >= base.value_ns)
    assert len(base.tail) / len(lengths) == pytest.approx(0.01, abs=0.005)


SETTINGS = [
    Setting(parameter="base_slice_us", value=350),
    Setting(task="make", attributes={"nice": 5}),
    Setting(task="make", attributes={"policy": Policy.BATCH}),
    Setting(task="make", attributes={"slice_ns": 500_000}),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=spelled_setting)
def test_commands_that_prove_it_are_understood(setting, capsys):
    """As far as what isn't there: the process or the command."""
    command = (
        proving_command(setting, "fair", "1x8x1")
        .replace("PID", str(2**22 - 1))
        .replace("COMMAND", "/nowhere")
    )
    with pytest.raises(SystemExit) as ended:
        main(command.split()[1:])
    shown = capsys.readouterr().err
    assert ended.value.code != 0
    assert "4194303" in shown or "/nowhere" in shown, shown


@pytest.mark.parametrize("setting", SETTINGS, ids=spelled_setting)
@pytest.mark.parametrize("scheduler", ["scx_simple", "rr"])
def test_no_command_proves_for_another_scheduler_what_it_would_do_to_the_kernels(setting, scheduler):
    assert proving_command(setting, scheduler, "1x8x1") is None


def test_parameters_are_proven_by_the_knobs_that_set_them():
    def command(scheduler="fair", **values):
        ((name, value),) = values.items()
        return proving_command(Setting(parameter=name, value=value), scheduler, "1x2x1")

    assert command(base_slice_us=350) == "schedtuna compare default fair:slice_us=700 -- COMMAND"
    feature = "schedtuna compare --scope machine default fair:feature_hrtick=true -- COMMAND"
    assert command(hrtick=True) == feature
    assert command(scheduler="rr", slice_us=700) is None
    assert command(delay_zero=False) is None


def test_the_command_shows_and_prints_it(tmp_path):
    folder, invoke = tmp_path / "trace", CliRunner().invoke
    simulate(load(hog={"run": 900_000}, sleeper=SLEEPER), "rr:slice_us=100000", cpus=1, trace=folder)
    shown = invoke(app, ["why", str(folder)])
    assert shown.exit_code == 0, shown.output
    assert "slice_us=50000" in shown.output and "not certified" in shown.output
    done = invoke(app, ["why", str(folder), "--json", "--top", "1"])
    document = json.loads(done.stdout)
    assert document["settings"][0]["setting"] == "slice_us=50000"
    assert document["settings"][0]["value"] < document["value"]
    assert not document["is_certified"]
    assert invoke(app, ["why", str(folder), "--metric", "nonsense"]).exit_code != 0
