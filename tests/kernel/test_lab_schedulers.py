"""Stock schedulers, started, watched and stopped in a guest by the code that does it on a host."""

import signal
import time

import pytest
from tests.kernel.lab_guest import lab_or_skip, schedulers_or_skip

from schedtuna.errors import UnavailableError
from schedtuna.lab.boot import boot
from schedtuna.lab.build.examples import find_examples
from schedtuna.lab.vm import GuestSpec
from schedtuna.scheduler.scx import SchedulerError, ScxProcess, exit_reason, read_state
from schedtuna.scheduler.spec import SchedulerConfig


@pytest.fixture(scope="module")
def lab():
    return lab_or_skip()


@pytest.fixture(scope="module")
def programs(lab):
    return schedulers_or_skip(lab, 3)


@pytest.fixture(scope="module")
def names(programs):
    return list(programs)


@pytest.fixture(scope="module")
def guest(lab, programs):
    booted, _ = boot(lab, GuestSpec(cpus=2, programs=tuple(programs.values())))
    with booted:
        yield booted


def test_three_schedulers_start_and_go_again(guest, names):
    for name in names:
        with ScxProcess(guest, SchedulerConfig(name=name), name) as running:
            assert running.started.ops.startswith(name.removeprefix("scx_"))
            assert guest.run(["hackbench", "-g", "1", "-l", "20"], folder="/").exit_code == 0
            assert running.ejected() == ""
        assert read_state(guest).state == "disabled"


def test_an_ejection_by_the_kernel_is_detected(guest, names):
    with ScxProcess(guest, SchedulerConfig(name=names[0]), names[0]) as running:
        guest.run(["sh", "-c", "echo S > /proc/sysrq-trigger; sleep 0.3"], folder="/")
        deadline = time.monotonic() + 60
        while not (reason := running.ejected()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "sched_ext is" in reason or "exited" in reason
    assert read_state(guest).state == "disabled"


def test_a_killed_scheduler_is_an_ejection(guest, names):
    with ScxProcess(guest, SchedulerConfig(name=names[0]), names[0]) as running:
        guest.signal(running.pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while "SIGKILL" not in (reason := running.ejected()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "SIGKILL" in reason


def test_a_cpu_that_goes_offline_makes_it_leave_or_start_anew_and_both_are_seen(guest, names):
    """The kernel ejects a scheduler that has no say in it (SCX_ECODE_ACT_RESTART); others carry on."""
    online = "/sys/devices/system/cpu/cpu1/online"
    with ScxProcess(guest, SchedulerConfig(name=names[0]), names[0]) as running:
        guest.run(["sh", "-c", f"echo 0 > {online}; sleep 1; echo 1 > {online}; sleep 3"], folder="/")
        moved = read_state(guest).enable_seq != running.started.enable_seq
        assert bool(running.ejected()) == (moved or read_state(guest).state != "enabled")
        if names[0] == "scx_simple":
            assert moved
    # All that it printed: it may have started anew twice.
    assert "going offline" in guest.log(running.pid) or not moved


@pytest.mark.long
def test_a_watchdog_stall_is_told_with_the_kernels_dump(lab):
    program = find_examples(lab.kernel()).get("scx_userland")
    if program is None:
        pytest.skip("scx_userland, whose decider can be stopped, is not built: lab setup --schedulers")
    booted, _ = boot(lab, GuestSpec(cpus=2, programs=(program,)))
    with booted as guest, ScxProcess(guest, SchedulerConfig(name="scx_userland"), program.name) as running:
        guest.signal(running.pid, signal.SIGSTOP)  # the kernel's watchdog waits for 30 s
        guest.run(["sh", "-c", "hackbench -g 1 -l 50 & sleep 10"], folder="/", timeout_s=120)
        deadline = time.monotonic() + 120
        while not running.ejected() and time.monotonic() < deadline:
            time.sleep(0.5)
        assert "sched_ext is disabled" in running.ejected()
        guest.signal(running.pid, signal.SIGCONT)
        running.close()
        assert "runnable task stall" in exit_reason(running.log())
        assert "Backtrace" in running.log()


def test_a_second_scheduler_is_refused_and_the_first_stays(guest, names):
    with ScxProcess(guest, SchedulerConfig(name=names[0]), names[0]) as running:
        with pytest.raises(UnavailableError, match=f"enabled with {running.started.ops}"):
            ScxProcess(guest, SchedulerConfig(name=names[-1]), names[-1])
        assert running.ejected() == ""


def test_a_flag_that_it_refuses_is_shown_with_its_words(guest, names):
    program = f"/usr/local/bin/{names[0]}"
    with pytest.raises(SchedulerError, match="exited with code"):
        ScxProcess(_WithFlag(guest), SchedulerConfig(name=names[0]), program)
    assert read_state(guest).state == "disabled"


class _WithFlag:
    """The guest, where every program gets a flag that none has."""

    def __init__(self, guest):
        self._guest = guest

    def __getattr__(self, name):
        return getattr(self._guest, name)

    def spawn(self, argv):
        return self._guest.spawn([*argv, "--no-such-flag"])
