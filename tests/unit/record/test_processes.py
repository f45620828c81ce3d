import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from schedtuna.record.processes import ProcessSampler, read_process, role

TICKS = os.sysconf("SC_CLK_TCK")


def stat_line(comm="x", pid=10, state="S", cpu=0, start=5, nice=0, policy=0, flags=0, threads=1):
    fields = [0] * 53
    fields[3], fields[8], fields[13], fields[18], fields[19] = 1, flags, cpu, nice, threads
    fields[17], fields[21], fields[23], fields[40] = 20 + nice, start, 3, policy
    return f"{pid} ({comm}) {state} " + " ".join(map(str, fields[3:]))


@pytest.fixture
def write(tmp_path):
    def write(pid=10, cgroup="0::/a\n", **values):
        folder = tmp_path / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "stat").write_text(stat_line(pid=pid, **values))
        (folder / "cgroup").write_text(cgroup)
        return folder

    return write


def test_rates_cover_the_time_between_samples(write, tmp_path):
    write(cpu=100)
    sampler = ProcessSampler(proc=tmp_path)
    write(cpu=150)
    [row] = sampler.sample()[1]
    assert row["cpu_percent"] > 0
    assert (row["pid"], row["comm"], row["cgroup"], row["memory_bytes"]) == (10, "x", "/a", 3 * 4096)
    assert row["read_bytes_per_s"] is None  # not for us to see


def test_waiting_for_a_cpu_is_summed_over_threads(write, tmp_path):
    folder = write()
    (folder / "schedstat").write_text("5 100 1\n")
    assert read_process(folder).schedstat_run_delay_ns == 100
    write(threads=2)
    for tid, delay_ns in ((10, 100), (11, 23)):
        (folder / f"task/{tid}").mkdir(parents=True)
        (folder / f"task/{tid}/schedstat").write_text(f"5 {delay_ns} 1\n")
    assert read_process(folder).schedstat_run_delay_ns == 123
    sampler = ProcessSampler(proc=tmp_path)
    (folder / "task/11/schedstat").write_text("5 1000000023 1\n")
    assert sampler.sample()[1][0]["schedstat_run_delay_percent"] > 100  # of one CPU: a second in no time


def test_a_sample_that_is_given_up_changes_nothing(write, tmp_path):
    write(cpu=0)
    sampler = ProcessSampler(proc=tmp_path)
    time.sleep(0.05)
    write(cpu=10)

    def give_up():
        raise TimeoutError

    with pytest.raises(TimeoutError):
        sampler.sample(give_up)
    assert 0 < sampler.sample()[1][0]["cpu_percent"] <= 100 * (10 / TICKS) / 0.05


@pytest.mark.parametrize(
    ("state", "schedstat", "later", "read_again"),
    [
        ("S", "5 0 7\n", "5 0 7\n", False),
        ("S", "5 0 7\n", "6 0 8\n", True),
        ("R", "5 0 7\n", "5 0 7\n", True),
        ("S", "0 0 0\n", "0 0 0\n", True),
    ],
)
def test_of_what_did_not_run_little_is_read(write, tmp_path, state, schedstat, later, read_again):
    folder = write(state=state)
    (folder / "schedstat").write_text(schedstat)
    status = "voluntary_ctxt_switches:\t{0}\nnonvoluntary_ctxt_switches:\t{0}\n"
    (folder / "status").write_text(status.format(5))
    sampler = ProcessSampler(proc=tmp_path)
    (folder / "schedstat").write_text(later)
    (folder / "status").write_text(status.format(6))
    assert (sampler.sample()[1][0]["voluntary_switches_per_s"] > 0) is read_again
    write(state=state, cgroup="0::/b\n")
    assert sampler.sample()[1][0]["cgroup"] == "/b"


def test_switches_are_summed_over_threads(write):
    folder = write(threads=2)
    for tid, (voluntary, involuntary) in ((10, (7, 2)), (11, (30, 4))):
        (folder / f"task/{tid}").mkdir(parents=True)
        (folder / f"task/{tid}/status").write_text(
            f"Name:\tctxt_switches:\t9\nvoluntary_ctxt_switches:\t{voluntary}\n"
            f"nonvoluntary_ctxt_switches:\t{involuntary}\n"
        )
    reading = read_process(folder)
    assert (reading.nr_voluntary_switches, reading.nr_involuntary_switches) == (37, 6)
    (folder / "task/11/status").write_text("Name:\tx\n")
    assert read_process(folder).nr_voluntary_switches is None


def test_a_pid_that_is_used_again_is_another_process(write, tmp_path):
    write(cpu=100, start=5)
    sampler = ProcessSampler(proc=tmp_path)
    write(cpu=150, start=6)
    assert sampler.sample()[1][0]["cpu_percent"] is None


@pytest.mark.parametrize("comm", ["a) R 1 (b", "", "new\nline", ") R 9 9", "\x1b[2J"])
def test_hostile_names_do_not_shift_the_fields(write, comm):
    reading = read_process(write(comm=comm, nice=7, cpu=3))
    assert (reading.facts["comm"], reading.facts["nice"], reading.facts["state"]) == (comm, 7, "S")
    assert reading.cpu_ticks == 3


def test_what_is_gone_or_no_process_is_left_out(tmp_path):
    assert read_process(tmp_path / "12") is None
    (tmp_path / "13").mkdir()
    (tmp_path / "13/stat").write_text("garbage")
    (tmp_path / "13/cgroup").write_text("")
    assert read_process(tmp_path / "13") is None


def test_the_cpu_controllers_hierarchy_is_preferred(write):
    reading = read_process(write(cgroup="4:cpu,cpuacct:/fast\n3:memory:/m\n0::/unified\n"))
    assert reading.facts["cgroup"] == "/fast"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"kernel": True}, "kernel"),
        ({"policy": "FIFO"}, "realtime"),
        ({"nice": 5}, "background"),
        ({"policy": "BATCH"}, "background"),
        ({"tty": 1024}, "interactive"),
        ({"cgroup": "/user.slice/user-1000.slice"}, "interactive"),
        ({}, "service"),
    ],
)
def test_roles(facts, expected):
    usual = {"kernel": False, "policy": "OTHER", "nice": 0, "tty": 0, "cgroup": "/"}
    assert role(**(usual | facts)) == expected


def test_a_real_process_is_as_it_was_started():
    process = subprocess.Popen(
        ["nice", "-n", "5", "chrt", "--batch", "0", sys.executable, "-c", "input()"], stdin=subprocess.PIPE
    )
    try:
        cmdline = Path(f"/proc/{process.pid}/cmdline")
        while sys.executable.encode() != cmdline.read_bytes().split(b"\0")[0]:
            time.sleep(0.01)
        [row] = ProcessSampler(only=frozenset([process.pid])).sample()[1]
    finally:
        process.communicate(b"\n")
    assert (row["nice"], row["policy"], row["ppid"]) == (5, "BATCH", os.getpid())
    assert row["role"] == "background"
