"""The processes that stand for commands in tests do what commands do."""

import os
import subprocess
import sys

import pytest
from tests.commands import run_schedtuna


@pytest.mark.parametrize("arguments", [["--version"], ["nope"], ["suite", "list"], ["stats", "none\udcff"]])
def test_a_forked_command_does_what_one_of_its_own_does(arguments, tmp_path):
    environment = {**os.environ, "COLUMNS": "90"}
    alone = subprocess.run(
        [sys.executable, "-m", "schedtuna", *arguments],
        env=environment,
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
    )
    forked = run_schedtuna(*arguments, env=environment, cwd=tmp_path)
    assert (forked.returncode, forked.stdout, forked.stderr) == (alone.returncode, alone.stdout, alone.stderr)


def test_what_python_reads_when_it_starts_is_obeyed(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('customized')")
    done = run_schedtuna("--version", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.stdout.startswith("customized\n")


def test_what_a_test_changes_of_its_own_environment_is_obeyed(tmp_path, monkeypatch):
    assert run_schedtuna("--version").returncode == 0
    (tmp_path / "sitecustomize.py").write_text("print('customized')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_schedtuna("--version").stdout.startswith("customized\n")


def test_a_command_that_takes_too_long_is_ended():
    with pytest.raises(subprocess.TimeoutExpired):
        run_schedtuna("variability", "--results", "/dev/null/none", timeout=0)
    assert run_schedtuna("--version").returncode == 0
