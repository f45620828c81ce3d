"""`schedtuna record` and `top`, as a user types them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.commands import run_schedtuna

from schedtuna.kernel.objects import VMLINUX_BTF
from schedtuna.kernel.privilege import missing_capabilities
from schedtuna.record.procfs import SYSTEM_METRICS
from schedtuna.trace.aggregates import stored
from schedtuna.trace.aggregates.metrics import SCHED_METRICS
from schedtuna.trace.schema import EVENT_DTYPE, EventType
from schedtuna.trace.store import open_trace

needs_bpf = pytest.mark.skipif(
    bool(missing_capabilities()) or not VMLINUX_BTF.exists(), reason="may not load BPF programs here"
)
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def schedtuna(*arguments, wrapper=(), cwd, **environment):
    if not wrapper:
        return run_schedtuna(*arguments, cwd=cwd, env=os.environ | environment)
    return subprocess.run(
        [*wrapper, sys.executable, "-m", "schedtuna", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
        env=os.environ | environment,
    )


def start(*arguments, cwd, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "schedtuna", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        **options,
    )


def wait_for(condition):
    while not condition():
        time.sleep(0.02)


@needs_bpf
def test_a_command_is_recorded_event_by_event(tmp_path):
    done = schedtuna(
        "record", "-o", "t", "--label", "demo", "--", "hackbench", "-l", "20", "-g", "1", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "events, 0 lost, in" in done.stdout
    assert "next: schedtuna stats t" in done.stderr
    trace = open_trace(tmp_path / "t")
    assert (trace.state, trace.manifest["label"], trace.manifest["mode"]) == ("complete", "demo", "stream")
    assert trace.manifest["command"][0] == "hackbench"
    events, tasks = trace.events, trace.tasks
    assert set(events["type"].tolist()) >= {
        EventType.SWITCH,
        EventType.WAKEUP,
        EventType.FORK,
        EventType.EXIT,
    }
    assert (events["timestamp_ns"][1:] >= events["timestamp_ns"][:-1]).all()
    named = tasks.filter(tasks["comm"] == "hackbench")
    [parent] = named.filter(named["ppid"] == trace.manifest["recorder"]["tgid"])["tid"]
    assert len(named.filter(named["ppid"] == parent)) == 40
    assert set(trace.samples("system").columns) <= {"timestamp_ns", *SYSTEM_METRICS}


@needs_bpf
def test_every_task_of_a_trace_has_a_name(tmp_path):
    """The recorder's threads, and those that the kernel's task iterator leaves out, too."""
    done = schedtuna("record", "-o", "t", "--", "hackbench", "-l", "20", "-g", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    trace = open_trace(tmp_path / "t")
    switches = trace.events[trace.events["type"] == EventType.SWITCH]
    switched = set(switches["tid"].tolist()) | set(switches["other_tid"].tolist())
    assert switched - set(trace.task_rows["tid"].tolist()) <= {0}
    recorder = trace.task_rows[trace.task_rows["tgid"] == trace.manifest["recorder"]["tgid"]]
    assert len(switched & set(recorder["tid"].tolist())) >= 2


@needs_bpf
def test_json_tells_what_was_recorded(tmp_path):
    done = schedtuna("record", "--json", "-o", "t", "--only-command", "--", "true", cwd=tmp_path)
    result = json.loads(done.stdout)
    assert (result["mode"], result["nr_lost"], result["command_exit_code"]) == ("stream", 0, 0)
    events = open_trace(tmp_path / "t").events
    assert len(events) == result["nr_events"]
    [child] = set(events["tid"][events["type"] == EventType.EXIT].tolist())
    switches = events[events["type"] == EventType.SWITCH]
    assert ((switches["tid"] == child) | (switches["other_tid"] == child)).all()


@needs_bpf
def test_statistics_are_counted_instead_of_events(tmp_path):
    done = schedtuna(
        "record",
        "--aggregate",
        "--only-command",
        "--interval",
        "200ms",
        "-o",
        "t",
        "--",
        "hackbench",
        "-l",
        "100",
        "-g",
        "1",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("hackbench"))
    assert row[1] == "41"
    trace = open_trace(tmp_path / "t")
    assert len(trace.events) == 0
    groups = stored.groups_of_rows(trace.samples(stored.KIND).iter_rows(named=True))
    assert (groups["comm"] == b"hackbench").sum() == 41
    assert set(trace.samples("sched").columns) <= {"timestamp_ns", *SCHED_METRICS}
    shown = schedtuna("stats", "t", cwd=tmp_path)
    assert "hackbench" in shown.stdout
    fairness = json.loads(schedtuna("stats", "t", "--json", cwd=tmp_path).stdout)["overall"]["fairness_cv"]
    assert f"fairness_cv: {fairness:.3f}\n" in shown.stdout


def test_procfs_needs_no_privileges_and_says_what_it_does_not_see(everybodys_folder):
    wrapper = [*NOBODY, "--no-new-privs"] if os.geteuid() == 0 else []
    arguments = ("record", "--procfs", "--interval", "100ms", "--for", "1s", "-o", "t")
    done = schedtuna(*arguments, wrapper=wrapper, cwd=everybodys_folder)
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("not seen this way: ")]
    assert "scheduling events" in line
    assert "tasks that come and go between two samples (" in line
    assert "CAP_NET_ADMIN" in line or "CONFIG_TASKSTATS" in line
    trace = open_trace(everybodys_folder / "t")
    assert "latencies of single waits" in trace.manifest["blind_to"]
    assert len(trace.samples("system")) >= 2
    processes = trace.samples("process")
    assert os.getpid() in processes["pid"].to_list()
    assert {"voluntary_switches_per_s", "schedstat_run_delay_percent"} <= set(processes.columns)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_NET_ADMIN")
def test_procfs_accounts_for_short_lives_where_it_may(tmp_path):
    script = "for i in 1 2 3 4 5 6 7; do /bin/true; done"
    done = schedtuna("record", "--procfs", "-o", "t", "--", "sh", "-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if "CONFIG_TASKSTATS" in done.stdout:
        pytest.skip("the kernel does not account for exits")
    assert "exits accounted for" in done.stdout
    assert "come and go" not in done.stdout
    trace = open_trace(tmp_path / "t")
    exits = trace.samples("exit")
    assert (exits["comm"] == "true").sum() >= 7
    assert trace.manifest["recorder"]["tgid"] not in exits["tgid"].to_list()
    shown = schedtuna("stats", "t", cwd=tmp_path).stdout
    assert "each counted over its whole life" in shown
    assert any(line.split()[:1] == ["true"] for line in shown.splitlines())


def test_samples_come_as_json_lines(tmp_path):
    done = schedtuna("record", "--json-lines", "--interval", "100ms", "--for", "250ms", cwd=tmp_path)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(row["kind"] == "system" for row in rows) == 2
    assert {"pid", "comm", "cpu_percent", "role", "cgroup"} <= next(
        row for row in rows if row["kind"] == "process"
    ).keys()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_without_privileges_the_missing_ones_are_named(tmp_path):
    tmp_path.chmod(0o777)
    done = schedtuna("record", "--for", "1s", wrapper=[*NOBODY, "--no-new-privs"], cwd="/")
    assert done.returncode == 3
    assert "CAP_BPF and CAP_PERFMON" in done.stderr
    assert done.stderr.index("sudo /") < done.stderr.index("sudo setcap") < done.stderr.index("every script")


@needs_bpf
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize("mode", [[], ["--aggregate"]], ids=["stream", "aggregate"])
def test_two_capabilities_suffice(everybodys_folder, mode):
    capabilities = "+bpf,+perfmon"
    wrapper = [*NOBODY, f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"]
    done = schedtuna("record", *mode, "--for", "200ms", "-o", "t", wrapper=wrapper, cwd=everybodys_folder)
    assert done.returncode == 0, done.stderr


@needs_bpf
def test_ctrl_c_ends_a_recording_that_has_no_end(tmp_path):
    process = start("record", "-o", "t", cwd=tmp_path)
    wait_for((tmp_path / "t/events-000000.spool").exists)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "events" in output
    assert open_trace(tmp_path / "t").state == "complete"


def test_ctrl_c_at_any_time_leaves_a_complete_trace_or_none(tmp_path):
    moments_s = (0.3, 0.5, 0.7)
    processes = [
        start("record", "--procfs", "-o", f"t{moment_s}", "--", "sleep", "600", cwd=tmp_path, process_group=0)
        for moment_s in moments_s
    ]
    began_s = time.monotonic()
    for process, moment_s in zip(processes, moments_s, strict=True):
        time.sleep(max(0.0, began_s + moment_s - time.monotonic()))
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode in {1, 130, -signal.SIGINT}
        folder = tmp_path / f"t{moment_s}"
        assert not folder.exists() or open_trace(folder).state == "complete"


@needs_bpf
def test_ctrl_c_interrupts_a_command_and_keeps_the_trace(tmp_path):
    process = start("record", "-o", "t", "--", "sleep", "600", cwd=tmp_path, start_new_session=True)
    wait_for((tmp_path / "t/events-000000.spool").exists)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert open_trace(tmp_path / "t").state == "complete"


@needs_bpf
def test_a_killed_recorder_leaves_a_trace_that_says_it_is_cut(tmp_path):
    process = start("record", "-o", "t", cwd=tmp_path)
    spool = tmp_path / "t/events-000000.spool"
    wait_for(lambda: spool.exists() and spool.stat().st_size >= EVENT_DTYPE.itemsize)
    process.kill()
    process.communicate()
    trace = open_trace(tmp_path / "t")
    assert trace.state == "cut"
    assert len(trace.events) > 0
    assert not (tmp_path / "t/reserve").exists()


@needs_bpf
def test_statistics_of_a_killed_recorder_are_told_to_be_missing(tmp_path):
    process = start("record", "--aggregate", "--interval", "0.1s", "-o", "t", cwd=tmp_path)
    wait_for((tmp_path / "t/samples.jsonl").exists)
    early = schedtuna("stats", "t", cwd=tmp_path)
    process.kill()
    process.communicate()
    late = schedtuna("stats", "t", cwd=tmp_path)
    assert (early.returncode, late.returncode) == (1, 1)
    assert "they are written when the recording ends" in early.stderr
    assert "cut before its statistics were written" in late.stderr


@needs_bpf
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_full_disk_ends_the_recording_and_the_trace_is_readable(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", disk], check=False).returncode:
        pytest.skip("may not mount")
    try:
        load = ["perf", "bench", "sched", "pipe", "-l", "100000000"]
        hackbench = ["hackbench", "-l", "100000", "-g", "2"]
        done = schedtuna(
            "record", "-o", disk / "t", "--", *(load if which("perf") else hackbench), cwd=tmp_path
        )
        assert done.returncode == 1
        assert "ended early: No space left on device" in done.stderr
        assert "can be read" in done.stderr
        trace = open_trace(disk / "t")
        assert trace.manifest["ended_by"]
        assert len(trace.events) > 10_000
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def which(command):
    return any(Path(folder, command).exists() for folder in os.get_exec_path())


@needs_bpf
def test_lost_events_are_told_with_what_helps(tmp_path):
    if not which("perf"):
        pytest.skip("needs perf")
    bench = "perf bench sched pipe -l 200000 >/dev/null"
    script = f"touch begun; {bench} & {bench}; wait"
    # The recorder is held up: a reader that can't read loses events.
    process = start("record", "--ring-mb", "1", "-o", "t", "--", "sh", "-c", script, cwd=tmp_path)
    wait_for(lambda: (tmp_path / "begun").exists() or process.poll() is not None)
    process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    process.send_signal(signal.SIGCONT)
    output, errors = process.communicate(timeout=60)
    assert "warning: " in errors and "--ring-mb" in errors, output + errors
    trace = open_trace(tmp_path / "t")
    assert sum(loss.nr_lost or 0 for loss in trace.losses) > 0


@needs_bpf
def test_the_exit_code_of_the_command_is_told(tmp_path):
    done = schedtuna("record", "-o", "t", "--", "sh", "-c", "exit 7", cwd=tmp_path)
    assert done.returncode == 1
    assert "the command exited with code 7; the trace is complete" in done.stderr


@pytest.mark.parametrize("nice", [0, 3])
def test_the_command_has_the_nice_of_the_user(tmp_path, nice):
    told = "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"
    done = schedtuna(
        "record", "--procfs", "-o", "t", "--", sys.executable, "-c", told,
        wrapper=["nice", "-n", str(nice)], cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = os.getpriority(os.PRIO_PROCESS, 0) + nice
    assert done.stdout.splitlines()[0] == str(expected)


def test_what_the_command_leaves_running_is_told(tmp_path):
    script = (
        "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=-3, stderr=-3).pid, flush=True)"
    )
    done = schedtuna("record", "--procfs", "-o", "t", "--", sys.executable, "-c", script, cwd=tmp_path)
    pid = int(done.stdout.splitlines()[0])
    os.kill(pid, signal.SIGKILL)  # it outlives the recorder, too
    assert done.returncode == 0
    assert f"note: of the command, this still runs, unrecorded: sleep ({pid})" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--", "no-such-command"], "no command 'no-such-command'"),
        (["--aggregate", "--procfs"], "are mutually exclusive"),
        (["--json-lines", "--for", "1s", "--", "true"], "it takes no command"),
        (["--json-lines", "--for", "1s", "--comm", "x"], "it takes no command, folder, label, filter"),
        (["--json-lines", "--for", "1s", "--label", "x"], "it takes no command, folder, label"),
        (["--json-lines", "--for", "1s", "--waking"], "are about recorded events"),
        (["--procfs", "--for", "1s", "--ring-mb", "8"], "are about recorded events"),
        (["--aggregate", "--for", "1s", "--waking"], "are about recorded events"),
        (["--aggregate", "--for", "1s", "--picks"], "are about recorded events"),
        (["--for", "1s", "--pick-levels", "2"], "add --picks"),
        (["--for", "soon"], "not a duration"),
        (["--interval", "0"], "more than 0"),
        (["--only-command"], "needs a command"),
        (["--procfs", "--comm", "x"], "can't be filtered"),
        (["--comm", "a-name-that-is-too-long"], "no task is called"),
        (["--cgroup", "/no/such/group"], "no cgroup"),
        (["--pid", "4194305", "--for", "1s"], "there is no process 4194305"),  # above PID_MAX_LIMIT
        (["--tree", "4194305", "--for", "1s"], "there is no process 4194305"),
        (["-o", "taken"], "not empty"),
    ],
)
def test_bad_requests_are_refused(tmp_path, arguments, message):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("mine")
    done = schedtuna("record", *arguments, cwd=tmp_path)
    if done.returncode == 3:
        pytest.skip("may not load BPF programs here")
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert (tmp_path / "taken/file").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--tree", "4194305"], "there is no process"), (["--by", "thread"], "expected task, comm or cgroup")],
)
def test_bad_requests_of_top_are_refused(tmp_path, arguments, message):
    done = schedtuna("top", *arguments, cwd=tmp_path)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


@needs_bpf
def test_top_prints_one_window_where_there_is_no_terminal(tmp_path):
    done = schedtuna("top", "--interval", "300ms", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("schedtuna top: every 0.3 s, by task")
    assert "wakeup latency" in done.stdout


@needs_bpf
def test_top_tells_turnarounds_and_first_run_delays(tmp_path):
    shell = subprocess.Popen(["sh", "-c", "while :; do sleep 0.1; done"])
    try:
        done = schedtuna(
            *("top", "--json", "--screens", "1", "--interval", "1s", "--tree", shell.pid, "--by", "comm"),
            cwd=tmp_path,
        )
    finally:
        shell.kill()
        shell.wait()
    window = json.loads(done.stdout)
    turnaround, first_run = (window["distributions"][name] for name in ("turnaround", "first_run_delay"))
    assert turnaround["count"] >= 1 and first_run["count"] >= 1
    assert turnaround["mean_us"] >= 100_000
    assert turnaround["max_us"] * (1 + 1e-9) >= turnaround["p50_us"] >= 0.87 * 100_000
    assert 0 < first_run["p50_us"] <= first_run["max_us"] < turnaround["max_us"]
    [row] = [row for row in window["rows"] if row["name"] == "sleep"]
    assert row["values"]["turnaround_mean_us"] == pytest.approx(turnaround["mean_us"])


@needs_bpf
def test_top_prints_json(tmp_path):
    with subprocess.Popen(["sh", "-c", "while sleep 0.02; do :; done"]) as load:
        done = schedtuna(
            *("top", "--json", "--screens", "2", "--interval", "250ms", "--by", "comm"), cwd=tmp_path
        )
        load.kill()
    windows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(windows) == 2
    assert windows[0]["switches_per_s"] > 0
    rows = [row for row in windows[1]["rows"] if row["name"] in {"sh", "sleep"}]
    assert {"values", "nr_tasks"} <= rows[0].keys()
    assert rows[0]["nr_tasks"] >= 1


@needs_bpf
@pytest.mark.parametrize("arguments", [["--sort", "nonsense"], ["--by", "nonsense"]])
def test_top_refuses_what_it_does_not_know(tmp_path, arguments):
    done = schedtuna("top", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
