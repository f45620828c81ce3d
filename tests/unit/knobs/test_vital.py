"""Init, the kernel's threads and what this run is part of are tuned on purpose only."""

import os
import subprocess
import threading
from pathlib import Path

import pytest

from schedtuna.backend.places.host import Host
from schedtuna.errors import UsageError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.hierarchies import find_hierarchy
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.session import Changes
from schedtuna.knobs.vital import refuse_vital
from schedtuna.machine.tasks import read_stat


@pytest.fixture
def child():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def own_thread():
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    yield thread.native_id
    ended.set()
    thread.join()


def ancestors():
    pid, found = os.getpid(), []
    while (stat := read_stat(f"/proc/{pid}")) and stat.ppid:
        found.append(pid := stat.ppid)
    return found


def refusal(target, journal):
    """What is said to whoever tunes it, by whichever way."""
    said = set()
    for way in (refuse_vital, lambda t: Changes(t, journal), lambda t: Host.on(t).target()):
        with pytest.raises(UsageError) as caught:
            way(target)
        assert "--force" in (caught.value.hint or "")
        said.add(str(caught.value))
    (text,) = said
    return text


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "state")


def test_init_is_refused(journal):
    assert "process 1 is init" in refusal(Target(Scope.PID, pid=1), journal)


def test_this_process_and_its_threads_are_refused(journal, own_thread):
    for pid in (os.getpid(), own_thread):
        assert f"process {pid} is this very run" in refusal(Target(Scope.PID, pid=pid), journal)


def test_what_this_process_descends_from_is_refused(journal):
    line = [pid for pid in ancestors() if pid != 1]
    if not line:
        pytest.skip("init has started this process itself")
    for pid in line:
        assert f"process {pid} is what this run descends from" in refusal(Target(Scope.PID, pid=pid), journal)


def test_a_thread_of_the_kernel_is_refused(journal):
    found = read_stat("/proc/2")
    if found is None or not found.is_kernel_thread:
        pytest.skip("the kernel's threads are out of sight in this PID namespace")
    assert "process 2 is a thread of the kernel" in refusal(Target(Scope.PID, pid=2), journal)


def test_the_root_of_the_control_groups_is_refused(journal):
    hierarchy = find_hierarchy("cpu")
    if hierarchy is None:
        pytest.skip("no cpu controller is mounted here")
    assert f"{hierarchy.mount} holds " in refusal(Target(Scope.CGROUP, cgroup=hierarchy.mount), journal)


def test_the_group_of_this_process_is_refused(journal):
    hierarchy = find_hierarchy("cpu")
    group = None if hierarchy is None else hierarchy.group_of(os.getpid())
    if group is None:
        pytest.skip("this process's control group is out of sight")
    assert " holds " in refusal(Target(Scope.CGROUP, cgroup=group), journal)


def test_anything_else_is_not(child, journal):
    for target in (Target(Scope.PID, pid=child), Target(Scope.TREE, pid=child), Target(Scope.MACHINE)):
        refuse_vital(target)
        Changes(target, journal)
        assert Host.on(target).target() == target


def test_who_forces_it_may(journal):
    place = Host.of(pid=1, force=True)
    assert place.options() == ("--pid", "1", "--force")
    assert Host.model_validate_json(place.model_dump_json()).target() == Target(Scope.PID, pid=1, force=True)
    Changes(Target(Scope.PID, pid=os.getpid(), force=True), journal)


def test_a_place_that_became_this_runs_ancestor_is_refused():
    """As by `tune --resume` in the very shell that another terminal has tuned."""
    place = Host.on(Target(Scope.PID, pid=os.getppid()))
    with pytest.raises(UsageError, match=r"descends from|is init"):
        place.target()


def test_a_group_that_is_gone_is_told_as_such(tmp_path):
    with pytest.raises(UsageError, match="is not a control group"):
        Host(scope=Scope.CGROUP, cgroup=Path(tmp_path)).target()
