"""Commands that can't be measured: each ends in a clear error and its exit code, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.commands import run_schedtuna


@pytest.fixture
def measure(tmp_path):
    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}
        command = ["variability", "-n", "1", "--results", tmp_path, *argv]
        return run_schedtuna(*command, env=environment, timeout=60)

    return run


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["--", "no-such-command"], 1, "command not found: no-such-command"),
        (["--", "/etc/passwd"], 1, "not executable: /etc/passwd"),
        (["--", "false"], 1, "exited with code 1"),
        (["--timeout", "300ms", "--", "sleep", "60"], 1, "its timeout, and was ended"),
        (["-m", "x:min=regex:x (.+)", "--", "true"], 1, "the command printed nothing"),
        (["-m", "x:min=regex:x (.+)", "--", "echo", "x", "nan"], 1, "x is nan: expected a finite number"),
        (["-m", "wall_time_s:min=regex:(.+)", "--", "echo", "-5"], 1, "a time can't be negative"),
        (["-m", "wall_time:min", "--", "echo", "hello"], 2, "did you mean wall_time_s"),
        (["-m", "score", "--", "true"], 2, "is less or more of score better?"),
        (["-m", "score:up", "--", "true"], 2, "expected min or max"),
        (["--parser", "strss-ng", "--", "true"], 2, "did you mean stress-ng?"),
        (["--user", "no-such-user", "--", "true"], 2, "unknown user: no-such-user"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_error_says_what_is_wrong(measure, argv, code, message):
    done = measure(*argv)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == code


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition) -> bool:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


DAEMON = (
    "(setsid sh -c 'trap \"\" TERM HUP INT; echo $$ > {0}.new; mv {0}.new {0}; while :; do sleep 1; done' &)"
)


def test_a_hanging_command_is_ended_with_the_daemons_it_started(measure, tmp_path):
    pid_file = tmp_path / "pid"
    done = measure("--timeout", "2s", "--shell", "--", f"{DAEMON.format(pid_file)}; sleep 60")
    assert "its timeout" in done.stderr
    assert not alive(int(pid_file.read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_daemons_of_the_command_die_with_schedtuna(tmp_path, number):
    pid_file = tmp_path / "pid"
    script = f"{DAEMON.format(pid_file)}; sleep 60"
    command = [
        sys.executable,
        "-m",
        "schedtuna",
        "variability",
        "--results",
        str(tmp_path),
        "--shell",
        "--",
        script,
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert wait_until(pid_file.exists)
    process.send_signal(number)
    assert process.wait(60) != 0
    assert wait_until(lambda: not alive(int(pid_file.read_text())))
