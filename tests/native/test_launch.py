"""The native launcher under AddressSanitizer and UBSan, spoken to in its own protocol."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from schedtuna.workload.launcher import _MESSAGE, Message, MessageKind, RunFlag, Stage

SOURCE = Path(__file__).parents[2] / "native/launch/launch.c"
COMPILER = shutil.which("gcc") or shutil.which("clang") or ""
pytestmark = pytest.mark.skipif(not COMPILER, reason="no C compiler")


@pytest.fixture(scope="session")
def launcher(tmp_path_factory) -> Path:
    """The launcher with every check that the compiler has."""
    return compile_launcher(tmp_path_factory)


@pytest.fixture(scope="session")
def launcher_without_children_files(tmp_path_factory) -> Path:
    """The launcher as on a kernel without CONFIG_PROC_CHILDREN."""
    return compile_launcher(tmp_path_factory, '-DCHILDREN_FILE="/nowhere/%d"')


def compile_launcher(tmp_path_factory, *options: str) -> Path:
    binary = Path(tmp_path_factory.mktemp("native") / "schedtuna-launch")
    command = [
        COMPILER,
        "-std=gnu11",
        "-O1",
        "-g",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wshadow",
        "-Wconversion",
        *options,
    ]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    plain = subprocess.run([*command, SOURCE, "-o", binary], capture_output=True, text=True, check=False)
    assert plain.returncode == 0, plain.stderr
    checked = subprocess.run([*command, *sanitizers, SOURCE, "-o", binary], capture_output=True, check=False)
    if checked.returncode != 0:
        pytest.skip("the compiler has no sanitizers")
    return binary


@dataclass
class Session:
    process: subprocess.Popen[bytes]
    control: socket.socket
    output: Path

    def receive(self) -> Message:
        return Message(*_MESSAGE.unpack(self.control.recv(_MESSAGE.size)))

    def finish(self) -> None:
        """Close; the fixture looks for what the sanitizers said."""
        self.control.close()
        assert self.process.wait(30) in (0, 1)


@pytest.fixture
def start(launcher, tmp_path):
    sessions = []

    def begin(
        *argv: str,
        options: tuple[str, ...] = (),
        output: Path = tmp_path / "stdout",
        descriptors: tuple[int, ...] = (),
        launcher: Path = launcher,
    ) -> Session:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(30)
        with theirs, output.open("wb") as stdout, (tmp_path / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [launcher, *options, str(theirs.fileno()), "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(theirs.fileno(), *descriptors),
                env={**os.environ, "ASAN_OPTIONS": f"log_path={tmp_path}/asan"},
            )
        sessions.append(Session(process, ours, output))
        return sessions[-1]

    yield begin
    for session in sessions:
        session.control.close()
        session.process.wait(30)
    assert not list(tmp_path.glob("asan*"))


def run_to_end(session: Session) -> Message:
    assert session.receive().kind == MessageKind.HELD
    session.control.send(b"g")
    message = session.receive()
    session.finish()
    return message


def test_a_run_from_start_to_end(start):
    session = start("/bin/sh", "-c", "echo hello; exit 5")
    message = run_to_end(session)
    assert (message.kind, message.flags) == (MessageKind.DONE, 0)
    assert os.waitstatus_to_exitcode(message.status) == 5
    assert session.output.read_bytes() == b"hello\n"
    assert message.stdout_bytes == 6
    assert message.wall_ns > 0


def test_a_held_command_leads_its_session_already(start):
    """Whoever is told of it may weigh its session's autogroup at once."""
    for _ in range(20):
        session = start("/bin/true")
        held = session.receive()
        assert os.getsid(held.pid) == held.pid
        session.control.send(b"g")
        session.receive()
        session.finish()


@pytest.mark.parametrize("keep_bytes", [2, 3, 100, 65536, 10**6])
def test_output_is_a_head_and_a_ring(start, keep_bytes):
    nr_lines = 30_000
    session = start("/bin/sh", "-c", f"seq {nr_lines}", options=(f"--keep-bytes={keep_bytes}",))
    message = run_to_end(session)
    text = "".join(f"{i}\n" for i in range(1, nr_lines + 1)).encode()
    assert message.stdout_bytes == len(text)
    half = keep_bytes // 2
    kept = session.output.read_bytes()
    if len(text) <= 2 * half:
        assert kept == text
    else:
        oldest = (len(text) - half) % half
        ring = kept[half:]
        assert kept[:half] == text[:half]
        assert ring[oldest:] + ring[:oldest] == text[-half:]


def test_both_outputs_at_once_without_a_reader_blocking(start):
    script = "head -c 3000000 /dev/zero & head -c 3000000 /dev/zero >&2; wait"
    message = run_to_end(start("/bin/sh", "-c", script, options=("--keep-bytes=1000",)))
    assert (message.stdout_bytes, message.stderr_bytes) == (3_000_000, 3_000_000)


def test_a_full_disk_costs_output_and_not_the_run(start):
    message = run_to_end(start("/bin/sh", "-c", "seq 100000; exit 3", output=Path("/dev/full")))
    assert message.flags == RunFlag.OUTPUT_LOST
    assert os.waitstatus_to_exitcode(message.status) == 3


def test_a_limit_on_file_sizes_costs_output_and_not_the_run(start):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        session = start("/bin/sh", "-c", "seq 100000")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert run_to_end(session).flags == RunFlag.OUTPUT_LOST
    assert session.output.stat().st_size <= 1000


@pytest.mark.parametrize(
    ("options", "argv", "stage", "code"),
    [
        ((), ("/no/such/file",), Stage.EXEC, "ENOENT"),
        ((), ("/etc/passwd",), Stage.EXEC, "EACCES"),
        (("--folder=/no/such/folder",), ("/bin/true",), Stage.FOLDER, "ENOENT"),
        (("--program=/no/such/file",), ("/bin/true",), Stage.EXEC, "ENOENT"),
    ],
)
def test_what_fails_before_the_command_runs_is_reported(start, options, argv, stage, code):
    message = run_to_end(start(*argv, options=options))
    assert (message.kind, message.stage) == (MessageKind.FAILED, stage)
    assert errno.errorcode[message.error] == code


@pytest.mark.parametrize(
    "variables", [[], ["A=1"], ["PATH=/usr/bin:/bin", "B=" + "x" * 100_000, "C=a\nb", "="]]
)
def test_the_environment_comes_in_a_file(start, tmp_path, variables):
    (tmp_path / "variables").write_text("".join(f"{variable}\0" for variable in variables))
    with (tmp_path / "variables").open("rb") as file:
        option = f"--environment-fd={file.fileno()}"
        session = start("/usr/bin/env", "-0", options=(option,), descriptors=(file.fileno(),))
    assert os.waitstatus_to_exitcode(run_to_end(session).status) == 0
    assert session.output.read_text().split("\0")[:-1] == variables


def test_an_environment_that_can_not_be_read_ends_the_launcher(start):
    session = start("/bin/true", options=("--environment-fd=250",))
    assert session.process.wait(30) == 2


@pytest.mark.parametrize(
    ("path", "name", "code"),
    [
        ("/nowhere:/etc/passwd:/usr/bin:/bin", "true", None),
        ("/nowhere", "true", errno.ENOENT),
        ("", "true", errno.ENOENT),
        (":", "true", errno.ENOENT),
        ("/" + "x" * 5000 + ":/usr/bin:/bin", "true", None),
        ("/etc:/nowhere", "passwd", errno.EACCES),
        ("/usr/bin:/bin", "no-such-command", errno.ENOENT),
    ],
)
def test_a_bare_name_is_looked_for_in_the_path_of_the_environment(start, tmp_path, path, name, code):
    (tmp_path / "variables").write_text(f"PATH=/nowhere\0A=1\0PATH={path}\0")
    with (tmp_path / "variables").open("rb") as file:
        option = f"--environment-fd={file.fileno()}"
        message = run_to_end(start(name, options=(option,), descriptors=(file.fileno(),)))
    if code is None:
        assert (message.kind, message.status) == (MessageKind.DONE, 0)
    else:
        assert (message.kind, message.stage, message.error) == (MessageKind.FAILED, Stage.EXEC, code)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")
def test_becoming_another_user_needs_privilege(start):
    message = run_to_end(start("/bin/true", options=("--uid=1", "--gid=1")))
    assert (message.kind, message.stage) == (MessageKind.FAILED, Stage.USER)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_ids_and_groups_are_exactly_those_given(start):
    options = ("--uid=1234", "--gid=2345", "--groups=3,4,5")
    session = start("/bin/sh", "-c", "grep -E '^(Uid|Gid|Groups)' /proc/self/status", options=options)
    run_to_end(session)
    lines = [line.split() for line in session.output.read_text().splitlines()]
    assert lines == [["Uid:", *["1234"] * 4], ["Gid:", *["2345"] * 4], ["Groups:", "3", "4", "5"]]


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_another_users_command_has_no_privilege_left_to_use_or_gain(start):
    script = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status; umask"
    session = start("/bin/sh", "-c", script, options=("--uid=1234", "--gid=2345"))
    run_to_end(session)
    *lines, mask = session.output.read_text().split("\n")[:-1]
    assert {line.split()[0]: int(line.split()[1], 16) for line in lines} == {
        **dict.fromkeys(["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"], 0),
        "NoNewPrivs:": 1,
    }
    assert mask == "0022"


def test_the_timeout_and_a_tree_that_ignores_sigterm(start):
    script = "trap '' TERM; (trap '' TERM; setsid sleep 100 & sleep 100) & sleep 100"
    message = run_to_end(start("/bin/sh", "-c", script, options=("--timeout-ms=200",)))
    assert message.flags == RunFlag.TIMED_OUT
    assert os.waitstatus_to_exitcode(message.status) == -signal.SIGKILL
    assert message.wall_ns >= 200e6


@pytest.mark.parametrize("name", ["plain", "a\nb) S 1 (c", ") S 1 \n", "\n", "("])
def test_without_children_files_a_name_hides_nothing(start, launcher_without_children_files, tmp_path, name):
    program = tmp_path / name
    shutil.copy("/bin/sleep", program)
    script = '"$0" 100 > /dev/null 2>&1 & while [ "$(cat /proc/$!/comm | head -c 1)" = s ]; do :; done'
    options = {"launcher": launcher_without_children_files}
    message = run_to_end(start("/bin/sh", "-c", script, str(program), **options))
    assert (message.kind, message.flags, message.nr_leftovers) == (MessageKind.DONE, 0, 1)


def test_stop_before_go(start):
    session = start("/bin/sh", "-c", "echo never")
    assert session.receive().kind == MessageKind.HELD
    session.control.send(b"s")
    message = session.receive()
    assert (message.kind, message.flags, message.stdout_bytes) == (MessageKind.DONE, RunFlag.STOPPED, 0)
    session.finish()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_to_the_launcher_end_the_tree(start, number):
    session = start("/bin/sleep", "100")
    pid = session.receive().pid
    session.control.send(b"g")
    while Path(f"/proc/{pid}/comm").read_text() != "sleep\n":
        time.sleep(0.005)
    session.process.send_signal(number)
    message = session.receive()
    assert (message.kind, message.flags) == (MessageKind.DONE, RunFlag.STOPPED)
    assert not Path(f"/proc/{pid}").exists()


def test_unknown_bytes_stop_the_run(start):
    session = start("/bin/sleep", "100")
    session.receive()
    session.control.send(b"?")
    assert session.receive().flags == RunFlag.STOPPED


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("3",),
        ("3", "--"),
        ("x", "--", "true"),
        ("--timeout-ms=-1", "3", "--", "true"),
        ("--timeout-ms=1x", "3", "--", "true"),
        ("--uid=4294967295", "3", "--", "true"),  # -1: "leave unchanged"
        ("--keep-bytes=1", "3", "--", "true"),
        ("--groups=" + "1," * 2000, "3", "--", "true"),
        ("--unknown", "3", "--", "true"),
    ],
)
def test_misuse_is_refused(launcher, argv):
    done = subprocess.run([launcher, *argv], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "schedtuna-launch" in done.stderr
    assert "Sanitizer" not in done.stderr
