import os
import signal
import stat
import sys
import time

import pytest

from schedtuna.errors import UnavailableError
from schedtuna.knobs.scheduler_process import is_named
from schedtuna.scheduler.host import HostMachine
from schedtuna.scheduler.scx import (
    SchedulerError,
    ScxProcess,
    ScxState,
    Startup,
    StuckSchedulerError,
    ejection,
    exit_dump,
    exit_reason,
    read_events,
    read_state,
    startup,
    version_change,
)
from schedtuna.scheduler.spec import SchedulerConfig

OFF = ScxState("disabled", "", 4, 0)
ON = ScxState("enabled", "bpfland_1.1.4_x86_64_unknown_linux_gnu", 5, 0)


@pytest.mark.parametrize(
    ("ops", "program", "same"),
    [
        ("bpfland_1.1.4_x86_64_unknown_linux_gnu", "scx_bpfland", True),
        ("simple", "scx_simple", True),
        ("simple", "scx_sim", False),
        ("rusty_1.1.4", "scx_rust", False),
        ("", "scx_simple", False),
    ],
)
def test_ops_names_belong_to_programs(ops, program, same):
    assert is_named(ops, program) is same


@pytest.mark.parametrize(
    ("now", "exit_code", "stage", "reason"),
    [
        (OFF, None, Startup.WAITING, ""),
        (ScxState("enabling", "bpfland", 4, 0), None, Startup.WAITING, ""),
        (ON, None, Startup.READY, ""),
        (ScxState("enabled", ON.ops, 4, 0), None, Startup.WAITING, ""),
        (OFF, 1, Startup.FAILED, "exited with code 1"),
        (OFF, -9, Startup.FAILED, "SIGKILL"),
        (ON, 0, Startup.FAILED, "before it was enabled"),
        (ScxState("enabled", "lavd_1", 5, 0), None, Startup.FAILED, "another scheduler, lavd_1"),
        (ScxState("enabled", ON.ops, 7, 0), None, Startup.FAILED, "3 schedulers were enabled"),
    ],
)
def test_a_start_is_judged_by_what_the_kernel_says(now, exit_code, stage, reason):
    judged = startup(OFF, now, exit_code, is_own=is_named(now.ops, "scx_bpfland"))
    assert judged[0] is stage
    assert reason in judged[1]


@pytest.mark.parametrize(
    ("now", "exit_code", "reason"),
    [
        (ON, None, ""),
        (ScxState("disabled", "", 5, 0), None, "sched_ext is disabled"),
        (ScxState("disabled", "", 5, 0), 86, "exited with code 86"),
        (ScxState("enabled", "lavd_1", 6, 0), None, "lavd_1 is in charge"),
        (ScxState("enabled", ON.ops, 6, 0), None, "enabled 1 more times"),
        (ScxState("enabled", ON.ops, 5, 2), None, "2 tasks were rejected"),
    ],
)
def test_an_ejection_is_seen_in_every_guise(now, exit_code, reason):
    found = ejection(ON, now, exit_code)
    assert reason in found
    assert bool(found) is bool(reason)


class FakeKernel(HostMachine):
    """Real processes; /sys/kernel/sched_ext in a folder, written by the program that is started."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        for name, text in {"state": "disabled", "enable_seq": "0", "nr_rejected": "0"}.items():
            (folder / name).write_text(text + "\n")
        (folder / "root").mkdir()

    def read(self, path):
        return super().read(path.replace("/sys/kernel/sched_ext", str(self.folder)))


@pytest.fixture
def machine(tmp_path):
    kernel = FakeKernel(tmp_path)
    yield kernel
    kernel.close()


LOADER = """#!{python}
import pathlib, signal, sys, time
sys_fs = pathlib.Path({folder!r})
def leave(*_):
    (sys_fs / "state").write_text("disabled\\n")
    print("EXIT: unregistered from user space", flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, leave)
print("arguments:", *sys.argv[1:], flush=True)
{start}
while True:
    time.sleep(600)
"""
ENABLE = """
(sys_fs / "root/ops").write_text("test_1.0\\n")
(sys_fs / "enable_seq").write_text("1\\n")
(sys_fs / "state").write_text("enabled\\n")
"""


def program(tmp_path, start=ENABLE):
    path = tmp_path / "scx_test"
    path.write_text(LOADER.format(python=sys.executable, folder=str(tmp_path), start=start))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


TEST = SchedulerConfig(name="scx_test")


def test_a_scheduler_is_in_charge_inside_and_gone_after(machine, tmp_path):
    with ScxProcess(machine, TEST, program(tmp_path)) as running:
        assert read_state(machine).ops == "test_1.0"
        assert running.ejected() == ""
        assert machine.status(running.pid) is None
    assert read_state(machine).state == "disabled"
    assert machine.status(running.pid) == 0
    assert "EXIT: unregistered" in running.log()


class LinkedKernel(FakeKernel):
    """A program holds the link of what it has loaded."""

    LINK = "pos:\t0\nflags:\t02000000\nlink_type:\tstruct_ops\nlink_id:\t7\nmap_id:\t12\n"

    def read(self, path):
        if path.startswith("/proc/") and path.endswith("/fdinfo/11"):
            alive = self.status(int(path.split("/")[2])) is None
            return self.LINK if alive and super().read("/sys/kernel/sched_ext/enable_seq") != "0\n" else None
        return super().read(path)


OTHER_NAME = ENABLE.replace("test_1.0", "my_policy")


def test_one_whose_ops_name_is_not_its_files_is_known_by_its_link(tmp_path):
    machine = LinkedKernel(tmp_path)
    with ScxProcess(machine, TEST, program(tmp_path, OTHER_NAME)) as running:
        assert running.started.ops == "my_policy"
        assert running.ejected() == ""
        assert ScxProcess.found(machine, "scx_test", "scx_test", running.pid).in_charge(read_state(machine))
    assert read_state(machine).state == "disabled"
    machine.close()


def test_another_s_scheduler_is_none_of_a_program_without_a_link(machine, tmp_path, monkeypatch):
    monkeypatch.setattr("schedtuna.scheduler.scx._LINKED_WITHIN_S", 0.1)
    with pytest.raises(SchedulerError, match="another scheduler, my_policy, is in charge"):
        ScxProcess(machine, TEST, program(tmp_path, OTHER_NAME))


def test_an_ejection_is_detected_and_its_dump_kept(machine, tmp_path):
    with ScxProcess(machine, TEST, program(tmp_path)) as running:
        (tmp_path / "state").write_text("disabled\n")
        assert running.ejected() == "sched_ext is disabled"


def test_one_that_exits_says_why(machine, tmp_path):
    with pytest.raises(SchedulerError, match=r"exited with code 3(?s:.*)no such kernel function"):
        ScxProcess(machine, TEST, program(tmp_path, "print('no such kernel function'); sys.exit(3)"))
    assert read_state(machine).state == "disabled"


def test_one_that_never_enables_is_stopped(machine, tmp_path):
    with pytest.raises(SchedulerError, match="not enabled within"):
        ScxProcess(machine, TEST, program(tmp_path, ""), within_s=0.5)
    (pid,) = machine._processes
    assert machine.status(pid) is not None


def test_where_the_machine_gets_no_cpu_a_start_may_take_longer(machine, tmp_path, monkeypatch):
    monkeypatch.setattr("schedtuna.machine.patience._BUSY_HOST", 1000)
    late = program(tmp_path, "time.sleep(0.5)" + ENABLE)
    with ScxProcess(machine, TEST, late, within_s=0.1, cpu_s=lambda: 0.0) as running:
        assert running.started.ops == "test_1.0"


def test_one_that_ignores_the_first_signal_is_killed(machine, tmp_path, monkeypatch):
    monkeypatch.setattr("schedtuna.scheduler.scx._STOP_WITHIN_S", 0.2)
    monkeypatch.setattr("schedtuna.scheduler.scx._KILL_WITHIN_S", 0.2)
    deaf = ENABLE + "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    running = ScxProcess(machine, TEST, program(tmp_path, deaf))
    with pytest.raises(StuckSchedulerError, match="sched_ext is enabled with test"):
        running.close()  # nobody writes "disabled" here, as the kernel would
    assert machine.status(running.pid) == -signal.SIGKILL
    (tmp_path / "state").write_text("disabled\n")
    running.close()


def test_another_scheduler_is_left_alone(machine, tmp_path):
    (tmp_path / "state").write_text("enabled\n")
    (tmp_path / "root/ops").write_text("theirs\n")
    with pytest.raises(UnavailableError, match="enabled with theirs"):
        ScxProcess(machine, TEST, program(tmp_path))
    assert not machine._processes


def test_a_kernel_without_sched_ext_says_so(tmp_path):
    class Bare(HostMachine):
        def read(self, path):
            return None

    with pytest.raises(UnavailableError, match="no sched_ext"):
        read_state(Bare())


def test_signals_reach_only_programs_that_were_started():
    with pytest.raises(KeyError):
        HostMachine().signal(os.getpid(), signal.SIGTERM)


def test_a_signal_to_one_that_has_ended_hits_nobody():
    machine = HostMachine()
    pid = machine.spawn(["true"])
    while machine.status(pid) is None:
        time.sleep(0.01)
    machine.signal(pid, signal.SIGKILL)
    assert machine.status(pid) == 0
    machine.close()


DUMP = """local=1 global=0
DEBUG DUMP
================================================================================

userland: root
swapper/1[0] triggered exit kind 1026 on CPU 1:
  runnable task stall (watchdog failed to check in for 30.004s)

Backtrace:
  __scx_exit+0x4f/0x70
{tasks}
================================================================================

EXIT: runnable task stall (watchdog failed to check in for 30.004s) on CPU 1
"""


def test_the_kernels_reason_is_what_the_program_printed_last():
    assert exit_reason(DUMP).startswith("runnable task stall (watchdog failed")
    assert exit_reason("EXIT: disabled by sysrq-S\nlocal=1\n") == "disabled by sysrq-S"
    assert exit_reason("EXIT: unregistered from user space\n") == ""
    assert exit_reason("local=1\n") == ""


def test_the_dump_is_kept_from_its_heading_on():
    kept = exit_dump(DUMP)
    assert kept.startswith("DEBUG DUMP")
    assert kept.endswith("on CPU 1")


def test_of_a_long_dump_reason_backtrace_and_end_are_kept():
    kept = exit_dump(DUMP.format(tasks="  R task[1] -5000ms\n" * 10_000))
    assert len(kept) < 17_000
    assert "triggered exit kind 1026" in kept
    assert "characters left out" in kept
    assert kept.endswith("on CPU 1")


def test_without_a_dump_the_last_lines_are_kept():
    assert exit_dump("\n".join(map(str, range(100)))).splitlines() == [str(n) for n in range(80, 100)]


def test_an_upgrade_between_two_runs_is_seen():
    seen = {"scx_rusty": "rusty_1.1.4_x86_64"}
    assert version_change(seen, "scx_rusty", "rusty_1.1.4_x86_64") == ""
    assert version_change(seen, "scx_lavd", "lavd_1") == ""
    assert "rusty_1.1.5_x86_64 now" in version_change(seen, "scx_rusty", "rusty_1.1.5_x86_64")


def test_the_kernels_counters_are_read_and_their_absence_is_not_an_error(machine, tmp_path):
    assert read_events(machine) == {}
    (tmp_path / "root/events").write_text("SCX_EV_BYPASS_ACTIVATE 2\nSCX_EV_REENQ_IMMED 0\n")
    assert read_events(machine) == {"bypass_activate": 2, "reenq_immed": 0}


def test_a_scheduler_for_those_who_ask_for_it_is_told_apart(machine, tmp_path):
    assert read_state(machine).switch_all
    (tmp_path / "switch_all").write_text("0\n")
    assert not read_state(machine).switch_all
