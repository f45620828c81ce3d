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


@pytest.mark.parametrize("in_background", [False, True])
def test_what_ends_a_command_does_so_where_python_drops_errors(in_background):
    number = "SIGTERM" if in_background else "SIGINT"  # which shells have jobs in the background ignore
    dropped = (
        "import signal, sys, time, schedtuna.cli.main\n"
        "from schedtuna.cli.common import termination_interrupts\n"
        "class Dropped:\n"
        f"    def __del__(self): signal.raise_signal(signal.{number})\n"
        "def command(argv):\n"
        "    with termination_interrupts():\n"
        "        Dropped()\n"
        "        time.sleep(30)\n"
        "schedtuna.cli.main._run = command\n"
        "from schedtuna.__main__ import run\n"
        f"if {in_background}: signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", dropped], capture_output=True, text=True, timeout=25, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
