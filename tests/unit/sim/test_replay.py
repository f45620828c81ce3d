"""What a replay answers: exact where the model is the machine, and nothing where the loops contradict."""

from __future__ import annotations

import json

import pytest

from schedtuna.cli.main import main
from schedtuna.errors import UsageError
from schedtuna.sim.recorded import RecordedLoad
from schedtuna.sim.replay import (
    METRICS,
    ReplayedFigure,
    change,
    cross_errors,
    figure_name,
    replay,
    scheduler_of,
)
from schedtuna.sim.traced import simulate
from schedtuna.trace.analysis import Analysis

COSTS = {"ipi_ns": 0}
LOAD = {
    "tasks": {
        "hog": {"instance": 2, "run": 10_000},
        "timer": {
            "run": {"exponential": 400},
            "timer": {"ref": "unique", "period": 5000, "mode": "absolute"},
        },
        "pause": {"run": {"exponential": 300}, "sleep": 2000},
    }
}
FAIR = "fair:base_slice_us=2000"


@pytest.fixture(scope="module")
def load() -> RecordedLoad:
    return RecordedLoad(simulate(LOAD, FAIR, cpus=2, costs=COSTS, duration_s=0.5))


def test_a_simulated_trace_is_repeated_and_another_scheduler_does_what_it_would_have_done(load):
    found = replay(load, "rr:slice_us=20000")
    truth = Analysis(simulate(LOAD, "rr:slice_us=20000", cpus=2, costs=COSTS, duration_s=0.5)).overall()
    assert found.against["parameters"]["base_slice_us"] == 2000
    assert [each.metric for each in found.answers] == list(METRICS)
    for each in found.answers:
        assert each.recorded == each.model == load.analysis.overall()[each.metric]
        assert each.error == 0
        assert each.changes["auto"] == change(each.model, each.other)
        # The rules found the true causes, and the other scheduler comes less far: all is exact.
        assert each.other == truth[each.metric]
        assert not each.is_contradicted
    assert found.answers[0].changes["auto"] > 1


def test_figures_of_some_tasks(load):
    found = replay(load, FAIR, comm="[tp]*", metrics=["cpu_time_ns", "nr_tasks"])
    names = dict(zip(load.names, load.cpu_time_ns.tolist(), strict=True))
    assert found.answers[0].recorded == found.answers[0].other == names["timer"] + names["pause"]
    assert found.answers[1].recorded == 2
    assert [each.task for each in found.decisions] == ["timer", "pause"]
    with pytest.raises(UsageError, match="no task is called 'x'"):
        replay(load, FAIR, comm="x")


def test_the_same_scheduler_changes_nothing(load):
    found = replay(load, FAIR)
    assert all(set(each.changes.values()) == {0.0} for each in found.answers)
    assert (
        found.trace.manifest["simulation"]["totals"]["hash"]
        == (load.trace.manifest["simulation"]["totals"]["hash"])
    )


def test_the_cross_error_is_that_of_the_same_load_under_the_other_scheduler(load):
    real = simulate(LOAD, "rr:slice_us=20000", cpus=2, costs=COSTS, duration_s=0.5)
    off = cross_errors(load, real, "rr:slice_us=20000", costs=COSTS)
    assert set(off.values()) == {0.0}
    wrong = cross_errors(load, real, FAIR, costs=COSTS)
    assert wrong["wakeup_latency_mean_ns"] < -0.5


@pytest.mark.parametrize(
    ("changes", "is_contradicted"),
    [
        ({"auto": 0.2, "open": 0.3, "closed": -0.02}, True),
        ({"auto": 0.2, "open": 0.3, "closed": 0.02}, False),
        ({"auto": 0.0, "open": -0.009, "closed": 0.009}, False),  # it doesn't change
        ({"auto": None, "open": None, "closed": None}, False),
        ({"auto": None, "open": -0.3, "closed": 0.3}, True),
    ],
)
def test_an_answer_that_depends_on_the_loop_is_none(changes, is_contradicted):
    assert ReplayedFigure("x", 1.0, 1.0, 1.0, changes).is_contradicted is is_contradicted


def test_changes_and_names():
    assert (change(2, 3), change(0, 0), change(0, 3), change(None, 3)) == (0.5, 0.0, None, None)
    assert figure_name("wakeup_latency_p99", {"wakeup_latency_p99_ns": 1}) == "wakeup_latency_p99_ns"
    with pytest.raises(UsageError, match="no metric 'wakeup'"):
        figure_name("wakeup", {"wakeup_latency_p99_ns": 1})


def test_what_a_trace_is_from(load):
    assert "base_slice_us=2000" in scheduler_of(load.trace)
    load.trace.manifest, kept = {}, load.trace.manifest
    try:
        assert scheduler_of(load.trace) == "fair"
    finally:
        load.trace.manifest = kept


@pytest.fixture
def run(capsys):
    """Run the command; its exit code, stdout and stderr."""

    def start(*words):
        with pytest.raises(SystemExit) as ended:
            main(["sim", "replay", *map(str, words)])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return start


def test_the_command_tells_both_sides_the_error_and_why_tasks_wake_up(run, tmp_path):
    told, written = tmp_path / "told", tmp_path / "written"
    simulate(LOAD, FAIR, cpus=2, costs=COSTS, duration_s=0.5, trace=told)
    metric = ("--metric", "wakeup_latency_p99")
    code, out, _ = run(told, "--scheduler", "rr:slice_us=20000", *metric, "-o", written)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "0.500 s of 4 tasks, replayed on 2 CPUs under fair and under rr"
    [row] = [line.split() for line in lines if line.startswith("wakeup_latency_p99 ")]
    assert row[3] == "+0.0%"
    assert any(line.startswith("timer (3)") and "open" in line for line in lines)
    assert any(line.startswith("pause (4)") and "closed" in line for line in lines)
    assert "not certified" in out
    assert Analysis(simulate(written, "fifo", duration_s=0.1)).nr_events

    code, out, _ = run(told, "--scheduler", "fifo", "--json", "--loop", "open", *metric)
    assert {each["rule"] for each in json.loads(out)["decisions"]} == {"asked"}
    assert json.loads(out)["is_certified"] is False


def test_a_real_trace_under_the_other_one_tells_how_far_off_the_change_is(run, tmp_path, monkeypatch):
    """Next to nothing where it is simulated on the same machine, and more on one with other costs."""
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))
    told, real, slow = (tmp_path / name for name in ("told", "real", "slow"))
    other = "fair:base_slice_us=300"
    for folder, scheduler, costs in (
        (told, "fair", COSTS),
        (real, other, COSTS),
        (slow, other, {**COSTS, "context_switch_ns": 200_000}),
    ):
        simulate(LOAD, scheduler, cpus=2, costs=costs, duration_s=0.5, trace=folder)
    metric = ("--scheduler", other, "--metric", "nr_switches")

    def error(*options):
        [found] = json.loads(run(told, *metric, "--json", *options)[1])["answers"]
        return found["cross_error"]

    assert error() is None
    assert "is not measured: --real TRACE" in " ".join(run(told, *metric)[1].split())
    same = error("--real", real)
    assert abs(same) < 0.1
    assert f"nr_switches {same:+.1%} (1)." in run(told, *metric)[1]
    assert abs(error("--real", slow) - same) > 0.02
    assert "(2)" in run(told, *metric)[1]
    assert "not measured" in run(told, "--scheduler", "fifo", "--metric", "nr_switches")[1]


def test_an_answer_that_depends_on_the_loop_is_refused(run, tmp_path):
    over = {"tasks": {"a": {"instance": 3, "run": 3000, "sleep": 2000}}}
    simulate(over, "las", cpus=1, duration_s=0.3, trace=tmp_path / "told")
    # Open, tasks catch up, and then sleep; closed, they never do.
    words = ("--scheduler", "fifo", "--metric", "sleeping_ns", "--metric", "nr_switches")
    code, out, told = run(tmp_path / "told", *words)
    assert code == 1
    assert "no answer for sleeping_ns: it changes to the other side" in told
    assert next(line for line in out.splitlines() if line.startswith("sleeping")).count("no answer") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("--scheduler", "none"),
        ("--scheduler", "fifo", "--metric", "none"),
        ("--scheduler", "fifo", "--cpus", "0"),
        ("--scheduler", "fifo", "--loop", "shut"),
    ],
)
def test_wrong_options(run, tmp_path, words):
    simulate(LOAD, "fifo", cpus=1, duration_s=0.02, trace=tmp_path / "told")
    code, out, _ = run(tmp_path / "told", *words)
    assert (code, out) == (2, "")
