"""`schedtuna variability` as a user types it."""

import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.commands import run_schedtuna

from schedtuna.cli.main import main
from schedtuna.machine.topology import read_topology

ROLL = (
    "import os, random; random.seed(int(os.environ['SCHEDTUNA_SEED'])); print('score', random.gauss(100, 5))"
)
SCORE = ["--metric", "score:max=regex:score ([0-9.]+)"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_schedtuna(
        "variability",
        *arguments,
        cwd=folder,
        env={**os.environ, "SCHEDTUNA_STATE_DIR": str(folder / "state")},
        timeout=120,
    )


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_table_csv_and_plot_agree_with_the_runs(tmp_path):
    command = ["--", sys.executable, "-c", ROLL]
    done = run(
        tmp_path, "-n", "8", "--seed", "3", *SCORE, "--csv", "t.csv", "--plot", "t.png", "--json", *command
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["runs"] == {"ok": 8, "failed": 0}
    runs = read_csv(tmp_path / found["files"]["runs"])
    scores = [float(row["score"]) for row in runs]
    assert len(set(scores)) == 8  # every run had a seed of its own
    score = found["metrics"]["score"]
    assert score["mean"] == pytest.approx(statistics.mean(scores))
    assert score["sd"] == pytest.approx(statistics.stdev(scores))
    assert score["per_core_mean"] == pytest.approx(statistics.mean(scores) / len(read_topology().online))
    rows = {row["metric"]: row for row in read_csv(tmp_path / "t.csv")}
    assert float(rows["score"]["median"]) == pytest.approx(statistics.median(scores))
    assert {"wall_time_s", "cpu_time_s", "steal_fraction"} <= rows.keys()
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_a_seed_repeats_the_runs_and_another_machine_stands_beside(tmp_path):
    command = ["--", sys.executable, "-c", ROLL]
    first = run(tmp_path, "-n", "5", "--seed", "3", "--results", "one", *SCORE, *command)
    (other,) = (tmp_path / "one").glob("*/runs.csv")
    second = run(tmp_path, "-n", "5", "--seed", "3", *SCORE, "--against", str(other), *command)
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    rows = [line.split() for line in second.stdout.splitlines() if line.startswith("score ")]
    assert rows[1][3] == "1"  # here/there: the same seeds gave the same scores
    assert "Descriptive only" in second.stdout
    assert "Descriptive" not in first.stdout


def test_failed_runs_are_counted_and_left_out(tmp_path):
    fails_every_other = "import os, sys; n = int(os.environ['SCHEDTUNA_SEED']); sys.exit(n % 2)"
    done = run(tmp_path, "-n", "8", "--seed", "0", "--json", "--", sys.executable, "-c", fails_every_other)
    found = json.loads(done.stdout)
    assert found["runs"] == {"ok": 5, "failed": 3}  # the seeds that 0 gives
    assert found["metrics"]["wall_time_s"]["runs"] == 5


def test_ctrl_c_describes_what_there_is_and_resume_goes_on(tmp_path):
    held = "echo run >> held; test $(wc -l < held) -le 4 || test -e released || sleep 60"
    arguments = ["-n", "12", "--", "sh", "-c", held]  # the fifth run waits
    process = subprocess.Popen(
        [sys.executable, "-m", "schedtuna", "variability", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    logs: list[Path] = []
    deadline = time.monotonic() + 60
    while not logs or logs[0].read_bytes().count(b"\n") < 5:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
        logs = list(tmp_path.glob("results/*/trials.jsonl"))
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "wall_time_s" in stdout
    assert "--resume" in stderr
    (tmp_path / "released").touch()
    done = run(tmp_path, "--resume", str(logs[0].parent), *arguments)
    assert done.returncode == 0, done.stderr
    assert [row["run"] for row in read_csv(logs[0].parent / "runs.csv")] == [str(n) for n in range(1, 13)]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-n", "0", "--", "true"], 2, "--runs: expected 1 or more"),
        ([], 2, "COMMAND"),
        (["--against", "other.csv", "--", "true"], 2, "not a table of a variability study"),
        (["--against", "missing.csv", "--", "true"], 2, "No such file"),
        (["--against", "/dev/zero", "--", "true"], 2, "expected a file of at most 64 MiB"),
        (["--", "no-such-tool"], 1, "command not found"),
        (["--plot", "spread.bmp", "--", "false"], 2, "--plot spread.bmp: expected .png, .svg, .pdf"),
        (["--plot", "missing/spread.png", "--", "false"], 2, "there is no folder missing"),
        (["--csv", "missing/table.csv", "--", "false"], 2, "there is no folder missing"),
        (["--csv", ".", "--", "false"], 2, "is a folder"),
        (["--scheduler", "fare", "--", "true"], 2, "did you mean fair"),
        (["--", "sh", "-c", "echo bye; exit 3"], 1, "last lines of output:\n  bye"),
        (["--metric", "score:max", "--", "true"], 1, "there is no metric score"),
        (["--metric", "score:max", "--", "true"], 1, "say where it is printed"),
    ],
)
def test_bad_input_is_a_clear_error(tmp_path, monkeypatch, capsys, arguments, code, message):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["variability", *arguments])
    assert ended.value.code == code
    assert message in capsys.readouterr().err
