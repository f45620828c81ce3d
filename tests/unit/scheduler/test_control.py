"""What may run with privilege, and what is running; starting for real is tested in a guest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from schedtuna.backend.places.guest import Guest
from schedtuna.errors import UnavailableError, UsageError
from schedtuna.files import distrusted
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.records import Change, ProcessSubject
from schedtuna.machine.tasks import start_ticks
from schedtuna.scheduler.arguments import command_line
from schedtuna.scheduler.control import _again, find_installed, find_program, find_running
from schedtuna.scheduler.lookup import registered
from schedtuna.scheduler.objects import host_command
from schedtuna.scheduler.probe import probe
from schedtuna.scheduler.scx import SchedulerError
from schedtuna.scheduler.spec import SchedulerConfig

SCRIPT = "#!/bin/sh\ntouch {mark}\n"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """An installed scx_simple that says whether it was run."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / "scx_simple"
    path.write_text(SCRIPT.format(mark=tmp_path / "ran"))
    path.chmod(0o755)
    monkeypatch.setenv("SCHEDTUNA_SCX_PATH", str(folder))
    return path


def test_a_program_that_only_its_owner_can_write_is_trusted(program):
    assert distrusted(program) == ""  # below /tmp, which is sticky
    assert find_program(registered("scx_simple")) == program


def test_one_that_others_can_write_is_not_nor_is_one_in_such_a_folder(program, tmp_path):
    program.chmod(0o777)
    assert "scx_simple can be written by others" in distrusted(program)
    program.chmod(0o755)
    program.parent.chmod(0o777)
    with pytest.raises(UnavailableError, match=r"would run with privilege, but .*bin can be written"):
        find_program(registered("scx_simple"))
    find_installed("scx_simple")
    assert not (tmp_path / "ran").exists()  # not even for its --help


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_somebody_elses_program_is_not_run_wherever_a_study_names_it(program, tmp_path):
    os.chown(program, 65534, 65534)
    named = registered("scx_simple").model_copy(update={"binary_path": program})
    with pytest.raises(UnavailableError, match=r"would run with privilege, but .* belongs to user 65534"):
        find_program(named)
    with pytest.raises(UnavailableError, match="used for its --help with privilege, but"):
        probe(program)
    assert Guest().scheduler("scx_simple").binary_path == program  # it is for the guest's root to run
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_somebody_elses_program_is_not_trusted(program):
    os.chown(program, 65534, 65534)
    assert "belongs to user 65534" in distrusted(program)


def test_one_that_is_gone_is_not_trusted(tmp_path):
    assert "can't be read" in distrusted(tmp_path / "none")


def test_only_registered_schedulers_are_run(program):
    with pytest.raises(UsageError, match="not a registered sched_ext scheduler"):
        find_program(SchedulerConfig(name="scx_mine", binary_path=program))


def test_the_scheduler_that_runs_is_the_one_in_the_journal_that_is_alive(tmp_path):
    journal = Journal(tmp_path / "state")
    with subprocess.Popen(["sleep", "600"]) as process:
        for name, ticks in (("scx_gone", 1), ("scx_simple:fifo=true", start_ticks(process.pid))):
            subject = ProcessSubject(pid=process.pid, start_ticks=ticks or 0, program=name)
            journal.begin([Change("scheduler", subject, None, {"scheduler": name, "argv": [name]})])
        found = find_running(journal)
        process.kill()
    assert (found.pid, found.label) == (process.pid, "scx_simple:fifo=true")
    assert find_running(journal) is None


def test_one_that_ran_before_and_is_unknown_here_does_not_hide_why_the_new_one_failed(tmp_path):
    journal, error = Journal(tmp_path / "state"), SchedulerError("the new one did not start")
    with subprocess.Popen(["sleep", "600"]) as process:
        subject = ProcessSubject(pid=process.pid, start_ticks=start_ticks(process.pid), program="sleep")
        journal.begin(
            [Change("scheduler_process", subject, None, {"scheduler": "scx_of_a_file:a=1", "argv": []})]
        )
        running = find_running(journal)
        process.kill()
    assert running is not None
    _again(running, journal, error)
    (note,) = error.__notes__
    assert note == "nor did scx_of_a_file:a=1, which ran before: unknown scheduler 'scx_of_a_file'"


def test_an_object_is_run_by_its_loader_if_nobody_else_can_write_it(tmp_path):
    path = tmp_path / "own.bpf.o"
    path.write_bytes(b"")
    scheduler = SchedulerConfig(name="own", binary_path=path)
    assert find_program(scheduler) == path
    python, *options, loader, program, name = host_command(path, command_line(scheduler))
    assert (python, options, program, name) == (sys.executable, ["-I"], str(path), "--ops-name=own")
    assert Path(loader).name == "scx_object.py"
    path.chmod(0o666)
    with pytest.raises(UnavailableError, match=r"would run with privilege, but .*own\.bpf\.o can be written"):
        find_program(scheduler)


def test_the_loader_alone_says_what_it_can_not_load(tmp_path):
    path = tmp_path / "own.bpf.o"
    for content, mode, words in (
        (b"noise", 0o600, "can't open the BPF object own.bpf.o"),
        (b"noise", 0o666, "others can write it"),
        (None, 0o600, "No such file"),
    ):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
            path.chmod(mode)
        done = subprocess.run(host_command(path, []), capture_output=True, text=True, check=False)
        assert (done.returncode, words in done.stdout) == (1, True), done
