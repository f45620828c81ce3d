"""One run of a command: what is measured, what is refused, and that nothing outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from schedtuna.errors import UnavailableError, UsageError, WorkloadError
from schedtuna.workload import command
from schedtuna.workload.command import RawRun, run, start
from schedtuna.workload.spec import Workload

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")


def sh(script: str, **options) -> RawRun:
    return run(Workload(argv=("sh", "-c", script), **options), 7)


def python(program: str, **options) -> RawRun:
    return run(Workload(argv=(sys.executable, "-I", "-c", program), **options), 7)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(condition, timeout_s: float = 60.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


def test_output_exit_code_and_seed_are_reported():
    raw = sh("echo out-{seed}-$SCHEDTUNA_SEED; echo err >&2; exit 3")
    assert (raw.stdout, raw.stderr, raw.exit_code, raw.signal) == ("out-7-7\n", "err\n", 3, None)
    assert raw.failure == "the command exited with code 3"


def test_a_command_that_a_signal_ends_has_no_exit_code():
    raw = sh("kill -SEGV $$")
    assert (raw.exit_code, raw.signal) == (None, signal.SIGSEGV)
    assert "SIGSEGV" in raw.failure


def test_usage_is_the_commands_own_and_the_kernel_agrees():
    # The oracle is the same kernel accounting, read by the command itself about itself.
    raw = python(
        "import resource, time\n"
        "block = bytearray(50 << 20)\n"
        "while time.process_time() < 0.2: pass\n"
        "for _ in range(50): time.sleep(0.0001)\n"
        "u = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(u.ru_utime + u.ru_stime, u.ru_maxrss, u.ru_nvcsw)"
    )
    cpu_time_s, max_rss_kib, nr_voluntary = map(float, raw.stdout.split())
    assert cpu_time_s <= raw.usage["cpu_time_s"] <= cpu_time_s + 0.1
    assert raw.usage["cpu_time_s"] == pytest.approx(raw.usage["user_time_s"] + raw.usage["system_time_s"])
    assert max_rss_kib <= raw.usage["max_rss_kib"] <= max_rss_kib + 1024
    assert nr_voluntary >= 50
    assert nr_voluntary <= raw.usage["nr_voluntary_switches"] <= nr_voluntary + 20
    assert raw.wall_time_s >= 0.2


def test_the_parents_memory_is_not_charged_to_the_command():
    ballast = bytearray(64 << 20)
    ballast[:: os.sysconf("SC_PAGESIZE")] = b"x" * len(ballast[:: os.sysconf("SC_PAGESIZE")])
    assert sh(":").usage["max_rss_kib"] < 20 * 1024


def test_children_count_and_orphans_too(tmp_path):
    pid_file = tmp_path / "pid"
    busy = f"{sys.executable} -Ic 'import time\nwhile time.process_time() < 0.15: pass'"
    until_reaped = f"while kill -0 $(cat {pid_file}) 2>/dev/null; do sleep 0.02; done"
    raw = sh(f"{busy} & wait; ({busy} & echo $! > {pid_file}); {until_reaped}")
    assert raw.usage["cpu_time_s"] >= 0.3


def test_nothing_happens_before_go(tmp_path):
    marker = tmp_path / "marker"
    with start(Workload(argv=("touch", str(marker))), 1) as held:
        os.sched_setaffinity(held.pid, {min(os.sched_getaffinity(0))})
        os.setpriority(os.PRIO_PROCESS, held.pid, 5)
        assert not marker.exists()
        held.go()
        held.wait()
    assert marker.exists()


def test_what_is_set_at_the_gate_holds_for_the_command():
    with start(Workload(argv=("nice",)), 1) as held:
        os.setpriority(os.PRIO_PROCESS, held.pid, 7)
        held.go()
        assert held.wait().stdout == "7\n"


def test_a_held_command_that_is_let_go_of_never_runs(tmp_path):
    marker = tmp_path / "marker"
    with start(Workload(argv=("touch", str(marker))), 1) as held:
        pid = held.pid
    assert not alive(pid)
    assert not marker.exists()


@pytest.fixture
def daemon():
    """A shell command that leaves a stubborn daemon behind, and the file where that writes its id."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)  # other users, too
        program, pid_file = folder / "daemon.sh", folder / "pid"
        program.write_text("trap '' TERM HUP\necho $$ > $0.pid\nmv $0.pid $1\nwhile :; do sleep 1; done\n")
        waiting = f"while ! [ -e {pid_file} ]; do sleep 0.01; done"
        yield f"(setsid sh {program} {pid_file} &); {waiting}", pid_file


def test_a_timeout_ends_the_whole_tree_daemons_included(daemon):
    script, pid_file = daemon
    raw = sh(f"echo before; {script}; trap '' TERM; sleep 100", timeout_s=3)
    assert raw.timed_out
    assert "timeout" in raw.failure
    assert raw.stdout == "before\n"
    assert not alive(int(pid_file.read_text()))


def test_what_outlives_the_command_is_ended_and_counted(daemon):
    script, pid_file = daemon
    raw = sh(script)
    assert (raw.exit_code, raw.timed_out, raw.nr_leftovers) == (0, False, 1)
    assert not alive(int(pid_file.read_text()))


def test_a_family_that_keeps_forking_is_ended():
    # Each process forks its successor and exits, so that the id to kill changes all the time.
    raw = python(
        "import os, time\n"
        "if os.fork(): time.sleep(0.2); os._exit(0)\n"
        "os.setsid()\n"
        "while True:\n"
        "    if os.fork(): os._exit(0)\n"
        "    time.sleep(0.001)\n"
    )
    assert (raw.exit_code, raw.warnings) == (0, ())


def test_stop_ends_the_run_early(tmp_path):
    said = tmp_path / "said"
    with start(Workload(argv=("sh", "-c", f"echo hello; touch {said}; sleep 100")), 1) as held:
        held.go()
        assert wait_until(said.exists)
        held.stop()
        raw = held.wait()
    assert raw.stdout == "hello\n"
    assert raw.signal == signal.SIGTERM
    assert not raw.timed_out


def run_elsewhere(script: str) -> subprocess.Popen[bytes]:
    program = (
        "import sys\n"
        "from schedtuna.workload.command import run\n"
        "from schedtuna.workload.spec import Workload\n"
        "run(Workload(argv=('sh', '-c', sys.argv[1])), 1)"
    )
    return subprocess.Popen([sys.executable, "-c", program, script], stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_tree_dies_with_schedtuna(daemon, number):
    script, pid_file = daemon
    process = run_elsewhere(f"{script}; sleep 100")
    assert wait_until(pid_file.exists)
    process.send_signal(number)
    assert process.wait(60) != 0
    assert wait_until(lambda: not alive(int(pid_file.read_text())))


def test_a_killed_launcher_is_reported():
    with start(Workload(argv=("sleep", "100")), 1) as held:
        launcher = int(Path(f"/proc/{held.pid}/stat").read_text().rpartition(")")[2].split()[1])
        held.go()
        os.kill(launcher, signal.SIGKILL)
        with pytest.raises(WorkloadError, match="died"):
            held.wait()
    assert wait_until(lambda: not alive(held.pid))


def test_long_output_keeps_its_beginning_and_end(monkeypatch):
    monkeypatch.setattr(command, "KEEP_BYTES", 1000)
    raw = sh("seq 1 100000; echo the end")
    assert raw.truncated
    assert raw.stdout.startswith("1\n2\n3\n")
    assert raw.stdout.endswith("99999\n100000\nthe end\n")
    nr_bytes = sum(len(str(i)) + 1 for i in range(1, 100001)) + len("the end\n")
    assert f"\n[{nr_bytes - 1000} bytes not kept]\n" in raw.stdout


@pytest.mark.parametrize("nr_bytes", [1, 499, 500, 501, 999, 1000, 1001, 1499, 1500, 1501, 70000])
def test_the_kept_end_is_the_end_for_every_length(monkeypatch, nr_bytes):
    monkeypatch.setattr(command, "KEEP_BYTES", 1000)
    text = "".join(chr(ord("a") + i % 26) for i in range(nr_bytes))
    raw = python(f"print(''.join(chr(97 + i % 26) for i in range({nr_bytes})), end='')")
    if nr_bytes <= 1000:
        assert raw.stdout == text
    else:
        assert raw.stdout == f"{text[:500]}\n[{nr_bytes - 1000} bytes not kept]\n{text[-500:]}"


def test_output_that_is_not_utf8_does_not_hurt():
    assert sh(r"printf 'a\377b'").stdout == "a\ufffdb"


def test_a_workload_gets_no_input():
    assert sh("cat; echo end").stdout == "end\n"


def test_environment_folder_and_shell(tmp_path):
    workload = Workload(
        argv=("echo $WHAT in $(pwd) {seed}",), shell=True, environment={"WHAT": "x"}, folder=tmp_path
    )
    assert run(workload, 5).stdout == f"x in {tmp_path} 5\n"


def test_the_workloads_own_path_finds_the_command(tmp_path):
    tool = tmp_path / "my-tool"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert run(Workload(argv=("my-tool",), environment={"PATH": path}), 1).stdout == "found\n"


@needs_root
def test_another_user_has_its_ids_and_groups_only():
    raw = sh("id -u; id -G; echo $HOME $USER; echo again > /dev/stdout", user="nobody")
    assert raw.stdout.split() == ["65534", "65534", "/nonexistent", "nobody", "again"]


@needs_root
def test_the_other_users_tree_is_ended_too(daemon):
    script, pid_file = daemon
    raw = sh(f"{script}; sleep 100", user="nobody", timeout_s=2)
    assert raw.timed_out
    assert not alive(int(pid_file.read_text()))


def test_errors_that_are_known_before_the_run(tmp_path):
    script = tmp_path / "script"
    script.write_text("echo")
    for workload, error, text in [
        (Workload(argv=("no-such-command",)), WorkloadError, "command not found: no-such-command"),
        (Workload(argv=("",)), WorkloadError, "name is empty"),
        (Workload(argv=("./no-such-file",)), WorkloadError, "command not found: ./no-such-file"),
        (Workload(argv=(str(script),)), WorkloadError, f"not executable: {script}"),
        (Workload(argv=("/tmp",)), WorkloadError, "not executable: /tmp"),
        (Workload(argv=("true",), folder=tmp_path / "gone"), WorkloadError, "no such folder"),
        (Workload(argv=("true",), user="no-such-user"), UsageError, "unknown user"),
    ]:
        with pytest.raises(error, match=text):
            start(workload, 1)


def test_a_script_whose_interpreter_is_missing_is_reported_after_go(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(WorkloadError, match="command not found") as info:
        run(Workload(argv=(str(script),)), 1)
    assert "interpreter" in str(info.value.hint)


def test_a_file_of_another_format_is_reported(tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF" + bytes(100))
    program.chmod(0o755)
    with pytest.raises(WorkloadError, match="not a program of this machine"):
        run(Workload(argv=(str(program),)), 1)


@needs_root
def test_a_folder_that_the_user_may_not_enter(tmp_path):
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    with pytest.raises(WorkloadError, match="can't enter the workload's folder"):
        run(Workload(argv=("true",), folder=folder, user="nobody"), 1)


def test_too_many_arguments_are_reported():
    with pytest.raises(WorkloadError, match="Argument list too long"):
        run(Workload(argv=("true", "x" * 200_000)), 1)


def test_arguments_with_nul_are_reported():
    with pytest.raises(WorkloadError, match="null byte"):
        run(Workload(argv=("true", "a\0b")), 1)


def test_a_timeout_may_be_as_long_as_one_likes():
    assert sh("exit 0", timeout_s=1e300).exit_code == 0


def test_warm_up_runs_come_first_and_must_succeed(tmp_path):
    log = tmp_path / "log"
    raw = sh(f"echo x >> {log}; wc -l < {log}", warmup_runs=2)
    assert raw.stdout.strip() == "3"
    with pytest.raises(WorkloadError, match="warm-up run: the command exited with code 4"):
        sh("exit 4", warmup_runs=1)


def nr_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_no_descriptor_leaks_over_many_runs():
    sh(":")
    before = nr_descriptors()
    for _ in range(10):
        sh(":")
    assert nr_descriptors() == before


def test_another_user_needs_root():
    if os.geteuid() == 0:
        program = (
            "import os\n"
            "from schedtuna.workload.command import start\n"
            "from schedtuna.workload.spec import Workload\n"
            "os.seteuid(65534)\n"
            "start(Workload(argv=('true',), user='root'), 1)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert "running the workload as root needs root" in done.stderr
    else:
        with pytest.raises(UnavailableError, match="needs root"):
            start(Workload(argv=("true",), user="root"), 1)


def test_what_the_command_printed_cannot_steer_the_terminal():
    raw = run(Workload(argv=("printf", r"\033[2J\033]0;title\007a\tb\n\377")), seed=1)
    assert raw.tail() == "\\x1b[2J\\x1b]0;title\\x07a b\n\ufffd"
