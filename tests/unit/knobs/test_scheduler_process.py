import signal
import subprocess
import sys
import time

import pytest

from schedtuna.errors import KnobError
from schedtuna.knobs.base import Reverted, Target
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.records import Change, ProcessSubject
from schedtuna.knobs.scheduler_process import SchedulerProcess, is_named
from schedtuna.knobs.session import Changes
from schedtuna.knobs.undo import UndoResult, put_back_stale, undo
from schedtuna.machine.tasks import start_ticks

# Gives the machine back when it is asked to end, as a scheduler's program makes the kernel do.
LOADER = """
import pathlib, signal, sys
state = pathlib.Path(sys.argv[1])
def leave(*_):
    state.write_text("disabled\\n")
    sys.exit(0)
signal.signal(signal.SIGINT, leave)
state.write_text("enabled\\n")
print("up", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def sysfs(tmp_path):
    (tmp_path / "sys/root").mkdir(parents=True)
    (tmp_path / "sys/state").write_text("disabled\n")
    (tmp_path / "sys/root/ops").write_text("test_1.0\n")
    return tmp_path / "sys"


@pytest.fixture
def process(sysfs):
    started = subprocess.Popen([sys.executable, "-c", LOADER, sysfs / "state"], stdout=subprocess.PIPE)
    started.stdout.readline()
    yield started
    started.kill()
    started.wait()
    started.stdout.close()


def change(process, started=None):
    subject = ProcessSubject(
        pid=process.pid, start_ticks=started or start_ticks(process.pid), program="scx_test"
    )
    return Change("scheduler", subject, None, {"scheduler": "scx_test", "argv": ["scx_test"]})


def test_it_is_stopped_and_the_machine_is_back_on_its_own_scheduler(tmp_path, process, sysfs):
    (record,) = Journal(tmp_path / "state").begin([change(process)])
    assert SchedulerProcess(sysfs).revert(record) is Reverted.RESTORED
    assert process.wait(60) == 0
    assert (sysfs / "state").read_text() == "disabled\n"
    assert SchedulerProcess(sysfs).revert(record) is Reverted.GONE


def test_a_stranger_that_got_its_number_is_left_alone(tmp_path, process, sysfs):
    (record,) = Journal(tmp_path / "state").begin([change(process, started=1)])
    assert SchedulerProcess(sysfs).revert(record) is Reverted.GONE
    assert process.poll() is None


def test_one_that_ignores_the_first_signal_is_killed_and_what_stays_is_said(
    tmp_path, process, sysfs, monkeypatch
):
    monkeypatch.setattr(
        "schedtuna.knobs.scheduler_process._PATIENCE_S", ((signal.SIGUSR2, 0.5), (signal.SIGKILL, 0.5))
    )
    (record,) = Journal(tmp_path / "state").begin([change(process)])
    # The fake kernel goes on saying that it is in charge, as no kernel does after a SIGKILL.
    with pytest.raises(KnobError, match=f"scx_test did not stop: process {process.pid}"):
        SchedulerProcess(sysfs).revert(record)
    assert process.wait(60) == -signal.SIGUSR2


def test_another_scheduler_that_came_after_it_is_none_of_its_business(tmp_path, process, sysfs):
    (record,) = Journal(tmp_path / "state").begin([change(process)])
    process.send_signal(signal.SIGSTOP)
    (sysfs / "root/ops").write_text("theirs\n")
    process.send_signal(signal.SIGCONT)
    assert SchedulerProcess(sysfs).revert(record) is Reverted.RESTORED


@pytest.fixture
def left_behind(tmp_path, process):
    """A journal whose record was written by a process that is dead by now."""
    code = (
        "import sys; from pathlib import Path; from schedtuna.knobs.journal import Journal\n"
        "from schedtuna.knobs.records import Change, ProcessSubject\n"
        "subject = ProcessSubject(pid=int(sys.argv[2]), start_ticks=int(sys.argv[3]), program='scx_test')\n"
        "Journal(Path(sys.argv[1])).begin([Change('scheduler', subject, None, {'scheduler': 'scx_test'})])\n"
    )
    argv = [tmp_path / "state", str(process.pid), str(start_ticks(process.pid))]
    subprocess.run([sys.executable, "-c", code, *argv], check=True)
    return Journal(tmp_path / "state")


def test_what_was_started_to_stay_is_not_a_leftover_for_the_next_run(left_behind, process):
    assert left_behind.stale() == []
    assert put_back_stale(left_behind) == []
    with Changes(Target(), left_behind) as changes:
        changes.apply({})
    assert process.poll() is None
    assert len(left_behind.open_records()) == 1


def test_undo_ends_it_all_the_same(left_behind, process):
    (foreseen,) = undo(left_behind, dry_run=True)
    assert foreseen.result is UndoResult.WOULD_RESTORE
    (outcome,) = undo(left_behind)
    assert outcome.result is UndoResult.RESTORED
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.returncode is not None
    assert left_behind.open_records() == []


@pytest.mark.parametrize(
    ("ops", "program", "is_its"),
    [
        ("bpfland_1.1.4_x86_64_unknown_linux_gnu", "scx_bpfland", True),
        ("bpfland_1.1.4_x86_64_unknown_linux_gnu", "scx_bpfland-1.1", True),
        ("simple", "scx_simple-v2.0-rc3", True),
        ("mine-2", "scx_mine-2", True),
        ("flash_1.1.4", "scx_flashyspark", False),
        ("flash_1.1.4", "scx_flash-er", False),
        ("other", "scx_flash-1.0", False),
        ("", "scx_flash-1.0", False),
    ],
)
def test_a_program_may_have_its_release_in_its_name(ops, program, is_its):
    assert is_named(ops, program) is is_its
