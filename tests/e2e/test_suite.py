"""`schedtuna suite` as users type it."""

from __future__ import annotations

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

from schedtuna.kernel.objects import VMLINUX_BTF
from schedtuna.kernel.privilege import missing_capabilities
from schedtuna.trace.store import open_trace


def schedtuna(*argv: str, **options) -> subprocess.CompletedProcess[str]:
    return run_schedtuna(*argv, **options)


def test_list_shows_names_metrics_and_what_each_favours():
    done = schedtuna("suite", "list")
    assert done.returncode == 0
    assert "short-bursts         p99_us:min" in done.stdout
    assert "favours: " in done.stdout


def test_list_for_programs():
    listed = json.loads(schedtuna("suite", "list", "--json").stdout)
    names = [entry["name"] for entry in listed["workloads"]]
    assert listed["default"] in names
    assert {"short-bursts", "interactive-mix"} <= set(names)


def test_list_names_the_packages_of_missing_tools():
    listed = json.loads(schedtuna("suite", "list", "--json", env={**os.environ, "PATH": "/nowhere"}).stdout)
    assert {entry["name"]: entry["packages"] for entry in listed["workloads"]}["pipes"] == ["rt-tests"]


@pytest.mark.skipif(shutil.which("hackbench") is None, reason="hackbench (rt-tests) is not installed")
def test_run_repeats_with_seeds_and_prints_one_json_object():
    done = schedtuna("suite", "run", "pipes", "--runs", "2", "--seed", "7", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [run["seed"] for run in result["runs"]] == [7, 8]
    assert all(run["metrics"][run["metric"]] > 0 for run in result["runs"])


@pytest.mark.skipif(shutil.which("hackbench") is None, reason="hackbench (rt-tests) is not installed")
def test_run_marks_the_metric_that_counts():
    done = schedtuna("suite", "run", "pipes", "--seed", "1")
    assert "* time_s" in done.stdout


def test_an_unknown_name_is_a_usage_error():
    done = schedtuna("suite", "run", "pipe")
    assert done.returncode == 2
    assert "did you mean pipes?" in done.stderr
    assert done.stdout == ""


def test_a_missing_tool_is_named_with_its_package():
    done = schedtuna("suite", "run", "pipes", env={**os.environ, "PATH": "/nowhere"})
    assert done.returncode == 3
    assert "sudo apt-get install rt-tests" in done.stderr


@pytest.fixture
def hackbench(tmp_path):
    """A `hackbench` that says at once what a long one says."""
    program = tmp_path / "bin/hackbench"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho Time: 0.25\n")
    program.chmod(0o755)
    own = {"PATH": f"{program.parent}:{os.environ['PATH']}", "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}
    return {**os.environ, **own}


@pytest.mark.parametrize(
    ("command", "runs"),
    [
        (["tune", "--budget", "18"], {"search", "confirmation"}),
        (["compare", "default", "fair:nice=5", "--budget", "12"], {"confirmation"}),
        (["variability", "-n", "2", "-m", "time_s"], {"ok"}),
    ],
    ids=lambda of: of[0] if isinstance(of, list) else "",
)
def test_a_workload_is_named_in_place_of_a_command(command, runs, hackbench, tmp_path):
    asked = ["--workload", "pipes", "--seed", "1", "--json", "--results", str(tmp_path)]
    done = schedtuna(*command, *asked, env=hackbench)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert all(result["runs"][phase] for phase in runs)
    assert "time_s" in (result.get("metrics") or {result["metric"]: None})


@pytest.mark.parametrize(
    "command",
    [["tune"], *([name, "default", "fair:nice=5"] for name in ("compare", "bisect")), ["variability"]],
    ids=lambda of: of[0],
)
@pytest.mark.parametrize(
    ("asked", "code", "message"),
    [
        (["--workload", "pipe"], 2, "did you mean pipes?"),
        (["--workload", "pipes", "--", "true"], 2, "COMMAND"),
        (["--workload", "locks"], 3, "sudo apt-get install sysbench"),
    ],
)
def test_a_workload_that_can_not_be_run_says_why(command, asked, code, message, tmp_path):
    done = schedtuna(*command, *asked, env={**os.environ, "PATH": "/nowhere"}, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stdout == ""


def test_a_study_of_a_named_workload_goes_on_and_keeps_it(hackbench, tmp_path):
    asked = ["--workload", "pipes", "--seed", "1", "--results", str(tmp_path), "--experiment-name", "kept"]
    assert schedtuna("tune", *asked, "--budget", "18", env=hackbench).returncode == 0
    (folder,) = tmp_path.glob("kept*")
    again = schedtuna("tune", "--resume", str(folder), env=hackbench)
    assert again.returncode == 0, again.stderr
    other = schedtuna("tune", "--resume", str(folder), "--workload", "short-bursts", env=hackbench)
    assert other.returncode == 1
    assert "repeat the command that started it" in other.stderr


def hogs() -> set[int]:
    """Processes of the mix that carry this test's seed."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--seed" in words and b"987654" in words and any(word.endswith(b"mix.py") for word in words):
            found.add(int(path.parent.name))
    return found


def wait_until(condition) -> bool:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_ctrl_c_and_kill_leave_nothing_running(number, code):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "schedtuna",
            "suite",
            "run",
            "short-bursts",
            "--runs",
            "9",
            "--seed",
            "987654",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert wait_until(lambda: len(hogs()) >= 3)
    process.send_signal(number)
    assert process.wait(60) == code
    assert wait_until(lambda: not hogs())


needs_bpf = pytest.mark.skipif(
    bool(missing_capabilities()) or not VMLINUX_BTF.exists(), reason="may not load BPF programs here"
)
needs_hackbench = pytest.mark.skipif(
    shutil.which("hackbench") is None, reason="hackbench (rt-tests) is not installed"
)


@needs_bpf
@needs_hackbench
def test_record_makes_a_labelled_set_and_goes_on_where_it_ended(tmp_path):
    folder = tmp_path / "set"
    arguments = ("suite", "record", "pipes", "-o", str(folder), "--runs", "2", "--seed", "7")
    done = schedtuna(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["nr_recorded"], [row["seed"] for row in result["traces"]]) == (2, [7, 8])
    index = [json.loads(line) for line in (folder / "traces.jsonl").read_text().splitlines()]
    assert index == result["traces"]
    for row in index:
        assert (row["label"], row["workload"], row["state"], row["nr_lost"]) == (
            "pipes",
            "pipes",
            "complete",
            0,
        )
        assert row["value"] == row["metrics"]["time_s"] > 0
        assert row["machine"]["kernel_release"] == os.uname().release
        trace = open_trace(folder / row["trace"])
        assert len(trace.events) == row["nr_events"] > 1000
        names = trace.tasks["comm"].to_list()
        assert set(trace.tasks["label"]) == {"pipes"}
        assert set(names) == {"hackbench"} and len(names) == 161  # nothing but the workload

    refused = schedtuna(*arguments)
    assert refused.returncode == 2
    assert f"--resume {folder}" in refused.stderr

    shutil.rmtree(folder / "pipes_8")
    (folder / ".pipes_8.partial").mkdir()  # as a killed recorder leaves it
    (folder / ".pipes_8.partial/manifest.json").write_text("{")
    first = (folder / "pipes_7/manifest.json").stat().st_mtime_ns
    done = schedtuna("suite", "record", "--resume", str(folder))
    assert done.returncode == 0, done.stderr
    assert "2 traces in" in done.stdout
    assert (folder / "pipes_7/manifest.json").stat().st_mtime_ns == first
    assert sorted(path.name for path in folder.iterdir()) == [
        "pipes_7",
        "pipes_8",
        "set.json",
        "traces.jsonl",
    ]
    assert schedtuna("suite", "record", "--resume", str(folder), "--seed", "1").returncode == 2


def start_recording(folder, repeats):
    command = [sys.executable, "-m", "schedtuna", "suite", "record", "short-bursts", "-o", str(folder)]
    process = subprocess.Popen(
        [*command, "--procfs", "--seed", "987654", "--runs", str(repeats)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert wait_until(lambda: (folder / ".short-bursts_987654.partial/manifest.json").exists() and hogs())
    return process


def test_an_interrupted_set_holds_whole_traces_only_and_says_how_to_go_on(tmp_path):
    folder = tmp_path / "set"
    process = start_recording(folder, 20)
    busy = schedtuna("suite", "record", "--resume", str(folder))
    assert busy.returncode == 2
    assert "is being recorded right now" in busy.stderr
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert f"suite record --resume {folder}" in errors
    assert wait_until(lambda: not hogs())
    index = [json.loads(line) for line in (folder / "traces.jsonl").read_text().splitlines()]
    assert len(index) < 20
    assert all(row["state"] == "complete" for row in index)
    traces = {row["trace"] for row in index}
    assert {path.name for path in folder.iterdir()} == {"set.json", "traces.jsonl", *traces}


def test_a_killed_set_is_finished_by_resuming_it(tmp_path):
    folder = tmp_path / "set"
    process = start_recording(folder, 2)
    process.kill()
    process.communicate()
    assert wait_until(lambda: not hogs())
    assert list(folder.glob(".*.partial"))
    done = schedtuna("suite", "record", "--resume", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["traces"]
    assert [(row["trace"], row["mode"]) for row in rows] == [
        ("short-bursts_987654", "procfs"),
        ("short-bursts_987655", "procfs"),
    ]
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "is not a set of traces"), ("{", "is damaged"), ('{"workloads": []}', "is damaged")],
)
def test_what_is_not_a_set_can_not_be_resumed(tmp_path, content, message):
    if content is not None:
        (tmp_path / "set.json").write_text(content)
    done = schedtuna("suite", "record", "--resume", str(tmp_path))
    assert done.returncode in {1, 2}
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "mine").touch()
    done = schedtuna("suite", "record", "short-bursts", "--procfs", "-o", str(tmp_path))
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_record_names_what_it_does_not_know(tmp_path):
    done = schedtuna("suite", "record", "pipe", "-o", str(tmp_path / "set"))
    assert done.returncode == 2
    assert "did you mean pipes?" in done.stderr
    assert not (tmp_path / "set").exists()


@needs_hackbench
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_set_that_can_not_be_recorded_leaves_nothing_behind(everybodys_folder):
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
    command = [*nobody, sys.executable, "-m", "schedtuna", "suite", "record", "pipes"]
    done = subprocess.run(
        [*command, "-o", everybodys_folder / "set"],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        timeout=120,
    )
    assert done.returncode == 3
    assert "CAP_BPF and CAP_PERFMON" in done.stderr
    assert "--resume" not in done.stderr
    assert not (everybodys_folder / "set").exists()
