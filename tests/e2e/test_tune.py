"""`schedtuna tune` as a user types it, on commands whose best setting is known."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.commands import run_schedtuna

# What it prints depends on the policy and slack that it runs under: 20% less under batch.
LIKES_BATCH = """
import os, random
rng = random.Random(int(os.environ["SCHEDTUNA_SEED"]))
gain = 0.8 if os.sched_getscheduler(0) == os.SCHED_BATCH else 1.0
print("cost", 100 * gain * rng.lognormvariate(0, 0.02))
"""
LIKES_NOTHING = LIKES_BATCH.replace("0.8 if", "1.0 if")
METRIC = "cost:min=regex:cost ([0-9.]+)"
# From the seventh run on: until it is released.
WAITS = """
import pathlib, time
with open("{folder}/held", "a+") as held:
    held.write("run\\n")
    held.seek(0)
    nr_runs = len(held.readlines())
while nr_runs > 6 and not pathlib.Path("{folder}/released").exists():
    time.sleep(0.05)
"""


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}


@pytest.fixture
def tune(tmp_path, environment):
    def run(*options, program=LIKES_BATCH, metric=METRIC, command=None):
        arguments = ["tune", "--results", tmp_path / "results"]
        arguments += ["--metric", metric] if metric else []
        arguments += [*options, "--", *(command or [sys.executable, "-I", "-c", program])]
        return run_schedtuna(*arguments, env=environment, timeout=240)

    return run


def folder(tmp_path):
    (found,) = (tmp_path / "results").iterdir()
    return found


def trials(study):
    return [json.loads(line) for line in (study / "trials.jsonl").read_text().splitlines()[1:]]


def test_a_gain_is_found_proven_and_written_down(tune, tmp_path):
    done = tune("--budget", 60, "--seed", 3, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["verdict"] == "improved"
    assert result["best"]["policy"] == "batch"
    low, high = result["effect"]["ci95"]
    assert low - 0.005 < 0.8 < high + 0.005  # runs of one seed are equal: there is hardly an interval
    assert result["runs"]["search"] + result["runs"]["confirmation"] == result["trials"] <= 60
    study = Path(result["study"])
    assert study.name.startswith("fair_gp_")
    names = {path.name for path in study.iterdir()}
    assert names >= {
        "best_parameters.json",
        "episode_results.json",
        "episode_results.csv",
        "baseline_results.json",
        "performance_plots.png",
        "manifest.json",
        "report.html",
        "study.json",
        "trials.jsonl",
    }
    assert len(trials(study)) == result["trials"]
    report = (study / "report.html").read_text()
    assert "improved: " in report
    assert "schedtuna apply" in report


def test_no_gain_is_said_plainly_and_nothing_is_to_be_applied(tune, tmp_path):
    done = tune("--budget", 40, "--seed", 1, "--json", program=LIKES_NOTHING)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["verdict"] in ("no_evidence", "too_noisy", "worse")
    assert result["best"] is None
    best = json.loads((folder(tmp_path) / "best_parameters.json").read_text())
    assert best["parameters"] == {}
    assert "nothing to apply" in (folder(tmp_path) / "report.html").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill -9"])
def test_an_interrupted_study_is_resumed_without_losing_or_repeating_a_trial(
    number, tmp_path, environment, tune
):
    arguments = [sys.executable, "-m", "schedtuna", "tune", "--results", str(tmp_path / "results")]
    arguments += ["--metric", METRIC, "--budget", "40", "--seed", "5"]
    arguments += ["--", sys.executable, "-I", "-c", LIKES_BATCH + WAITS.format(folder=str(tmp_path))]
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = list((tmp_path / "results").glob("*/trials.jsonl"))
        if found and found[0].read_text().count("\n") > 6:  # the seventh run waits
            break
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (130 if number is signal.SIGINT else -9)
    study = folder(tmp_path)
    before = trials(study)
    (tmp_path / "released").touch()
    resumed = run_schedtuna("tune", "--resume", str(study), "--json", env=environment, timeout=240)
    assert resumed.returncode == 0, resumed.stderr
    after = trials(study)
    assert after[: len(before)] == before
    keys = [(trial["phase"], trial["index"]) for trial in after]
    assert len(set(keys)) == len(keys) == json.loads(resumed.stdout.splitlines()[-1])["trials"]


def test_a_resume_of_another_command_is_refused(tune, tmp_path):
    tune("--budget", 20, "--seed", 1)
    done = tune("--resume", folder(tmp_path), "--budget", 20, program=LIKES_NOTHING)
    assert done.returncode == 1
    assert "workload" in done.stderr


def test_a_requirement_that_is_missed_blocks_the_claim(tune):
    done = tune("--budget", 60, "--seed", 3, "--json", "--require", "cost<=10")
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["verdict"] != "improved"
    assert result["best"] is None


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--scheduler", "fare"], 2, "fair"),
        (["--scheduler", "scx_rusty"], 3, "--scheduler fair"),
        (["--sampler", "gpp"], 2, "did you mean gp"),
        (["--budget", "0"], 2, "expected 1 or more"),
        (["--budget", "9"], 2, "larger --budget"),
        (["--time", "soon"], 2, "duration"),
        (["--delta", "3"], 2, "between 0 and 1"),
        (["--include", "warp"], 2, "warp"),
        (["--resume", "no/such/study"], 1, "no/such/study"),
        (["--metric", "cost"], 2, "cost"),
        (["--require", "cost>"], 2, "cost>"),
    ],
)
def test_bad_options_are_explained(tune, options, code, words):
    done = tune(*options)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["no-such-command"], 1, "no-such-command"),
        ([sys.executable, "-c", "print('oh no'); exit(3)"], 1, "oh no"),
        ([sys.executable, "-c", ""], 1, "cost"),
        ([sys.executable, "-c", "print('cost nan')"], 1, "cost"),
    ],
)
def test_bad_commands_are_explained(tune, tmp_path, command, code, words):
    done = tune("--budget", 20, command=command)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
