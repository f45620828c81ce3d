"""What another user's command gets of the caller: no variable, privilege, descriptor or key."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.errors import MetricError, UsageError, WorkloadError
from schedtuna.workload import identity
from schedtuna.workload.command import RawRun, check, run, start
from schedtuna.workload.identity import environment, user_environment
from schedtuna.workload.metrics import parse_metric, read_metrics
from schedtuna.workload.spec import Workload

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
OF_THE_CALLER = {
    "SUDO_USER": "root",
    "SUDO_COMMAND": "x",
    "LD_LIBRARY_PATH": "/nowhere",
    "LD_PRELOADED": "x",
    "PYTHONPATH": "/nowhere",
    "PERL5LIB": "/nowhere",
    "XDG_RUNTIME_DIR": "/run/user/0",
    "SSH_AUTH_SOCK": "/nowhere",
    "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere",
    "GITHUB_TOKEN": "secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "BASH_ENV": "/nowhere",
    "IFS": "x",
    "SCHEDTUNA_STATE_DIR": "/nowhere",
    "LCX": "x",
}
KEPT = {"LANG": "C.UTF-8", "LC_TIME": "C", "LANGUAGE": "en", "TERM": "dumb", "TZ": "UTC"}


def as_nobody(*argv: str, **options) -> RawRun:
    raw = run(Workload(argv=argv, user="nobody", **options), 7)
    assert raw.exit_code == 0, raw.stderr
    return raw


def python(program: str, *argv: str, **options) -> str:
    """Run a program of Python's as nobody, with an interpreter that it can reach."""
    interpreter = shutil.which("python3", path="/usr/bin:/bin")
    if interpreter is None:
        pytest.skip("the system has no Python that nobody could run")
    return as_nobody(interpreter, "-I", "-S", "-c", program, *argv, **options).stdout


@pytest.fixture
def folder():
    """A folder that others may enter, which pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def test_a_users_environment_is_what_a_login_begins_with(monkeypatch, tmp_path):
    defs = tmp_path / "login.defs"
    lines = [
        "# ENV_PATH PATH=/no",
        "ENV_SUPATH\tPATH=/sbin:/bin",
        "ENV_PATH   PATH=/opt/bin:/bin ",
        "UMASK 022",
    ]
    defs.write_text("\n".join(lines))
    monkeypatch.setattr(identity, "LOGIN_DEFS", defs)
    found = user_environment("nobody", OF_THE_CALLER | KEPT | {"HOME": "/root", "PATH": "/root/bin"})
    assert found.pop("SHELL").startswith("/")
    assert (found.pop("HOME"), found.pop("PATH")) == ("/nonexistent", "/opt/bin:/bin")
    assert found == KEPT | {"USER": "nobody", "LOGNAME": "nobody"}
    assert user_environment("root", {})["PATH"] == "/sbin:/bin"
    monkeypatch.setattr(identity, "LOGIN_DEFS", tmp_path / "none")
    assert user_environment("nobody", {})["PATH"] == "/usr/local/bin:/usr/bin:/bin"


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_no_variable_goes_along_that_the_table_does_not_name(callers):
    own = {"HOME", "USER", "LOGNAME", "SHELL", "PATH"}
    for name, value in user_environment("nobody", callers).items():
        if name not in own:
            assert name in ("LANG", "LANGUAGE", "TERM", "TZ") or name.startswith("LC_")
            assert callers[name] == value


def test_without_a_user_the_environment_is_the_callers(monkeypatch):
    monkeypatch.setenv("GITHUB_TOKEN", "mine")
    found = environment(Workload(argv=("true",), environment={"A": "b"}), 3)
    assert found == {**os.environ, "A": "b", "SCHEDTUNA_SEED": "3"}


@pytest.mark.parametrize("user", ["no-such-user", "a\0b", "\udcff", ""])
def test_an_unknown_user_is_refused(user):
    with pytest.raises(UsageError, match="unknown user"):
        user_environment(user, {})


@needs_root
def test_the_command_sees_its_own_environment_alone(monkeypatch):
    for name, value in (OF_THE_CALLER | KEPT).items():
        monkeypatch.setenv(name, value)
    for name in set(os.environ) - set(OF_THE_CALLER) - set(KEPT):
        if name.startswith("LC_"):
            monkeypatch.delenv(name)
    raw = as_nobody("env", "-0", environment={"OMP_NUM_THREADS": "4", "LINES": "a\nb"})
    found = dict(entry.split("=", 1) for entry in raw.stdout.split("\0") if entry)
    own = {name: found.pop(name) for name in ("PATH", "SHELL", "HOME", "USER", "LOGNAME")}
    assert own["HOME"] == "/nonexistent"
    assert found == KEPT | {"OMP_NUM_THREADS": "4", "LINES": "a\nb", "SCHEDTUNA_SEED": "7"}


@needs_root
def test_the_launcher_does_not_have_the_environment_of_the_command():
    """Else LD_PRELOAD, which is for the command, would be loaded by a program of root's."""
    with start(Workload(argv=("true",), user="nobody", environment={"LD_PRELOAD": ""}), 1) as held:
        launcher = Path(f"/proc/{held.pid}/stat").read_text().rpartition(")")[2].split()[1]
        assert Path(f"/proc/{launcher}/environ").read_bytes() == b""
        assert b"LD_PRELOAD" not in Path(f"/proc/{launcher}/cmdline").read_bytes()


@needs_root
def test_no_privilege_is_left_and_none_can_be_gained():
    status = dict(line.split(":", 1) for line in as_nobody("cat", "/proc/self/status").stdout.splitlines())
    assert status["NoNewPrivs"].split() == ["1"]
    sets = [int(status[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")]
    assert sets == [0] * 5
    assert status["Uid"].split() == status["Gid"].split() == ["65534"] * 4
    assert status["Groups"].split() == ["65534"]


@needs_root
def test_where_capabilities_can_not_be_given_up_the_command_does_not_run(tmp_path):
    """As in a container without CAP_SETPCAP."""
    program = f"""
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_SETPCAP = 24, 8
assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SETPCAP, 0, 0, 0) == 0
os.execv(sys.executable, [sys.executable, "-m", "schedtuna", "variability", "-n", "1", "--results",
         {os.fspath(tmp_path)!r}, "--user", "nobody", "--", "true"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "can't become the workload's user" in done.stderr
    assert "--cap-add SETPCAP" in done.stderr


@needs_root
def test_the_programs_that_change_users_stay_who_they_are(folder):
    tool = folder / "id"
    shutil.copy("/usr/bin/id", tool)
    tool.chmod(0o4755)
    argv = [str(tool), "-u"]
    granted = subprocess.run(argv, user=65534, group=65534, capture_output=True, text=True, check=False)
    if granted.stdout.split() != ["0"]:
        pytest.skip("a set-user-id program changes nothing on this file system")
    assert as_nobody(*argv).stdout.split() == ["65534"]


@needs_root
def test_descriptors_session_and_mask_are_its_own():
    before, secret = os.umask(0o077), os.open("/etc/shadow", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        program = (
            "import os\n"
            "for fd in range(256):\n"
            "    try: print(fd, os.readlink(f'/proc/self/fd/{fd}').split(':')[0])\n"
            "    except FileNotFoundError: pass\n"
            "print(os.getsid(0) == os.getpid(), oct(os.umask(0)))\n"
        )
        assert python(program).splitlines() == ["0 /dev/null", "1 pipe", "2 pipe", "True 0o22"]
    finally:
        os.close(secret)
        os.umask(before)


@needs_root
def test_the_launcher_is_out_of_reach():
    program = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
launcher = os.getppid()
def tried(what, *arguments):
    try: what(*arguments)
    except PermissionError: return "refused"
    return "allowed"
def ptrace(request):
    if libc.ptrace(request, launcher, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "")
print(*{tried(os.kill, launcher, number) for number in (0, 9, 15, 18, 19)})
print(tried(ptrace, 16), tried(ptrace, 0x4206))
def read(name): open(f"/proc/{launcher}/{name}", "rb").read()
print(*{tried(read, name) for name in ("mem", "environ", "maps", "auxv")})
print(tried(os.listdir, f"/proc/{launcher}/fd"), tried(os.sched_setaffinity, launcher, [0]))
"""
    assert set(python(program).split()) == {"refused"}


@needs_root
def test_the_callers_keys_are_out_of_reach():
    libc = ctypes.CDLL(None, use_errno=True)
    if platform.machine() != "x86_64" or libc.syscall(250, 1, None) < 0:  # KEYCTL_JOIN_SESSION_KEYRING
        pytest.skip("this kernel, or its keeper, gives no keyrings")
    ask = "import ctypes; print(ctypes.CDLL(None).syscall(250, 0, -3, 0))"
    ours = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout
    assert int(ours) > 0
    assert int(python(ask)) not in (-1, int(ours))


@needs_root
def test_the_program_is_looked_for_as_the_user(folder):
    for name, mode in (("private", 0o700), ("open", 0o755)):
        (folder / name).mkdir()
        tool = folder / name / "my-tool"
        tool.write_text(f"#!/bin/sh\necho {name}\n")
        tool.chmod(0o755)
        (folder / name).chmod(mode)
    path = f"{folder}/private::{folder}/open:/usr/bin:/bin"
    assert as_nobody("my-tool", environment={"PATH": path}).stdout == "open\n"
    with pytest.raises(WorkloadError, match="not executable: my-tool"):
        run(Workload(argv=("my-tool",), user="nobody", environment={"PATH": f"{folder}/private"}), 1)


@needs_root
def test_the_callers_path_finds_nothing_for_another_user(tmp_path, monkeypatch):
    tool = tmp_path / "roots-tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert run(Workload(argv=("roots-tool",)), 1).exit_code == 0
    with pytest.raises(WorkloadError, match="command not found: roots-tool") as info:
        run(Workload(argv=("roots-tool",), user="nobody"), 1)
    assert "that user's PATH" in str(info.value.hint)


@needs_root
@pytest.mark.parametrize("link", ["symbolic", "hard", "own"])
def test_a_metrics_file_is_not_read_through_a_link_to_somebody_elses(folder, link):
    secret, place = folder / "secret", folder / "place"
    secret.write_text("score 42\n")
    secret.chmod(0o600)
    place.mkdir()
    place.chmod(0o777)
    if link == "hard":
        (place / "out").hardlink_to(secret)
    script = {"symbolic": f"ln -s {secret} out", "hard": "true", "own": "echo score 7 > out"}[link]
    workload = Workload(argv=("sh", "-c", script), user="nobody", folder=place)
    raw = run(workload, 1)
    os.utime(secret)
    spec = parse_metric("score:max=regex@out:score (.+)")
    if link == "own":
        assert read_metrics(workload, [spec], raw)["score"] == 7
    else:
        with pytest.raises(
            MetricError, match="out belongs to user 0, not to the command's user 65534"
        ) as info:
            read_metrics(workload, [spec], raw)
        assert "42" not in str(info.value)


@pytest.mark.parametrize("variables", [{"A=B": "c"}, {"": "c"}, {"A": "b\0c"}, {"A\0": "b"}])
def test_variables_that_there_can_not_be_are_refused(variables):
    with pytest.raises(WorkloadError, match="can't be set as a variable"):
        run(Workload(argv=("true",), environment=variables), 1)


@needs_root
def test_the_program_that_is_named_is_the_users(tmp_path, monkeypatch):
    shutil.copy("/usr/bin/true", tmp_path / "env")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert check(Workload(argv=("env",))) == tmp_path / "env"
    assert check(Workload(argv=("env",), user="nobody")) in (Path("/usr/bin/env"), Path("/bin/env"))
