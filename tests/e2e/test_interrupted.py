"""Ctrl-C, whenever it comes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import datasets
from tests.commands import run_schedtuna

from schedtuna.learn.dataset_form import write_dataset

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


@dataclass(frozen=True)
class Lasting:
    """A command that lasts until somebody ends it, or long enough to be ended.

    Attributes:
        argv: Of it, in a folder with what `prepare` has laid there.
        has_begun: Whether its work has, told by its process, and what it has printed on both streams.
        codes: It ends with, by SIGINT and by SIGTERM: 0 where that is the way to end it.
        prepare: Lays what it needs into that folder.
        asked: What it is given on stdin.
    """

    argv: str
    has_begun: Callable[[int, str], bool]
    codes: tuple[int, int] = (130, 130)
    prepare: Callable[[Path], None] = lambda folder: None
    asked: str = ""


def has_loaded(library):
    return lambda pid, _printed: library in Path(f"/proc/{pid}/maps").read_text()


def has_printed(text):
    return lambda _pid, printed: text in printed


def has_child_of(name):
    def has(pid, _printed):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return name in [Path(f"/proc/{child}/comm").read_text().strip() for child in children]

    return has


def lay_dataset(folder):
    pytest.importorskip("lightgbm")
    write_dataset(folder / "rows", datasets.make(nr_rows=2000))


def lay_trace(folder):
    pytest.importorskip("polars")
    done = run_schedtuna(
        *("sim", "run", "interactive:load=0.9", "--cpus", "4", "--for", "150s", "-o", "trace"), cwd=folder
    )
    assert done.returncode == 0, done.stderr


REQUEST = {
    "values": {"nr_idle_cpus": 2, "nr_busy_cpus": 6, "src_load_permille": 900, "dst_load_permille": 200}
}
LASTING = {
    "model serve": Lasting(
        "model serve --model-path migration", has_printed('"decision"'), asked=json.dumps(REQUEST) + "\n"
    ),
    "model serve --socket": Lasting(
        "model serve --model-path migration --socket here", has_printed("answers at")
    ),
    "serve": Lasting("serve --bind 127.0.0.1:0 --state server --json", has_printed('"url"'), codes=(0, 0)),
    "agent run": Lasting("agent run --advise --interval 0.2", has_printed("agent:"), codes=(0, 0)),
    "agent page": Lasting("agent page --listen 127.0.0.1:0", has_printed("#token=")),
    "agent hold": Lasting("agent hold nice=5 -- sleep 600", has_child_of("sleep"), codes=(130, 143)),
    "train": Lasting(
        "train rows --model all --budget 100 -o out", has_loaded("lib_lightgbm"), prepare=lay_dataset
    ),
    "dataset build": Lasting(
        "dataset build trace --task burst -o out", has_loaded("_polars_runtime"), prepare=lay_trace
    ),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", LASTING)
def test_a_command_that_lasts_ends_with_its_code_and_leaves_nothing_half_done(name, number, tmp_path):
    row = LASTING[name]
    row.prepare(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    environment = {**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}
    printed = tmp_path / "printed"
    with printed.open("w") as streams:
        process = subprocess.Popen(
            [sys.executable, "-m", "schedtuna", *row.argv.split()],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=streams,
            stderr=streams,
            start_new_session=True,
            text=True,
        )
    try:
        process.stdin.write(row.asked)
        process.stdin.flush()
        deadline = time.monotonic() + 120
        while not row.has_begun(process.pid, printed.read_text()):
            assert process.poll() is None, printed.read_text()
            assert time.monotonic() < deadline, "it does not begin"
            time.sleep(0.05)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        code = process.wait(60)
    finally:
        process.kill()
        process.stdin.close()
        process.wait()
    told = printed.read_text()
    assert code == row.codes[number == signal.SIGTERM], told
    assert "Traceback" not in told
    left = {path.name for path in tmp_path.iterdir()} - before - {"printed", "state", "server"}
    assert left <= {"out"} and not list(tmp_path.glob("out/*")), "a folder is made before all the work"
    done = run_schedtuna("undo", "--dry-run", "--json", env=environment)
    assert json.loads(done.stdout)["changes"] == []
