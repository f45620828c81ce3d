"""Does `undo` lose nothing where it sees less than who made the change: namespaces, a read-only folder?"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

UNSHARE = {
    "pid": ["--fork", "--pid", "--mount-proc", "--kill-child"],
    "time": ["--fork", "--time", "--boottime", "1000"],
    "user": ["--user", "--map-root-user"],
    "cgroup": ["--cgroup"],
    "mnt": ["--mount"],
}
# Renices a child of its own and dies without putting it back; the child says who it is, and goes on.
CHANGE = """
import os, signal, subprocess
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.session import Changes
child = subprocess.Popen(["sleep", "600"])
Changes(Target(Scope.PID, pid=child.pid), Journal()).apply({"nice": 7})
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def namespace(*kinds):
    options = [option for kind in kinds for option in UNSHARE[kind]]
    argv = ["unshare", *options, "true"]
    try:
        tried = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("unshare (util-linux) is not installed")
    if tried.returncode:
        pytest.skip(f"no such namespace can be made here: {tried.stderr.strip()}")
    return argv[:-1]


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def undo(*options, inside=()):
    argv = [*inside, sys.executable, "-m", "schedtuna", "undo", "--json", *options]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout)["changes"] if done.stdout else done.stderr


@pytest.fixture
def reniced(state):
    """A process that a killed run has reniced, whose name is its number here."""
    with subprocess.Popen([sys.executable, "-c", CHANGE], stdout=subprocess.PIPE, text=True) as changer:
        sleeper = int(changer.stdout.readline())
        yield sleeper
        os.kill(sleeper, signal.SIGKILL)


@pytest.mark.parametrize("kind", ["pid", "time"])
def test_who_can_not_know_the_process_keeps_the_record_and_says_where_to_go(reniced, state, kind):
    code, (change,) = undo(inside=namespace(kind))
    assert (code, change["result"], change["closed"]) == (1, "elsewhere", False)
    assert f"made in another {'PID' if kind == 'pid' else 'time'} namespace" in change["reason"]
    assert os.getpriority(os.PRIO_PROCESS, reniced) == 7
    code, (change,) = undo()
    assert (code, change["result"]) == (0, "restored")
    assert os.getpriority(os.PRIO_PROCESS, reniced) == 0


def test_what_a_container_changed_is_undone_in_it_and_is_gone_with_it(state):
    """Its own first process lives on, so that the namespace does."""
    argv = [*namespace("pid"), "sh", "-c", 'python=$1; "$python" -c "$2"; exec sleep 600', "sh"]
    with subprocess.Popen([*argv, sys.executable, CHANGE], stdout=subprocess.PIPE, text=True) as container:
        try:
            inside = container.stdout.readline().strip()
            code, (change,) = undo()
            assert (code, change["result"]) == (1, "elsewhere")
            enter = change["reason"].partition("run `schedtuna undo` there: ")[2].split(" schedtuna undo")[0]
            assert enter.startswith("nsenter --target ")
            assert "--pid" in enter
            [(_, foreseen)] = [undo("--dry-run", inside=enter.split())]
            assert foreseen[0]["result"] == "would_restore"
            renice = [*enter.split(), "ps", "-o", "ni=", "-p", inside]
            assert subprocess.run(renice, capture_output=True, text=True, check=True).stdout.split() == ["7"]
        finally:
            container.kill()
            container.communicate()
    deadline = time.monotonic() + 60
    while Path("/proc", enter.split()[2]).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    code, (change,) = undo()
    assert (code, change["result"]) == (0, "gone"), change["reason"]


def test_force_takes_what_is_not_here_to_be_gone(reniced):
    code, (change,) = undo("--force", inside=namespace("pid"))
    assert (code, change["result"]) == (0, "gone")
    assert undo() == (0, [])


def test_what_may_not_be_put_back_in_a_user_namespace_stays(reniced):
    if os.geteuid() != 0:
        pytest.skip("an unprivileged user may not lower a nice value anywhere")
    code, (change,) = undo(inside=namespace("user"))
    assert (code, change["result"], change["closed"]) == (1, "failed", False)
    code, (change,) = undo()
    assert (code, change["result"]) == (0, "restored")


def test_a_file_that_another_mount_namespace_does_not_have_is_not_taken_for_gone(tmp_path, state):
    root = tmp_path / "root"
    install = (
        "import sys\nfrom pathlib import Path\nfrom schedtuna.knobs.journal import Journal\n"
        "from schedtuna.knobs.unit import SystemUnit\n"
        "print(SystemUnit().install('[Unit]\\n', Journal(), root=Path(sys.argv[1])))"
    )
    path = Path(subprocess.check_output([sys.executable, "-c", install, root], text=True).strip())
    code, (change,) = undo(
        inside=[*namespace("mnt"), "sh", "-c", f'mount -t tmpfs none {root} && exec "$@"', "-"]
    )
    assert (code, change["result"]) == (1, "elsewhere")
    assert "made in another mount namespace" in change["reason"]
    assert path.read_text() == "[Unit]\n"
    code, (change,) = undo(inside=[*namespace("mnt")])  # one that has it
    assert (code, change["result"]) == (0, "restored")
    assert not path.exists()


def test_a_proc_of_another_namespace_is_refused(reniced):
    inside = [option for option in namespace("pid") if option != "--mount-proc"]
    code, message = undo(inside=inside)
    assert code == 1
    assert "/proc shows the processes of another PID namespace" in message
    assert undo()[1][0]["result"] == "restored"


def test_a_read_only_folder_puts_back_what_it_can_and_says_that_records_stay_open(reniced, state):
    script = f'mount --bind {state} {state} && mount -o remount,bind,ro {state} && exec "$@"'
    read_only = [*namespace("mnt"), "sh", "-c", script, "-"]
    code, (change,) = undo(inside=read_only)
    assert (code, change["result"], change["closed"]) == (1, "restored", False)
    assert os.getpriority(os.PRIO_PROCESS, reniced) == 0
    argv = [*read_only, sys.executable, "-m", "schedtuna", "undo"]
    shown = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr) == (1, "")
    assert "the records stay open" in shown.stdout
    assert "Read-only file system" in shown.stdout
    code, (change,) = undo()
    assert (code, change["result"], change["closed"]) == (0, "restored", True)
    assert undo() == (0, [])
    assert Path(state / "journal.jsonl").read_text() == ""


CLAIMING = """
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.claims import claimed
with claimed(Target(Scope.MACHINE)):
    print("claimed", flush=True)
    input()
"""


def test_a_claim_from_another_pid_namespace_holds_until_that_has_ended(state):
    """In both directions: from out here, and from inside of a third one."""
    looking = "from schedtuna.knobs import base, claims; claims.require_free(base.Target(base.Scope.MACHINE))"
    look = [sys.executable, "-c", looking]
    argv = [*namespace("pid"), sys.executable, "-c", CLAIMING]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as container:
        assert container.stdout.readline() == "claimed\n"
        for inside in ([], namespace("pid")):
            done = subprocess.run([*inside, *look], capture_output=True, text=True, check=False)
            assert "of another namespace is, or may be, at work on settings of the whole" in done.stderr
        container.kill()
    deadline = time.monotonic() + 30  # what is in the namespace ends a moment after who made it
    while (done := subprocess.run(look, capture_output=True, text=True, check=False)).returncode:
        assert time.monotonic() < deadline, done.stderr
