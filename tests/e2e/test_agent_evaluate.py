"""A policy that draws, run by the agent as a user types it; what it logged, judged by another command."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.commands import run_schedtuna

POLICY = '''
import random

from schedtuna.agent.contract import Need
from schedtuna.agent.decisions.rows import DecisionRow, OutcomeRow


class Coin:
    """Draws each interval; "short" costs 1, "long" costs 2, whatever the machine does."""

    name = "coin"
    needs = frozenset({Need.TASKS})

    def __init__(self):
        self._random, self._rows, self._last = random.Random(1), [], None

    def decide(self, sensed, standing):
        if self._last is not None:
            id_, arm = self._last
            self._rows.append(OutcomeRow(id_, sensed.end_ns, 1.0 if arm == "short" else 2.0))
        arm = self._random.choices(("short", "long"), (0.25, 0.75))[0]
        self._last = str(sensed.number), arm
        self._rows.append(
            DecisionRow(
                str(sensed.number), sensed.end_ns, self.name, "1", ("short", "long"), (0.25, 0.75), arm,
                {"nr_threads": float(len(sensed.tasks))}, kernel_action="long",
            )
        )
        return []

    def take_rows(self):
        taken, self._rows = self._rows, []
        return taken


class Mine:
    """Half and half, but never anything else."""

    name = "half"

    def probabilities(self, row):
        return [1 / len(row.arms)] * len(row.arms)
'''


@pytest.fixture
def state(tmp_path):
    (tmp_path / "mine_of_test.py").write_text(POLICY)
    return {
        **os.environ,
        "SCHEDTUNA_STATE_DIR": str(tmp_path / "state"),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
    }


def schedtuna(state, *argv, code=0):
    done = run_schedtuna(*map(str, argv), env=state)
    assert done.returncode == code, done.stderr
    return done


def until_drawn(state, argv, folder, count):
    """Run until so many decisions are logged, on a busy machine for longer; returns what was said."""
    command = [sys.executable, "-m", "schedtuna", *argv]
    running = subprocess.Popen(command, env=state, stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + 300
    while sum(path.read_bytes().count(b'"decision"') for path in folder.rglob("decisions.jsonl")) < count:
        assert running.poll() is None and time.monotonic() < end
        time.sleep(0.2)
    running.send_signal(signal.SIGTERM)
    return running.communicate(timeout=60)[0]


def test_what_an_agent_drew_tells_what_others_would_have_brought(state, tmp_path):
    run = ("agent", "run", "--policy", "mine_of_test:Coin", "--interval", "0.1", "--no-guard")
    said = until_drawn(state, run, tmp_path, 70)
    assert "among arms" in said and "MB/h" in said
    found = json.loads(schedtuna(state, "agent", "evaluate", "--json").stdout)
    by = {one["policy"]: one for one in found["judged"]}
    assert found["nr_drawn"] > 30 and found["logged_by"] == "coin"
    assert by["always:long"]["loss"]["value"] == pytest.approx(2, abs=0.05)
    told = schedtuna(state, "agent", "evaluate", "--policy", "mine_of_test:Mine").stdout
    assert "half" in told and "decisions drawn by coin" in told
    lines = schedtuna(state, "agent", "log", "--decisions", "--last", "2").stdout
    assert "coin chose" in lines
    table = tmp_path / "table"
    assert "decisions" in schedtuna(state, "agent", "log", "--out", table).stdout
    again = json.loads(schedtuna(state, "agent", "evaluate", table, "--json").stdout)
    assert again["judged"] == found["judged"]


def test_what_can_not_be_said_is_an_error(state, tmp_path):
    done = schedtuna(state, "agent", "evaluate", code=1)
    assert "no decision among arms is logged" in done.stderr
    done = schedtuna(state, "agent", "evaluate", tmp_path / "none", code=2)
    assert "no such file" in done.stderr
