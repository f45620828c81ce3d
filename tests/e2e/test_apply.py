"""`schedtuna apply` as a user types it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.commands import run_schedtuna

from schedtuna.scheduler.fair import unavailable

SHOW = "import os; print(os.getpriority(0, 0), os.sched_getscheduler(0) == os.SCHED_BATCH)"


@pytest.fixture
def schedtuna(tmp_path):
    def run(*arguments):
        return run_schedtuna(
            *arguments,
            env={**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state"), **environment},
            timeout=60,
        )

    environment: dict[str, str] = {}
    run.environment = environment  # type: ignore[attr-defined] # what a test adds to it
    return run


def test_the_command_runs_under_the_settings_and_its_exit_code_is_ours(schedtuna):
    done = schedtuna("apply", "fair:nice=7,policy=batch", "--", sys.executable, "-c", SHOW + "; exit(3)")
    assert (done.stdout.split(), done.returncode) == (["7", "True"], 3)


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel has no autogroups")
def test_the_session_of_the_command_can_be_weighed(schedtuna):
    if Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() != "1":
        pytest.skip("autogroup is off")
    done = schedtuna("apply", "fair:autogroup_nice=5", "--", "cat", "/proc/self/autogroup")
    assert done.stdout.split()[-2:] == ["nice", "5"], done.stderr


def test_a_study_without_a_gain_changes_nothing(schedtuna, tmp_path):
    best = {"scheduler": "fair", "parameters": {}, "verdict": "no_evidence", "command": ["true"]}
    (tmp_path / "best_parameters.json").write_text(json.dumps(best))
    done = schedtuna("apply", tmp_path, "--", sys.executable, "-c", SHOW)
    assert done.stdout.split() == [str(os.getpriority(os.PRIO_PROCESS, 0)), "False"]
    assert "default" in done.stderr


def test_a_study_with_a_gain_is_applied(schedtuna, tmp_path):
    best = {"scheduler": "fair", "parameters": {"nice": 4}, "verdict": "improved", "command": ["true"]}
    (tmp_path / "best_parameters.json").write_text(json.dumps(best))
    done = schedtuna("apply", tmp_path, "--", sys.executable, "-c", SHOW)
    assert done.stdout.split()[0] == "4"


def test_nothing_is_left_to_undo(schedtuna, tmp_path):
    schedtuna("apply", "fair:nice=7", "--", "true")
    done = schedtuna("apply", "fair:nice=6", "--", sys.executable, "-c", SHOW)
    assert done.stdout.split()[0] == "6"
    assert "killed" not in done.stderr


def test_a_terminated_apply_ends_the_command_and_reports_its_end(tmp_path):
    arguments = [
        sys.executable,
        "-m",
        "schedtuna",
        "apply",
        "fair:nice=3",
        "--",
        "sh",
        "-c",
        "echo up; sleep 60",
    ]
    process = subprocess.Popen(
        arguments,
        env={**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.terminate()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    process.stdout.close()


def test_an_unprivileged_user_needs_not_go_back(tmp_path):
    nobody_special = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if subprocess.run([*nobody_special, "true"], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces can't be made here")
    apply = [sys.executable, "-m", "schedtuna", "apply", "fair:nice=5", "--", sys.executable, "-c", SHOW]
    done = subprocess.run(
        [*nobody_special, *apply],
        env={**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.split()[:1]) == (0, ["5"]), done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fair:nic=7", "--", "true"], 2, "did you mean nice"),
        (["fair:nice=70", "--", "true"], 2, "out of bounds"),
        (["fare:nice=7", "--", "true"], 2, "did you mean fair"),
        (["no/such/study", "--", "true"], 2, "no/such/study"),
        (["fair:nice=7", "--", "no-such-command"], 1, "no-such-command"),
        (["fair:nice=7"], 2, "no command"),
    ],
)
def test_bad_input_is_explained(schedtuna, arguments, code, words):
    done = schedtuna("apply", *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_knob_that_is_not_to_be_had_here_is_refused_with_the_reason(schedtuna):
    missing = unavailable()
    if not missing:
        pytest.skip("every knob is to be had here")
    name, reason = next(iter(missing.items()))
    done = schedtuna("apply", f"fair:{name}=1", "--", "true")
    assert done.returncode == 3
    assert f"{name} can't be changed here: {reason}" in done.stderr


@pytest.fixture
def program(tmp_path):
    """A registered scheduler's name; nothing of it is run by an installation."""
    if os.geteuid() != 0:
        pytest.skip("needs root: others could write the program's folder")
    folder = Path("/root" if os.access("/root", os.W_OK) else tmp_path)
    path = Path(tempfile.mkdtemp(dir=folder)) / "scx_simple"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    yield path
    shutil.rmtree(path.parent)


def test_a_scheduler_is_installed_across_reboots_and_undone(schedtuna, tmp_path, program):
    schedtuna.environment["SCHEDTUNA_SCX_PATH"] = str(program.parent)
    root = tmp_path / "other"
    done = schedtuna("apply", "--system", "scx_simple:fifo=true", "--root", root)
    assert done.returncode == 0, done.stderr
    (unit,) = (root / "etc/systemd/system").iterdir()
    assert f"ExecStart={program} -f\n" in unit.read_text()
    assert str(unit) in done.stdout
    assert f"systemctl --root={root} enable" in done.stdout
    # A run that comes later does not take it for something that was left behind.
    later = schedtuna("apply", "fair:nice=7", "--", "true")
    assert (later.returncode, unit.exists()) == (0, True), later.stderr
    undone = schedtuna("undo")
    assert f"{unit}: removed" in undone.stdout
    assert not unit.exists()


def test_a_program_that_others_can_write_is_not_installed(schedtuna, tmp_path, program):
    schedtuna.environment["SCHEDTUNA_SCX_PATH"] = str(program.parent)
    program.chmod(0o777)
    done = schedtuna("apply", "--system", "scx_simple", "--root", tmp_path / "other")
    assert done.returncode == 3
    assert "can be written by others" in done.stderr
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--system", "fair:nice=5"], "kernel's own scheduler"),
        (["--system", "scx_simple", "--", "true"], "takes no command"),
        (["scx_simple", "--print-unit"], "whole machine"),
        (["fair:nice=5", "--root", "/x", "--", "true"], "--root needs --system"),
        (["--system", "scx_absent"], "unknown scheduler"),
    ],
)
def test_what_can_not_be_installed_is_refused(schedtuna, arguments, message):
    done = schedtuna("apply", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.skipif(Path("/sys/kernel/sched_ext").is_dir(), reason="this kernel has sched_ext")
def test_without_sched_ext_a_scheduler_is_refused_before_the_command_runs(schedtuna, tmp_path):
    done = schedtuna("apply", "scx_simple", "--", "touch", tmp_path / "ran")
    assert done.returncode == 3
    assert "no sched_ext" in done.stderr
    assert not (tmp_path / "ran").exists()
