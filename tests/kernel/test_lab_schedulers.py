"""Stock schedulers, started, watched and stopped in a guest by the code that does it on a host."""

import signal
import time

import pytest
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.errors import UnavailableError
from schedtuna.lab.boot import boot
from schedtuna.lab.vm import GuestSpec
from schedtuna.scheduler.probe import installed
from schedtuna.scheduler.scx import SchedulerError, ScxProcess, read_state
from schedtuna.scheduler.spec import SchedulerConfig

LIGHT = ("scx_simple", "scx_bpfland", "scx_cosmos", "scx_flash", "scx_rusty", "scx_p2dq")  # quick to verify


@pytest.fixture(scope="module")
def names():
    found = [name for name in LIGHT if name in installed()][:3]
    if not found:
        pytest.skip("no sched_ext scheduler in SCHEDTUNA_SCX_PATH or PATH")
    return found


@pytest.fixture(scope="module")
def guest(names):
    lab = lab_or_skip()
    booted, _ = boot(lab, GuestSpec(cpus=2, programs=tuple(installed()[name] for name in names)))
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
