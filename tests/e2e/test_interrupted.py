"""Ctrl-C, whenever it comes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

POINTS = Path(__file__).parents[1] / "interrupt_points.py"


@pytest.mark.parametrize("argument", ["--version", "nope"], ids=["done", "an error"])
def test_ctrl_c_before_and_after_a_command_ends_it_with_its_code(argument, tmp_path):
    results = tmp_path / "results"
    subprocess.run([sys.executable, POINTS, results, argument], check=True)
    points = json.loads(results.read_text())
    assert len(points) > 60
    for code, printed in points:
        assert code == 130, printed
        assert "Traceback" not in printed
        assert "gnored" not in printed


def test_ctrl_c_where_python_drops_errors_ends_the_command_all_the_same():
    dropped = (
        "import signal, sys, time, schedtuna.cli.main\n"
        "class Dropped:\n"
        "    def __del__(self): signal.raise_signal(signal.SIGINT)\n"
        "def command(argv):\n"
        "    Dropped()\n"
        "    time.sleep(30)\n"
        "schedtuna.cli.main._run = command\n"
        "from schedtuna.__main__ import run\n"
        "run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", dropped], capture_output=True, text=True, timeout=25, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
