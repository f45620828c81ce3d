"""What is tuned, where that outlives the command: nobody else's settings are taken for the default."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.claims import claimed

ENDLESS = ("sleep", "250")  # until its run is ended


@pytest.fixture
def service():
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def schedtuna(tmp_path):
    environment = {**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "schedtuna", *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def niced(pid):
    return lambda: os.getpriority(os.PRIO_PROCESS, pid) == 5


def test_a_second_run_on_the_same_service_is_refused(schedtuna, service, tmp_path):
    first = schedtuna("compare", "--pid", service, "default", "fair:nice=5", "--", *ENDLESS)
    wait_until(lambda: len(list((tmp_path / "results").glob("*/trials.jsonl"))) == 1)
    for command in (["tune"], ["variability"], ["compare", "default", "default"]):
        second = schedtuna(command[0], "--pid", service, *command[1:], "--", "true")
        said = second.communicate(timeout=60)[1]
        assert second.returncode == 1
        assert f"process {first.pid} is at work on process {service}" in said
    machine = schedtuna("compare", "--scope", "machine", "default", "default", "--", "true")
    assert f"process {first.pid} is at work" in machine.communicate(timeout=60)[1]
    assert len(list((tmp_path / "results").iterdir())) == 1
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert os.getpriority(os.PRIO_PROCESS, service) == 0
    third = schedtuna("variability", "--pid", service, "-n", 1, "--", "true")
    assert third.communicate(timeout=60) and third.returncode == 0


@pytest.mark.parametrize("command", [["tune"], ["variability"], ["compare", "default", "default"]])
def test_a_guest_is_another_target_than_this_machine(schedtuna, tmp_path, command):
    with claimed(Target(Scope.MACHINE), tmp_path / "state"):
        here = schedtuna(*command, "--", "true")
        assert "settings of the whole machine" in here.communicate(timeout=60)[1]
        guest = schedtuna(*command, "--backend", "vm", "--kernel", "no-such-kernel", "--", "true")
        said = guest.communicate(timeout=60)[1]
    assert guest.returncode != 0
    assert "settings of the whole machine" not in said
    assert "error: " in said


def test_what_a_killed_run_has_left_is_not_the_default(schedtuna, service, tmp_path):
    killed = schedtuna("variability", "--pid", service, "-S", "fair:nice=5", "--", *ENDLESS)
    wait_until(niced(service))
    killed.kill()
    killed.communicate(timeout=60)
    assert niced(service)()
    again = schedtuna("tune", "--pid", service, "--episodes", 3, "--sampler", "random", "--", "true")
    said = again.communicate(timeout=120)[1]
    assert "an earlier run was killed; what it had changed was put back first: nice" in said
    (plan,) = (tmp_path / "results").glob("fair_random_3ep_*/study.json")
    assert json.loads(plan.read_text())["scheduler"]["parameters"]["nice"]["default"] == 0


@pytest.mark.parametrize("command", [["tune"], ["variability"], ["compare", "default", "fair:nice=5"]])
def test_what_a_run_is_part_of_is_tuned_on_purpose_only(schedtuna, tmp_path, command):
    for pid, reason in ((1, "process 1 is init"), (os.getpid(), "this run descends from")):
        refused = schedtuna(command[0], "--pid", pid, *command[1:], "--", "true")
        said = refused.communicate(timeout=60)[1]
        assert (refused.returncode, reason in said, "--force" in said) == (2, True, True)
    assert not (tmp_path / "results").exists()


def test_force_tunes_even_that(schedtuna):
    before = os.getpriority(os.PRIO_PROCESS, 0)
    forced = schedtuna(
        "variability", "--pid", os.getpid(), "--force", "-S", f"fair:nice={before + 1}", "-n", 1, "--",
        "sh", "-c", f"nice | grep -x {before + 1}",
    )  # fmt: skip
    assert forced.communicate(timeout=60)[1] is not None and forced.returncode == 0
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
