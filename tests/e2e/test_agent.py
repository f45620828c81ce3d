"""`schedtuna agent` as a user types it, on threads of the test's own."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.commands import run_schedtuna

from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.registry import knob_named

RULES = """
[[rule]]
name = "test"
intervals = 1
match = { comm = "%s" }
set = { nice = 7 }
reason = "the test wants it"
"""
COMM = f"hog-{os.getpid()}"[:15]
HOG = f"import ctypes; ctypes.CDLL(None).prctl(15, b'{COMM}', 0, 0, 0)\nwhile True: pass"


@pytest.fixture
def hog():
    process = subprocess.Popen([sys.executable, "-c", HOG])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def state(tmp_path):
    return {**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(RULES % COMM)
    return f"rules:{path}"


@pytest.fixture
def agent(state, rules, hog):
    """An agent that runs, and whatever became of it is over afterwards."""
    argv = [sys.executable, "-m", "schedtuna", "agent", "run", "--no-guard", "--interval", "0.2"]
    argv += ["--policy", rules, "--only", f"pid={hog.pid}"]
    process = subprocess.Popen(argv, env=state, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


@contextlib.contextmanager
def machine_locked():
    """Keep the tests of other checkouts on this machine away from its settings meanwhile."""
    with open("/tmp/schedtuna-tests.lock", "w") as file:  # noqa: PTH123 - one for all checkouts
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def nice(process):
    return os.getpriority(os.PRIO_PROCESS, process.pid)


def until(condition, within_s=60):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def run(state, *arguments):
    return run_schedtuna(*arguments, env=state, timeout=120)


def test_advice_changes_nothing(state, rules, hog):
    options = ("--interval", "0.2", "--for", "3s", "--only", f"pid={hog.pid}", "--json")
    done = run(state, "agent", "run", "--advise", "--policy", rules, *options)
    assert done.returncode == 0, done.stderr
    (advice,) = json.loads(done.stdout)["advice"]
    assert f"nice of {COMM} ({hog.pid}): 0 -> 7, because the test wants it" in advice
    assert "expected effect: unknown" in advice
    assert nice(hog) == 0


@needs_root
def test_it_acts_explains_and_puts_back(state, hog, agent):
    until(lambda: nice(hog) == 7)
    said = json.loads(run(state, "agent", "status", "--json").stdout)
    (one,) = said["standing"]
    assert (one["tid"], one["setting"], one["found"], one["value"]) == (hog.pid, "nice", 0, 7)
    told = run(state, "agent", "why", hog.pid).stdout
    assert "nice 7" in told.splitlines()[0]
    assert f"made {one['id']} nice of {COMM} ({hog.pid}): 0 -> 7, because the test wants it" in told
    assert "cpu_percent" in told
    assert json.loads(run(state, "agent", "why", one["id"], "--json").stdout)["rows"][0]["chosen"] == 7
    agent.send_signal(signal.SIGTERM)
    out, _ = agent.communicate(timeout=60)
    assert agent.returncode == 0
    assert nice(hog) == 0
    assert "made 1 changes, put 1 back" in out
    kinds = [
        json.loads(line)["kind"] for line in run(state, "agent", "log", "--json-lines").stdout.splitlines()
    ]
    assert kinds[0] == "start"
    assert kinds[-1] == "stop"
    assert {"decision", "undo", "snapshot"} <= set(kinds)


@needs_root
def test_one_change_is_put_back_and_left_alone(state, hog, agent):
    until(lambda: nice(hog) == 7)
    done = run(state, "undo", hog.pid)
    assert done.returncode == 0, done.stderr
    assert nice(hog) == 0
    before = json.loads(run(state, "agent", "status", "--json").stdout)["counts"]["intervals"]
    until(
        lambda: json.loads(run(state, "agent", "status", "--json").stdout)["counts"]["intervals"] > before + 2
    )
    assert nice(hog) == 0


@needs_root
def test_it_yields_to_who_sets_the_same(state, hog, agent):
    until(lambda: nice(hog) == 7)
    os.setpriority(os.PRIO_PROCESS, hog.pid, 3)
    until(lambda: json.loads(run(state, "agent", "status", "--json").stdout)["counts"]["yielded"] == 1)
    agent.send_signal(signal.SIGINT)
    agent.communicate(timeout=60)
    assert nice(hog) == 3


@needs_root
def test_what_a_killed_agent_has_changed_is_put_back_without_a_hand(state, hog, agent, tmp_path):
    until(lambda: nice(hog) == 7)
    agent.kill()
    agent.wait()
    until(lambda: nice(hog) == 0)
    until(lambda: (tmp_path / "state/journal.jsonl").read_text() == "")


@needs_root
def test_a_second_agent_is_refused(state, hog, agent):
    until(lambda: nice(hog) == 7)
    done = run(state, "agent", "run", "--for", "1s")
    assert done.returncode == 1
    assert f"an agent runs already: process {agent.pid}" in done.stderr


@needs_root
def test_a_reload_with_a_mistake_leaves_all_as_it_was(state, hog, agent, tmp_path):
    until(lambda: nice(hog) == 7)
    (tmp_path / "rules.toml").write_text("rule = 3")
    agent.send_signal(signal.SIGHUP)
    until(lambda: "not reloaded" in agent.stderr.readline())
    (tmp_path / "rules.toml").write_text("version = 1")
    agent.send_signal(signal.SIGHUP)
    until(lambda: nice(hog) == 0)  # no rule is left that wants it


@needs_root
def test_a_journal_that_cant_be_trusted_is_not_written_to(state, rules, hog, tmp_path):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    (folder / "journal.jsonl").write_text("nonsense\n")
    (folder / "journal.jsonl").chmod(0o600)
    done = run(state, "agent", "run", "--for", "2s", "--policy", rules, "--only", f"pid={hog.pid}")
    assert done.returncode == 1
    assert "not a record of a change" in done.stderr
    assert nice(hog) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--policy", "rulez"], "did you mean rules"),
        (["run", "--policy", "rules:/nowhere.toml"], "/nowhere.toml"),
        (["run", "--interval", "0.01"], "expected 0.1s to 60s"),
        (["run", "--only", "user=me"], "expected cgroup=PATH"),
        (["run", "--only", "pid=99999999"], "no process"),
        (["run", "--slo", "p99<="], "no objective"),
        (["why", "nobody"], "says nothing of nobody"),
        (["check-config", "--config", "/nowhere.toml"], "/nowhere.toml"),
    ],
)
def test_a_mistake_is_told_before_anything_is_done(state, arguments, message):
    done = run(state, "agent", *arguments)
    assert done.returncode in (1, 2)
    assert message in done.stderr


def test_without_an_agent_there_is_no_status(state):
    done = run(state, "agent", "status")
    assert done.returncode == 3
    assert "no agent runs here" in done.stderr


def test_settings_are_held_while_a_command_lives(state):
    done = run(state, "agent", "hold", "nice=5", "--", "sh", "-c", "cut -d' ' -f19 /proc/self/stat; exit 3")
    assert done.returncode == 3, done.stderr
    assert done.stdout == "5\n"


@needs_root
def test_what_is_held_goes_when_the_command_crashes_and_when_the_holder_is_killed(state, tmp_path):
    path = Path("/proc/sys/kernel/sched_rr_timeslice_ms")
    setting = "rr_timeslice_ms=42"
    before = path.read_text()
    if not knob_named("rr_timeslice_ms").probe(Target(Scope.MACHINE)).ok:
        pytest.skip("the sysctl can't be set here")
    with machine_locked():
        crash = f"cat {path}; kill -SEGV $$"
        done = run(state, "agent", "hold", setting, "--", "sh", "-c", crash)
        assert done.stdout == "42\n"
        assert done.returncode == 128 + signal.SIGSEGV
        assert path.read_text() == before
        argv = [sys.executable, "-m", "schedtuna", "agent", "hold", setting, "--", "sleep", "60"]
        with subprocess.Popen(argv, env=state) as holder:
            until(lambda: path.read_text() == "42\n")
            holder.kill()
        until(lambda: path.read_text() == before)
        until(lambda: (tmp_path / "state/journal.jsonl").read_text() == "")


def test_the_unit_ends_with_an_undo_and_has_few_privileges(state):
    done = run(state, "agent", "install", "--print")
    if done.returncode == 3:
        pytest.skip(done.stderr)  # others can write where the tests run
    for line in ("Type=notify", "WatchdogSec=180", "KillMode=mixed", "NoNewPrivileges=yes"):
        assert line in done.stdout.splitlines()
    assert "undo --killed" in done.stdout
    if shutil.which("systemd-analyze"):
        unit = Path(state["SCHEDTUNA_STATE_DIR"]).parent / "schedtuna-agent.service"
        unit.write_text(done.stdout)
        checked = subprocess.run(
            ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
        )
        assert "Unknown key" not in checked.stderr
        assert checked.returncode == 0, checked.stderr


@needs_root
def test_a_unit_is_installed_elsewhere_and_undone(state, tmp_path):
    root = tmp_path / "root"
    root.mkdir(mode=0o755)
    done = run(state, "agent", "install", "--root", root)
    if done.returncode == 3:
        pytest.skip(done.stderr)
    unit = root / "etc/systemd/system/schedtuna-agent.service"
    assert "agent run" in unit.read_text()
    assert run(state, "undo", "--killed").returncode == 0
    assert unit.exists()
    assert run(state, "undo").returncode == 0
    assert not unit.exists()


STORM = f"""
import ctypes, os, time
ctypes.CDLL(None).prctl(15, b'{COMM}', 0, 0, 0)
while True:
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0:
            time.sleep(0.3)  # outlives its parent
        os._exit(0)
    os.waitpid(pid, 0)
    sum(range(20_000))
"""


def values_of(comm):
    """The nice values of all processes of a name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "comm").read_text().strip() == comm:
                found.append(os.getpriority(os.PRIO_PROCESS, int(folder.name)))
    return found


@needs_root
def test_a_fork_storm_of_heirs_is_put_back(state, rules):
    with subprocess.Popen([sys.executable, "-c", STORM]) as storm:
        argv = [sys.executable, "-m", "schedtuna", "agent", "run", "--no-guard", "--interval", "0.2"]
        argv += ["--policy", rules, "--only", f"pid={storm.pid}"]
        with subprocess.Popen(
            argv, env=state, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as run_:
            until(lambda: nice(storm) == 7)
            until(lambda: values_of(COMM).count(7) > 2)
            run_.send_signal(signal.SIGTERM)
            out, error = run_.communicate(timeout=60)
        until(lambda: set(values_of(COMM)) == {0})
        storm.kill()
    assert run_.returncode == 0, error
    assert "could not put back" not in out
    assert (Path(state["SCHEDTUNA_STATE_DIR"]) / "journal.jsonl").read_text() == ""
