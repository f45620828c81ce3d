"""`tools/long.sh`, with steps of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARK = "import json, sys\ndef main(): print(json.dumps([{name!r}, *sys.argv[1:]]))\n{body}\nmain()\n"


@pytest.fixture
def clone(tmp_path):
    """A folder with the script, tests that fail, and three benchmarks, of which the second fails."""
    for folder in ("tools", ".venv/bin", "benchmarks"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "tools/long.sh", tmp_path / "tools")
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    (tmp_path / ".venv/bin/pytest").write_text('#!/bin/sh\necho "pytest $*"; exit 1\n')
    shutil.copy(tmp_path / ".venv/bin/pytest", tmp_path / "tools/ray.sh")
    for path in (".venv/bin/pytest", "tools/ray.sh"):
        (tmp_path / path).chmod(0o755)
    for name, body in (("a", ""), ("b", "sys.exit(3)"), ("c", "")):
        (tmp_path / f"benchmarks/{name}.py").write_text(BENCHMARK.format(name=name, body=body))
    (tmp_path / "benchmarks/shared.py").write_text("print('is imported by others')\n")
    return tmp_path


def run(clone, *arguments):
    command = [clone / "tools/long.sh", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_step_that_fails_keeps_none_from_running_and_is_told_in_the_end(clone):
    done = run(clone)
    assert done.returncode == 1
    *tests, first, last = done.stdout.splitlines()
    assert len(tests) == 4
    assert all(line.startswith("pytest") for line in tests)
    assert [json.loads(line) for line in (first, last)] == [["a"], ["c"]]
    assert "# 6 of 7, " in done.stderr
    told = done.stderr.rpartition("\n\n")[2].splitlines()
    codes = [int(line.partition("exit code ")[2].split()[0]) for line in told[:-1]]
    assert codes == [1, 1, 1, 1, 0, 3, 0]
    assert told[-1] == "7 of 7 steps ended, 5 of them in failure"


def test_quick_is_the_benchmarks_alone(clone):
    (clone / "benchmarks/b.py").unlink()
    done = run(clone, "--quick")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [["a", "--quick"], ["c", "--quick"]]


def test_what_is_interrupted_tells_how_far_it_came(clone):
    (clone / "benchmarks/b.py").write_text(
        "def main(): ...\nimport time\nprint(flush=True)\ntime.sleep(60)\n"
    )
    running = subprocess.Popen(
        [clone / "tools/long.sh", "--quick"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert json.loads(running.stdout.readline()) == ["a", "--quick"]
    assert running.stdout.readline() == "\n"
    # As a terminal does: to all of them.
    os.killpg(running.pid, signal.SIGINT)
    _, told = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "1 of 3 steps ended, 0 of them in failure" in told
