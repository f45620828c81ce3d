"""The commands on what earlier versions wrote: see `tests/data/old`."""

import json
import os
import shutil
from pathlib import Path

import pytest
from tests.commands import run_schedtuna
from tests.old_files import EARLIER, LATER, OLD, as_run_here, copied

from schedtuna.experiment.triallog import read_trials
from schedtuna.knobs.task_attributes import autogroup_enabled
from schedtuna.machine.manifest import build_manifest, machine_identity

LOAD = ("hackbench", "-s", "512", "-l", "20")


@pytest.fixture
def run(tmp_path):
    def run(*arguments):
        return run_schedtuna(
            *arguments,
            cwd=tmp_path,
            env={**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")},
            timeout=240,
        )

    return run


@pytest.fixture
def answer(run):
    def answer(*arguments):
        done = run(*arguments)
        if done.returncode == 3:
            pytest.skip(done.stderr)  # a privilege or a kernel's interface is missing
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return answer


@pytest.fixture
def of_this_machine(tmp_path):
    """A copy of a folder, of trials that ran on this machine."""
    hackbench = shutil.which("hackbench")
    if hackbench is None:
        pytest.skip("hackbench is not installed")
    program = os.path.realpath(hackbench)
    digest = build_manifest(LOAD).binary_hashes[program][:16]
    machine = {f"machine.{name}": json.dumps(value) for name, value in machine_identity().items()}

    def copy(name):
        return as_run_here(copied(name, tmp_path), program=f"{program} {digest}", **machine)

    return copy


AGGREGATE = {
    "nr_tasks": 17,
    "cpu_time_ns": 6399324,
    "run_delay_ns": 40627257,
    "schedstat_run_delay_ns": 40612261,
    "nr_wakeups": 28,
    "wakeup_latency_count": 28,
    "preempt_delay_max_ns": 8001492.0,
}
EVENTS = {
    "nr_tasks": 17,
    "cpu_time_ns": 7874304,
    "run_delay_ns": 52194167,
    "nr_switches": 59,
    "nr_wakeups": 30,
    "wakeup_latency_p50_ns": 1312335.0,
    "wakeup_latency_max_ns": 3294111.0,
}
PERF = {"nr_tasks": 22, "cpu_time_ns": 3798000, "nr_switches": 32, "wakeup_latency_p50_ns": 322000.0}


@pytest.mark.parametrize(
    ("trace", "figures"),
    [
        (f"{EARLIER}/traces/aggregate", AGGREGATE),
        (f"{EARLIER}/traces/perf", PERF),
        (f"{LATER}/traces/aggregate", {"nr_tasks": 17, "cpu_time_ns": 8515612, "run_delay_ns": 219252773}),
        (f"{LATER}/traces/events", EVENTS),
        (f"{LATER}/traces/perf", {"nr_tasks": 23, "cpu_time_ns": None}),
    ],
)
def test_stats_of_a_trace_are_what_they_were(answer, trace, figures):
    overall = answer("stats", "--json", OLD / trace)["overall"]
    assert {name: overall[name] for name in figures} == figures


def test_a_trace_is_drawn(run, tmp_path):
    done = run("plot", OLD / LATER / "traces/events", "-o", tmp_path / "trace.svg")
    assert done.returncode == 0, done.stderr
    assert "hackbench" in (tmp_path / "trace.svg").read_text()


def test_replay_reads_what_studies_ran(answer):
    found = answer("replay", "--results", OLD / LATER / "studies", "--statistics", "--json")["studies"]
    by_name = {Path(row["study"]).name: row for row in found}
    assert {name: (row["episodes"], row["distinct"], row["verdict"]) for name, row in by_name.items()} == {
        "all": (15, 9, "too_noisy"),
        "gp": (12, 12, "improved"),
        "killed": (7, 7, None),
        "pid": (5, 5, None),
        "ppo": (10, 5, "improved"),
        "random": (12, 7, "improved"),
        "vm": (11, 6, "too_noisy"),
        "warm": (12, 6, "too_noisy"),
    }
    assert by_name["gp"]["reward"]["max"] == pytest.approx(0.7303, abs=1e-4)
    assert by_name["gp"]["default"] == {"time_s": 0.274}


def test_analyze_reads_every_run_of_a_study(answer):
    found = answer("analyze", "--json", OLD / EARLIER / "studies/gp")
    assert (found["nr_runs"], found["nr_settings"]) == (36, 13)
    assert {row["name"] for row in found["parameters"]} >= {"slice_us", "nice", "policy", "autogroup_nice"}


def test_what_a_study_proved_becomes_a_unit(run):
    done = run("apply", "--print-unit", OLD / LATER / "studies/gp", "--", "/usr/bin/sleep", "1")
    if done.returncode == 3:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    lost = "autogroup, slice_us" if autogroup_enabled() else "slice_us"  # it turned autogroup off
    assert f"# systemd has no directive for {lost}\n" in done.stdout
    assert f"apply {OLD / LATER / 'studies/gp'} -- /usr/bin/sleep 1" in done.stdout


@pytest.mark.parametrize(("date", "nice"), [(EARLIER, "2"), (LATER, "-9")])
def test_what_a_study_proved_is_applied(run, date, nice):
    done = run("apply", OLD / date / "studies/gp", "--", "nice")
    if done.returncode == 3:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{nice}\n"


def test_a_tuned_process_of_another_boot_has_ended(run, tmp_path):
    folder = copied(f"{LATER}/studies/pid", tmp_path)
    before = (folder / "trials.jsonl").read_bytes()
    done = run("tune", "--resume", folder)
    assert done.returncode == 1
    assert "process 23909, which is tuned, has ended" in done.stderr
    assert (folder / "trials.jsonl").read_bytes() == before


def test_another_machines_study_is_not_continued(run, tmp_path):
    done = run("tune", "--resume", copied(f"{LATER}/studies/gp", tmp_path))
    assert done.returncode == 1
    assert "holds trials of another" in done.stderr


@pytest.mark.parametrize("date", [EARLIER, LATER])
def test_a_study_that_has_ended_is_resumed_without_a_run(answer, of_this_machine, date):
    folder = of_this_machine(f"{date}/studies/gp")
    said = json.loads((folder / "result.json").read_text())
    found = answer("tune", "--resume", folder, "--json")
    for name in ("verdict", "best", "candidate", "trials", "runs"):
        assert found[name] == said[name]
    assert len(read_trials(folder)[1]) == 36
    assert (folder / "report.html").is_file()
    assert json.loads((folder / "result.json").read_text())["version"] == 1


def test_a_comparison_that_was_killed_is_resumed(run, of_this_machine):
    folder = of_this_machine(f"{LATER}/comparisons/killed")
    before = read_trials(folder)[1]
    arguments = ("--resume", folder, "--budget", 27, "--json", "default", "fair:slice_us=3000", "--", *LOAD)
    done = run("compare", *arguments)
    if done.returncode == 3 or "unknown" in done.stderr:
        pytest.skip(done.stderr)  # this kernel has no slices
    assert done.returncode == 0, done.stderr
    trials = read_trials(folder)[1]
    assert json.loads(done.stdout.splitlines()[-1])["trials"] == len(trials) > len(before) == 12
    assert trials[:12] == before
    assert "was unfinished" in done.stderr
    assert (folder / "trials.torn").is_file()
    assert json.loads((folder / "comparison.json").read_text())["version"] == 1


def test_a_variability_study_that_was_killed_is_resumed(answer, of_this_machine):
    folder = of_this_machine(f"{LATER}/variability/killed")
    before = read_trials(folder)[1]
    against = OLD / EARLIER / "variability/finished/runs.csv"
    found = answer("variability", "--resume", folder, "-n", 6, "--against", against, "--json", "--", *LOAD)
    assert (len(before), found["runs"]) == (3, {"ok": 6, "failed": 0})
    assert read_trials(folder)[1][:3] == before
    assert found["against"]["host"] == "bench1"
    assert found["against"]["metrics"]["time_s"]["runs"] == 6


def test_undo_closes_what_a_boot_ended(answer, tmp_path):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    shutil.copy(OLD / LATER / "journals/nice.jsonl", state / "journal.jsonl")
    changes = answer("undo", "--json")["changes"]
    assert [(change["knob"], change["old"], change["new"], change["result"]) for change in changes] == [
        ("policy", "other", "batch", "other_boot"),
        ("nice", 0, 5, "other_boot"),
        ("timer_slack_us", 50000, 99000, "other_boot"),
    ]
    assert answer("undo", "--json")["changes"] == []
