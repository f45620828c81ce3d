"""`schedtuna tune --screen sim`: a model is asked first, and says what it did."""

import json
import sys
from functools import partial

import pytest

from schedtuna.cli.main import main
from schedtuna.tune.screen import screen

# 20% less under batch.
PROGRAM = """
import os, random
rng = random.Random(int(os.environ["SCHEDTUNA_SEED"]))
gain = 0.8 if os.sched_getscheduler(0) == os.SCHED_BATCH else 1.0
print("p99_us", 100 * gain * rng.lognormvariate(0, 0.02))
"""
METRIC = ("--metric", "p99_us:min=regex:p99_us ([0-9.]+)")
COMMAND = ("--", sys.executable, "-I", "-c", PROGRAM)


@pytest.fixture
def tune(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr("schedtuna.tune.screened.screen", partial(screen, most=30))

    def start(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["tune", *map(str, arguments)])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return start


@pytest.fixture
def load(tmp_path):
    file = tmp_path / "load.json"
    tasks = {
        "server": {"instance": 2, "run": 400, "timer": {"ref": "unique", "period": 3000}},
        "hog": {"instance": 4, "run": 50_000},
    }
    file.write_text(json.dumps({"tasks": tasks, "global": {"duration": 1}}))
    return file


def test_the_search_is_told_what_the_model_says_and_a_resume_goes_on_with_it(tune, load, tmp_path):
    asked = ("--screen", "sim", "--load", load, "--exclude", "timer_slack_us", "--budget", 24, "--seed", 1)
    code, _, told = tune(*asked, *METRIC, "--json", *COMMAND)
    assert code == 0, told
    assert "in the model wakeup_latency_p99 stands for p99_us" in told
    assert "settings of " in told
    assert "not certified for this machine: `schedtuna sim fidelity` has not been run" in told
    (folder,) = (tmp_path / "results").iterdir()
    found = json.loads((folder / "study.json").read_text())["screen"]
    assert found["load"] == str(load)
    assert {"slice_us", "policy"} <= set(found["parameters"])
    best = [run["values"] for run in found["runs"][:15]]
    assert found["runs"][0]["cost"] < 0
    trials = [json.loads(line)["trial"] for line in (folder / "trials.jsonl").read_text().splitlines()[1:]]
    assert any(trial["values"] in best for trial in trials)
    assert tune("--resume", folder)[0] == 0
    code, _, told = tune("--resume", folder, "--screen", "sim")
    assert code == 2
    assert "--screen" in told


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--load", "trace"), "add --screen sim"),
        (("--screen", "sim", "--load", "nowhere.json"), "no workload file nowhere.json"),
        (
            (
                "--screen",
                "sim",
                "--load",
                "interactive",
                "--exclude",
                "policy",
                "--exclude",
                "slice_us",
                "--exclude",
                "nice",
            ),
            "knows none of",
        ),
    ],
)
def test_a_model_that_can_not_stand_for_the_command_is_refused(tune, options, reason):
    code, out, told = tune(*options, *METRIC, *COMMAND)
    assert (code, out) == (2, "")
    assert reason in told


def test_a_model_is_not_asked_about_a_model(tune):
    code, _, told = tune("--backend", "sim", "--workload", "interactive", "--screen", "sim")
    assert code == 2
    assert "about this machine" in told
