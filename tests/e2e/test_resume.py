"""`schedtuna tune --resume`: what a study remembers, what may be changed, and what is refused."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.commands import run_schedtuna

NR_BEFORE = 7  # runs of a study that was cut: three of the default, four of the search


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def tune(place):
    def run(*arguments):
        return run_schedtuna(
            "tune",
            *arguments,
            cwd=place,
            env={**os.environ, "SCHEDTUNA_STATE_DIR": str(place / "state")},
            timeout=240,
        )

    return run


@pytest.fixture(scope="module")
def service():
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def finished(tune, place, service):
    """The command line of a study that has ended, and its folder."""
    line = ("--pid", service.pid, "--sampler", "random", "--episodes", 6, "--json", "--", "true")
    done = tune(*line)
    assert done.returncode == 0, done.stderr
    return line, place / json.loads(done.stdout)["study"]


@pytest.fixture
def study(finished, tmp_path):
    return Path(shutil.copytree(finished[1], tmp_path / "study"))


@pytest.fixture
def cut(study):
    """A study that was interrupted during its search."""
    log = study / "trials.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[: 1 + NR_BEFORE]))
    for path in study.iterdir():
        if path.name not in ("trials.jsonl", "study.json", "manifest.json"):
            path.unlink()
    return study


def nr_runs(study):
    return len((study / "trials.jsonl").read_text().splitlines()) - 1


def test_the_folder_alone_says_what_was_tuned(tune, cut, service):
    done = tune("--resume", cut, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"]["search"] == 3 + 6
    report = (cut / "report.html").read_text()
    assert f"schedtuna compare --pid {service.pid}" in report


def test_a_longer_search_may_be_asked_for_until_the_confirmation_begins(tune, cut):
    done = tune("--resume", cut, "--episodes", 9, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["runs"]["search"] == 3 + 9
    late = tune("--resume", cut, "--budget", 200)
    assert late.returncode == 1
    assert "has begun to confirm" in late.stderr
    assert "budget was 100, is 200" in late.stderr
    assert nr_runs(cut) == result["trials"]


def test_what_a_study_was_started_with_is_kept_or_refused_by_name(tune, cut, service):
    given = {"--sampler": "gp", "--metric": "cpu_time_s:min", "--seed": "3", "--pid": service.pid}
    for option, value in given.items():
        done = tune("--resume", cut, option, value)
        assert done.returncode == 2
        assert f"{option} can't be changed" in done.stderr
    few = tune("--resume", cut, "--episodes", 2)
    assert few.returncode == 2
    assert f"has {NR_BEFORE} runs already" in few.stderr
    assert nr_runs(cut) == NR_BEFORE


def test_the_whole_command_line_continues_it_too(tune, cut, finished):
    line = [part for part in finished[0] if part not in ("--episodes", 6)]
    done = tune("--resume", cut, *line)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"]["search"] == 3 + 6


def test_a_process_of_the_same_number_is_another_one(tune, cut, service):
    plan = json.loads((cut / "study.json").read_text())
    assert plan["place"]["pid"] == service.pid
    plan["place"]["pid_is"] = "an-earlier-boot 5"
    (cut / "study.json").write_text(json.dumps(plan))
    done = tune("--resume", cut)
    assert done.returncode == 1
    assert f"process {service.pid}, which is tuned, has ended" in done.stderr


def test_a_plan_of_before_places_were_kept_means_a_command(tune, cut):
    plan = json.loads((cut / "study.json").read_text())
    del plan["place"]
    (cut / "study.json").write_text(json.dumps(plan))
    done = tune("--resume", cut)
    assert done.returncode == 1
    assert "target" in done.stderr  # and this one tuned a process: the whole command line is needed


def test_a_verdict_that_can_not_be_written_is_said_all_the_same(tune, study):
    before = nr_runs(study)
    (study / "report.html").unlink()
    (study / "report.html").mkdir()
    done = tune("--resume", study, "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["verdict"] in ("improved", "no_evidence", "worse", "too_noisy")
    assert answer["report"] is None
    assert f"can't write {study / 'report.html'}" in done.stderr
    assert f"schedtuna tune --resume {study}" in done.stderr
    assert "Traceback" not in done.stderr
    (study / "report.html").rmdir()
    again = tune("--resume", study)
    assert again.returncode == 0, again.stderr
    assert (study / "report.html").is_file()
    assert nr_runs(study) == before
