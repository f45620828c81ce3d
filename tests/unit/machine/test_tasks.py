"""Threads and processes, from /proc."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from schedtuna.machine import tasks
from schedtuna.machine.tasks import (
    descendants,
    direct_children,
    is_alive,
    may_schedule,
    process_tree,
    read_stat,
    start_ticks,
    threads,
)


@pytest.mark.parametrize("name", ["plain", "with space", "a) R 1 (b", "new\nline", "\udcff"])
def test_a_threads_name_can_not_mislead_the_parser(tmp_path, name):
    fields = ["S", "77", *["0"] * 17, "123456", *["0"] * 10]
    text = f"9 ({name}) {' '.join(fields)}\n"
    (tmp_path / "stat").write_bytes(text.encode(errors="surrogateescape"))
    found = read_stat(str(tmp_path))
    assert found is not None
    assert (found.state, found.ppid, found.start_ticks) == ("S", 77, 123456)


def test_what_is_gone_reads_as_none():
    process = subprocess.Popen(["true"])
    process.wait()
    assert start_ticks(process.pid) is None
    assert list(threads(process.pid)) == []
    assert not is_alive(process.pid, 0)


def test_what_goes_meanwhile_is_no_error():
    """Somebody else's children, each gone at some point of being looked at."""
    forks = """
import os
for _ in range(1500):
    if not (pid := os.fork()):
        os._exit(0)
    print(pid, flush=True)
    os.waitpid(pid, 0)
"""
    with subprocess.Popen([sys.executable, "-c", forks], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            for _ in range(8):
                direct_children(int(line))
                descendants(int(line))
                list(threads(int(line)))


def test_start_times_agree_with_ps():
    ticks = start_ticks(os.getpid())
    assert ticks is not None

    def age_s():
        uptime_s = float(Path("/proc/uptime").read_text().split()[0])
        return uptime_s - ticks / os.sysconf("SC_CLK_TCK")

    before_s = age_s()
    since = subprocess.run(["ps", "-o", "etimes=", "-p", str(os.getpid())], capture_output=True, check=False)
    if since.returncode:
        pytest.skip("needs ps")
    assert before_s - 2 < float(since.stdout) < age_s() + 2


def test_another_start_time_is_another_process():
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    assert is_alive(os.getpid(), ticks)
    assert not is_alive(os.getpid(), ticks + 1)


def test_a_zombie_is_not_alive():
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    ticks = start_ticks(process.pid)
    assert ticks is not None
    assert not is_alive(process.pid, ticks)
    process.wait()


def test_a_process_whose_first_thread_has_ended_is_alive():
    script = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "print('up', flush=True)\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    process = subprocess.Popen([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        while (found := read_stat(f"/proc/{process.pid}")) is not None and found.state != "Z":
            pass
        assert found is not None
        assert is_alive(process.pid, found.start_ticks)
        assert len(list(threads(process.pid))) == 2
    finally:
        process.kill()
        process.communicate()


def test_threads_list_the_leader_first():
    stop = threading.Event()
    helper = threading.Thread(target=stop.wait)
    helper.start()
    try:
        found = list(threads(os.getpid()))
        assert found[0].tid == found[0].tgid == os.getpid()
        assert helper.native_id in [task.tid for task in found]
    finally:
        stop.set()
        helper.join()


def test_a_tree_has_parents_before_children_and_no_strangers():
    script = "sleep 60 & sh -c 'sleep 60 & echo $$ $!; wait' & wait"
    process = subprocess.Popen(
        ["sh", "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        inner, innermost = map(int, process.stdout.readline().split())
        tree = process_tree(process.pid)
        assert tree[0] == process.pid
        assert tree.index(process.pid) < tree.index(inner) < tree.index(innermost)
        assert len(tree) == 4
        assert os.getpid() not in tree
    finally:
        os.killpg(process.pid, 9)
        process.communicate()


@pytest.mark.parametrize("lists", [tasks._CHILDREN_LISTS, Path("/nonexistent")])
def test_children_are_found_with_and_without_the_kernels_lists(monkeypatch, lists):
    monkeypatch.setattr(tasks, "_CHILDREN_LISTS", lists)
    process = subprocess.Popen(
        ["sh", "-c", "sh -c 'sleep 60 & echo $$ $!; wait' & wait"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    inner, innermost = map(int, process.stdout.readline().split())
    try:
        assert descendants(process.pid) == [process.pid, inner, innermost]
        assert direct_children(process.pid) == [inner]
    finally:
        for pid in (innermost, inner, process.pid):
            os.kill(pid, 9)
        process.communicate()


def test_ones_own_threads_may_be_scheduled():
    assert may_schedule(os.getpid())
