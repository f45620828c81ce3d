import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.kernel.recording import until

from schedtuna.errors import UsageError
from schedtuna.record.command import run_foreground


def rest(seconds):
    time.sleep(seconds)
    return False


def script(text):
    return [sys.executable, "-c", text]


def test_the_commands_exit_code_is_returned():
    assert run_foreground(["true"], rest).code == 0
    assert run_foreground(script("raise SystemExit(7)"), rest).code == 7
    assert run_foreground(["sh", "-c", "kill -KILL $$"], rest).code == 128 + signal.SIGKILL


def test_a_command_that_does_not_exist_is_a_usage_error():
    with pytest.raises(UsageError, match="nonexistent"):
        run_foreground(["/nonexistent/command"], rest)


def test_a_failed_recording_ends_the_command():
    assert run_foreground(["sleep", "600"], lambda _seconds: True).code == 128 + signal.SIGTERM


def test_the_time_limit_ends_the_command():
    assert run_foreground(["sleep", "600"], rest, timeout_s=0.2).code == 128 + signal.SIGTERM


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

    assert run_foreground(["sh", "-c", "sleep 0.6; exit 5"], interrupted_rest).code == 5
    assert signal.getsignal(signal.SIGINT) is before


def test_time_is_up_when_it_is_up_however_long_each_wait_took():
    """As where the CPUs are busy: what sleeps wakes late."""
    waits = []

    def rest_long(seconds):
        waits.append(seconds)
        return rest(0.3)

    run_foreground(["sleep", "600"], rest_long, timeout_s=0.7)
    assert len(waits) <= 3


def children():
    """Ours, with those that wait to be reaped; other tests may have left some."""
    tasks = Path("/proc/self/task").iterdir()
    return {pid for task in tasks for pid in (task / "children").read_text().split()}


def test_what_the_command_leaves_running_is_told():
    before = children()
    start = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    other = subprocess.Popen(["sleep", "600"])
    ended = run_foreground(["sh", "-c", f'(exit 3 &); {sys.executable} -c "{start}"'], rest)
    other.kill()
    assert ended.code == 0
    assert list(ended.left.values()) == ["sleep"]
    (pid,) = ended.left
    assert pid != other.pid
    os.kill(pid, signal.SIGKILL)
    other.wait()
    until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)
    assert children() <= before  # nothing of it is left to be reaped
