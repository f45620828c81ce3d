"""A guest that stays: the session of docs/lab.md, as it stands there, and what may befall such a guest."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.commands import run_schedtuna
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.machine.tasks import descendants
from schedtuna.scheduler.probe import installed

ROOT = Path(__file__).parents[2]
SESSION = re.search(
    r"^## A guest that stays$.*?((?:^    [^\n]+\n)+)",
    (ROOT / "docs/lab.md").read_text(),
    re.MULTILINE | re.DOTALL,
)
WITHIN_S = 600


@pytest.fixture
def schedtuna(tmp_path):
    """Runs a command in a folder of its own, with a state folder of its own."""
    own = {"SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    def run(*argv):
        return run_schedtuna(*argv, env={**os.environ, **own}, cwd=tmp_path, timeout=WITHIN_S)

    yield run
    run("lab", "stop", "--all")


def guest(schedtuna):
    (found,) = json.loads(schedtuna("lab", "list", "--json").stdout)["guests"]
    return found


def commands():
    assert SESSION is not None
    for line in SESSION[1].splitlines():
        argv = shlex.split(line)
        if all(word in installed() for word in argv if word in ("scx_bpfland", "scx_tuna")):
            yield argv


def test_the_session_of_the_documents(schedtuna, tmp_path):
    """An own scheduler is tried, another takes its place, and nothing of the guest is left."""
    lab_or_skip()
    if shutil.which("clang") is None:
        pytest.skip("no clang")
    said = {}
    for argv in commands():
        if argv[0] == "clang":
            subprocess.run(argv, cwd=tmp_path, check=True)
            continue
        done = schedtuna(*argv[1:])
        assert done.returncode == 0, (argv, done.stderr)
        said[" ".join(argv[1:3])] = done.stdout
        if argv[1:3] == ["lab", "start"]:
            qemu = [pid for pid in descendants(guest(schedtuna)["pid"]) if pid != guest(schedtuna)["pid"]]
            assert len(qemu) == 1
            _told_where_it_is_named(schedtuna)
            _one_command_at_a_time(schedtuna, tmp_path)
    assert said["schedulers start"] == "own_fifo is in charge, as own_fifo\n"
    assert "started by: schedtuna" in said["schedulers status"]
    assert "Time:" in said["lab run"] or (tmp_path / "in-charge").exists()
    in_charge = (tmp_path / "in-charge").read_text()
    assert in_charge.startswith("bpfland" if "scx_bpfland" in installed() else "own_fifo")
    if "scx_tuna" in installed():
        assert said["schedulers set"].startswith("slice_us is 20000\nsticky_cpu is true\n")
        assert "ineffective: sticky_cpu: there is one CPU" in said["schedulers set"]
        assert "\nin force: version 3, for " in said["schedulers set"]
    assert re.search(r"^trial +up ", said["lab list"], re.MULTILINE)
    assert said["lab stop"] == "guest trial is stopped\n"
    with pytest.raises(ProcessLookupError):
        os.kill(qemu[0], 0)
    assert [path.name for path in (tmp_path / "state/guests").iterdir()] == [".lock"]


def _told_where_it_is_named(schedtuna):
    taken = schedtuna("lab", "start", "trial")
    assert (taken.returncode, "is there already" in taken.stderr) == (2, True)
    assert "guest trial is up" in schedtuna("undo").stdout
    state = json.loads(schedtuna("schedulers", "status", "--in", "trial", "--json").stdout)
    assert (state["state"], state["ops"]) == ("disabled", "")
    assert json.loads(schedtuna("schedulers", "stop", "--in", "trial", "--json").stdout) == {"stopped": ""}
    missing = schedtuna("lab", "run", "--in", "trial", "--", "nonesuch")
    assert (missing.returncode, "has no command nonesuch" in missing.stderr) == (2, True)
    assert schedtuna("lab", "run", "--in", "trial", "--timeout", "1s", "--", "sleep", "99").returncode == 1
    done = schedtuna("lab", "run", "--in", "trial", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)
    much = schedtuna("lab", "run", "--in", "trial", "--", "sh", "-c", "seq 99999; seq 99999 >&2")
    assert much.stdout == much.stderr == "".join(f"{number}\n" for number in range(1, 100000))


def _one_command_at_a_time(schedtuna, tmp_path):
    """Another is told who is in; one that is killed takes along what it has started."""
    argv = [sys.executable, "-m", "schedtuna", "lab", "run", "--in", "trial", "--", "sleep", "9999"]
    environment = {**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}
    with subprocess.Popen(argv, env=environment, cwd=tmp_path) as first:
        _until(lambda: guest(schedtuna)["state"] == "in use")
        second = schedtuna("schedulers", "status", "--in", "trial")
        assert second.returncode == 1
        assert f"in use by schedtuna lab run --in trial -- sleep 9999 (process {first.pid})" in second.stderr
        first.send_signal(signal.SIGKILL)
    _until(lambda: guest(schedtuna)["state"] == "up")
    left = schedtuna("lab", "run", "--in", "trial", "--", "sh", "-c", "ps | grep '[s]leep 9999'")
    assert (left.stdout, left.returncode) == ("", 1)


def _until(condition):
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.long
def test_a_keeper_that_is_killed_leaves_no_qemu_and_is_told(schedtuna):
    lab_or_skip()
    assert schedtuna("lab", "start", "trial", "--cpus", "1").returncode == 0
    keeper = guest(schedtuna)["pid"]
    pids = descendants(keeper)
    os.kill(keeper, signal.SIGKILL)
    for pid in pids:
        _until(lambda pid=pid: not Path(f"/proc/{pid}/cmdline").exists() or not _runs(pid))
    assert "was killed, and QEMU with it" in guest(schedtuna)["gone"]
    refused = schedtuna("lab", "run", "--in", "trial", "--", "true")
    assert (refused.returncode, "hint: schedtuna lab start trial" in refused.stderr) == (1, True)


def _runs(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.long
def test_a_guest_that_powers_off_inside_says_so(schedtuna):
    lab_or_skip()
    assert schedtuna("lab", "start", "trial", "--cpus", "1").returncode == 0
    assert schedtuna("lab", "run", "--in", "trial", "--", "poweroff", "-f").returncode == 1
    _until(lambda: guest(schedtuna)["state"] == "gone")
    assert guest(schedtuna)["gone"].startswith("it died, or was powered off inside")


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["lab", "start", "a b"], 2, "can't be called"),
        (["lab", "stop"], 2, "or --all"),
        (["lab", "stop", "none"], 2, "no guest is called 'none'"),
        (["lab", "run", "--in", "none", "--", "true"], 2, "hint: schedtuna lab start none"),
        (["lab", "run", "--in", "none", "--cpus", "2", "--", "true"], 2, "one that boots"),
        (["lab", "shell", "--in", "none", "--memory", "512"], 2, "one that boots"),
        (["schedulers", "stop", "--in", "none"], 2, "no guest is called"),
        (["schedulers", "start", "scx_simple", "--in", "none"], 2, "no guest is called"),
    ],
)
def test_what_can_not_be_had_is_refused(schedtuna, argv, code, message):
    lab_or_skip()
    done = schedtuna(*argv)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr


def test_a_machine_without_sched_ext_leads_to_a_guest(schedtuna):
    if Path("/sys/kernel/sched_ext").exists():
        pytest.skip("this kernel has sched_ext")
    done = schedtuna("schedulers", "status")
    assert (done.returncode, "`schedtuna lab start trial`" in done.stderr) == (3, True)
