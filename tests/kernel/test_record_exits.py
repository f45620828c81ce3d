"""Does the accounting of exited tasks say what their parent was told of them? Judged by wait4(2)."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from schedtuna.errors import UnavailableError
from schedtuna.kernel.taskstats import ExitAccounting
from schedtuna.record.exits import ExitSampler

TICK_S = 0.01  # the longest there is

SCRIPT = """
import time
from pathlib import Path
for _ in range(40): time.sleep(0.001)
end = time.process_time() + 0.3
while time.process_time() < end: pass
raise SystemExit(7)
"""


@pytest.fixture
def sampler(root):
    try:
        started = ExitSampler()
    except UnavailableError as error:
        pytest.skip(str(error))
    yield started
    started.close()


def rows_of(sampler, pid):
    rows = []
    deadline = time.monotonic() + 60
    while not any(row["tid"] == pid for row in rows) and time.monotonic() < deadline:
        rows += sampler.rows()
        time.sleep(0.01)
    return [row for row in rows if row["tgid"] in (pid, None)]


def test_a_process_used_what_its_parent_is_told(sampler):
    pid = os.posix_spawn(sys.executable, [sys.executable, "-I", "-c", SCRIPT], dict(os.environ))
    _, status, usage = os.wait4(pid, 0)
    [row] = rows_of(sampler, pid)
    assert row["comm"].startswith("python")
    assert (row["exit_code"], row["signal"], row["ppid"]) == (7, 0, os.getpid())
    assert os.waitstatus_to_exitcode(status) == 7
    # The accounting is made a little before the end: its last switches and the time since a tick are missing.
    assert usage.ru_nvcsw - 10 <= row["nr_voluntary_switches"] <= usage.ru_nvcsw
    assert row["nr_voluntary_switches"] >= 40
    assert row["nr_involuntary_switches"] <= usage.ru_nivcsw
    cpu_s = usage.ru_utime + usage.ru_stime
    assert cpu_s - 2 * TICK_S <= row["cpu_time_ns"] / 1e9 <= cpu_s + TICK_S
    assert 0 < row["memory_bytes"] <= usage.ru_maxrss * 1024  # which begins before exec
    assert row["life_ns"] >= row["cpu_time_ns"] + row["schedstat_run_delay_ns"]


THREADS = """
import os, signal, threading
for _ in range(3):
    thread = threading.Thread(target=len, args=("",))
    thread.start()
    thread.join()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_each_thread_is_accounted_and_signals_are_told(sampler):
    process = subprocess.Popen([sys.executable, "-I", "-c", THREADS])
    assert process.wait() == -9
    rows = rows_of(sampler, process.pid)
    if rows[0]["tgid"] is None:
        pytest.skip("this kernel does not tell whose thread it was")
    assert len(rows) == 4
    [leader] = [row for row in rows if row["tid"] == process.pid]
    assert (leader["signal"], leader["exit_code"]) == (9, 0)


def test_short_lives_are_all_there(sampler):
    pids = set()
    for _ in range(50):
        process = subprocess.Popen(["true"])
        process.wait()
        pids.add(process.pid)
    assert pids <= {row["tid"] for row in sampler.rows()}
    assert sampler.nr_lost == 0


def test_what_finds_no_room_is_counted(sampler):
    sampler._accounting._socket.setsockopt(1, 8, 1)  # SO_RCVBUF: the least there is
    for _ in range(100):
        subprocess.run(["true"], check=True)
    kept = len(sampler.rows())
    assert kept < 100
    assert sampler.nr_lost >= 1


def test_without_the_capability_it_is_named(root):
    code = (
        "from schedtuna.kernel.taskstats import ExitAccounting\n"
        "try: ExitAccounting()\n"
        "except Exception as error: print(type(error).__name__, error, '/', error.hint)"
    )
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
    done = subprocess.run(
        [*nobody, sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.startswith("UnavailableError ")
    assert "CAP_NET_ADMIN" in done.stdout or "CONFIG_TASKSTATS" in done.stdout


def test_closing_twice_closes_nothing_of_others(root):
    try:
        accounting = ExitAccounting()
    except UnavailableError as error:
        pytest.skip(str(error))
    with accounting:
        number = accounting._socket.fileno()
    with Path(os.devnull).open("rb") as other:
        assert other.fileno() == number  # the lowest free one
        accounting.close()
        assert other.read() == b""
