import os
import signal
import sys
import time
from pathlib import Path

import pytest

from schedtuna.errors import UsageError
from schedtuna.record.command import run_foreground


def rest(seconds):
    time.sleep(seconds)
    return False


def script(text):
    return [sys.executable, "-c", text]


def test_the_commands_exit_code_is_returned():
    assert run_foreground(["true"], rest) == 0
    assert run_foreground(script("raise SystemExit(7)"), rest) == 7
    assert run_foreground(["sh", "-c", "kill -KILL $$"], rest) == 128 + signal.SIGKILL


def test_a_command_that_does_not_exist_is_a_usage_error():
    with pytest.raises(UsageError, match="nonexistent"):
        run_foreground(["/nonexistent/command"], rest)


def test_a_failed_recording_ends_the_command():
    assert run_foreground(["sleep", "600"], lambda _seconds: True) == 128 + signal.SIGTERM


def test_the_time_limit_ends_the_command():
    assert run_foreground(["sleep", "600"], rest, timeout_s=0.2) == 128 + signal.SIGTERM


def test_what_the_command_started_is_ended_with_it(tmp_path):
    note = tmp_path / "pid"
    argv = ["sh", "-c", f"sleep 600 & echo $! > {note}; wait"]
    run_foreground(argv, lambda seconds: rest(seconds) or bool(note.exists() and note.read_text()))
    folder = Path("/proc", note.read_text().strip())
    end_s = time.monotonic() + 60
    while folder.exists() and time.monotonic() < end_s:
        time.sleep(0.02)  # until init has reaped it
    assert not folder.exists()


def test_ctrl_c_waits_for_the_command_to_end():
    """As in a terminal, where the command gets the signal, too."""
    before = signal.getsignal(signal.SIGINT)
    signals = iter([signal.SIGINT])

    def interrupted_rest(seconds):
        for number in signals:  # once, when the command runs
            os.kill(os.getpid(), number)
        return rest(seconds)

    assert run_foreground(["sh", "-c", "sleep 0.6; exit 5"], interrupted_rest) == 5
    assert signal.getsignal(signal.SIGINT) is before
