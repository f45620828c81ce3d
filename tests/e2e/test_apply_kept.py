"""`schedtuna apply` to what runs already: set, kept after the command has ended, and undone."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.commands import run_schedtuna

from schedtuna.knobs.hierarchies import find_hierarchy, parent_for

# Two threads and a child, and another thread and child for each line that it reads.
SERVICE = """
import subprocess, sys, threading
def more():
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
more()
for _ in sys.stdin:
    more()
"""


@pytest.fixture
def schedtuna(tmp_path):
    def run(*arguments):
        state = {"SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}
        return run_schedtuna(*arguments, env={**os.environ, **state}, timeout=120)

    return run


class Service:
    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVICE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self.process.pid
        self.children = [int(self.process.stdout.readline())]

    def grow(self):
        self.process.stdin.write("more\n")
        self.process.stdin.flush()
        self.children.append(int(self.process.stdout.readline()))

    def nices(self):
        threads = [int(tid) for tid in os.listdir(f"/proc/{self.pid}/task")]  # noqa: PTH208
        return [os.getpriority(os.PRIO_PROCESS, tid) for tid in (*threads, *self.children)]

    def close(self):
        for pid in self.children:
            os.kill(pid, 9)
        self.process.communicate()


@pytest.fixture
def service():
    started = Service()
    yield started
    started.close()


@pytest.fixture
def unit(service):
    """A control group that is called as a unit's, with the service in it."""
    hierarchy = find_hierarchy("cpu")
    above = parent_for(hierarchy, os.getpid()) if hierarchy is not None else None
    if above is None:
        pytest.skip("no control group with a cpu controller can be made here")
    group = above / f"test-{os.getpid()}.service"
    group.mkdir()
    for pid in (service.pid, *service.children):
        (group / "cgroup.procs").write_text(str(pid))
    yield group
    service.close()
    service.children = []
    for _ in range(100):
        if not (group / "cgroup.procs").read_text():
            break
        time.sleep(0.05)
    group.rmdir()


def test_a_process_keeps_what_was_set_and_undo_puts_it_back(schedtuna, service):
    done = schedtuna("apply", "fair:nice=5", "--pid", service.pid)
    assert done.returncode == 0, done.stderr
    assert "nice=5: 3 threads of 2 processes" in done.stdout
    assert "schedtuna undo" in done.stdout
    service.grow()
    assert service.nices() == [5] * 5
    # It is no leftover: another run neither stops nor puts it back.
    later = schedtuna("apply", "fair:nice=9", "--", "true")
    assert (later.returncode, service.nices()) == (0, [5] * 5), later.stderr
    undone = json.loads(schedtuna("undo", "--json").stdout)
    assert {change["result"] for change in undone["changes"]} == {"restored"}
    assert service.nices() == [0] * 5


def test_what_a_study_chose_is_kept_by_a_second_one_and_undone_to_the_first_value(
    schedtuna, service, tmp_path
):
    best = {"scheduler": "fair", "parameters": {"nice": 4}, "verdict": "improved", "command": ["true"]}
    (tmp_path / "best_parameters.json").write_text(json.dumps(best))
    for settings in (tmp_path, "fair:nice=6"):
        assert schedtuna("apply", settings, "--pid", service.pid).returncode == 0
    assert service.nices() == [6] * 3
    assert schedtuna("undo").returncode == 0
    assert service.nices() == [0] * 3


def test_a_unit_is_found_by_its_control_group(schedtuna, service, unit):
    done = schedtuna("apply", "fair:nice=5,cpu_weight=300", "--unit", unit.name)
    assert done.returncode == 0, done.stderr
    assert f"cpu_weight=300: all that is in {unit}, now and later" in done.stdout
    assert "nice=5: 3 threads of 2 processes" in done.stdout
    assert service.nices() == [5] * 3
    again = schedtuna("apply", "fair:nice=5,cpu_weight=300", "--unit", unit.stem)
    assert (again.returncode, "nothing to set" in again.stdout) == (0, True), again.stderr
    shown = json.loads(schedtuna("knobs", "list", "--unit", unit.name, "--json").stdout)
    assert {row["name"]: row["value"] for row in shown["knobs"]}["cpu_weight"] == 300
    assert schedtuna("undo").returncode == 0
    assert service.nices() == [0] * 3
    shown = json.loads(schedtuna("knobs", "--cgroup", unit, "--json").stdout)
    assert {row["name"]: row["value"] for row in shown["knobs"]}["cpu_weight"] == 100


def test_what_systemd_can_not_express_is_set_once_the_unit_has_started(schedtuna, service, unit):
    done = schedtuna("apply", "fair:policy=batch,slice_us=700", "--unit", unit.name, "--print-unit")
    assert done.returncode in (0, 3), done.stderr
    if done.returncode == 3:
        pytest.skip("this kernel has no slices")
    lines = done.stdout.splitlines()
    assert lines[0] == f"# /etc/systemd/system/{unit.name}.d/schedtuna.conf"
    assert "CPUSchedulingPolicy=batch" in lines
    assert lines[-1].startswith("ExecStartPost=+/")
    assert lines[-1].endswith(" apply fair:slice_us=700 --pid $MAINPID")
    assert set(service.nices()) == {0}


def test_a_drop_in_is_printed_for_a_unit_that_does_not_run(schedtuna):
    done = schedtuna("apply", "fair:policy=batch,timer_slack_us=70", "--unit", "absent", "--print-unit")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "# /etc/systemd/system/absent.service.d/schedtuna.conf"
    assert "CPUSchedulingPolicy=batch" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fair:nice=5", "--pid", 1], 2, "is init"),
        (["fair:nice=5", "--pid", os.getpid(), "--cgroup", "/sys/fs/cgroup"], 2, "contradict each other"),
        (["fair:nice=5", "--pid", "CHILD", "--", "true"], 2, "there is no command"),
        (["fair:cpu_weight=5", "--pid", "CHILD"], 2, "can't be set in scope pid"),
        (["fair:nice=5", "--unit", "no-such-unit"], 2, "no control group of no-such-unit.service"),
        (["fair:nice=5", "--unit", "../web", "--print-unit"], 2, "'../web' is no name of a unit"),
        (["scx_simple", "--pid", "CHILD"], 2, "for the whole machine"),
        (["fair", "--pid", "CHILD"], 2, "fair sets nothing"),
        (["default", "--pid", "CHILD"], 2, "default sets nothing"),
        (["scx_simple", "--system", "--pid", "CHILD"], 2, "contradict each other"),
        (["scx_simple", "--system", "--print-unit"], 2, "contradict each other"),
    ],
)
def test_what_can_not_be_kept_is_refused(schedtuna, service, arguments, code, words):
    named = [service.pid if word == "CHILD" else word for word in arguments]
    done = schedtuna("apply", *named)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr
    assert schedtuna("undo").stdout.startswith("nothing to undo")


def test_threads_that_differ_from_the_first_are_set_too(schedtuna, service):
    os.setpriority(os.PRIO_PROCESS, service.pid, 5)  # of its first thread alone
    before = service.nices()
    assert sorted(before) == [0, 0, 5]
    done = schedtuna("apply", "fair:nice=5", "--pid", service.pid)
    assert "nice=5: 3 threads of 2 processes" in done.stdout, done
    assert service.nices() == [5] * 3
    again = schedtuna("apply", "fair:nice=5", "--pid", service.pid)
    assert (again.returncode, "nothing to set" in again.stdout) == (0, True), again.stderr
    assert schedtuna("undo").returncode == 0
    assert service.nices() == before


def test_a_drop_in_has_what_is_in_force_already_too(schedtuna, service):
    assert schedtuna("apply", "fair:nice=5", "--pid", service.pid).returncode == 0
    printed = schedtuna("apply", "fair:nice=5,timer_slack_us=70", "--pid", service.pid, "--print-unit")
    assert printed.stdout.splitlines() == ["[Service]", "Nice=5", "TimerSlackNSec=70us"], printed.stderr
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    wrapped = schedtuna("apply", f"fair:nice={mine},policy=batch", "--print-unit", "--", "/bin/true")
    assert wrapped.stdout.splitlines() == ["[Service]", f"Nice={mine}", "CPUSchedulingPolicy=batch"]


def test_a_word_that_knobs_does_not_know(schedtuna):
    done = schedtuna("knobs", "lst")
    assert (done.returncode, "knobs list" in done.stderr) == (2, True)
    assert schedtuna("knobs").stdout == schedtuna("knobs", "list").stdout


def test_a_process_that_ended_leaves_nothing_to_undo(schedtuna):
    with subprocess.Popen(["sleep", "600"]) as process:
        assert schedtuna("apply", "fair:nice=5", "--pid", process.pid).returncode == 0
        assert Path(f"/proc/{process.pid}").exists()
        process.kill()
    done = schedtuna("undo", "--json")
    assert {change["result"] for change in json.loads(done.stdout)["changes"]} == {"gone"}
