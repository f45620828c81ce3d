import os
import time
from pathlib import Path

from schedtuna.record.proc_tasks import CLOCK_TICK_NS, unlisted_tasks


def test_this_process_is_told_from_proc():
    listed = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()} - {os.getpid()}
    [row] = [row for row in unlisted_tasks(listed) if row["tid"] == os.getpid()]
    assert (row["tgid"], row["ppid"]) == (os.getpid(), os.getppid())
    assert row["comm"] == Path("/proc/self/comm").read_bytes().removesuffix(b"\n")
    assert row["static_prio"] == 120 + os.getpriority(os.PRIO_PROCESS, 0) == row["prio"]
    assert time.process_time_ns() < row["timestamp_ns"] - row["start_time_ns"] + CLOCK_TICK_NS
    assert row["start_time_ns"] < row["timestamp_ns"] <= time.monotonic_ns()


def test_hostile_names_and_processes_that_go_away(tmp_path):
    for tid, comm in ((7, b") S 1 (x\n"), (8, b"")):
        thread = tmp_path / f"7/task/{tid}"
        thread.mkdir(parents=True)
        numbers = [str(n).encode() for n in range(4, 53)]
        (thread / "stat").write_bytes(b"%d (%s) S " % (tid, comm) + b" ".join(numbers))
    (tmp_path / "7/task/9").mkdir()  # its stat is gone
    (tmp_path / "10").mkdir()  # all of it
    (tmp_path / "meminfo").touch()
    rows = unlisted_tasks({8}, tmp_path)
    assert [(row["tid"], row["comm"], row["ppid"], row["prio"]) for row in rows] == [
        (7, b") S 1 (x\n", 4, 118)
    ]
    assert len(unlisted_tasks({7, 8}, tmp_path)) == 0
