"""The bundled workloads: each is complete, runs, and measures what its table says."""

from __future__ import annotations

import json
import os
import random
import runpy
import subprocess
import sys

import pytest

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.resources import resource_path
from schedtuna.workload import suite as suite_module
from schedtuna.workload.command import run
from schedtuna.workload.metrics import parse_metric, read_metrics
from schedtuna.workload.suite import PACKAGES, ROWS, in_guest, ready_workload, suite, suite_workload

MIX = str(resource_path("workload/programs/mix.py"))


def test_names_are_distinct_and_tools_have_packages():
    assert len(suite()) == len(ROWS)
    assert all(set(row.tools) <= PACKAGES.keys() for row in ROWS)


@pytest.mark.parametrize("nr_cpus", [1, 2, 256])
def test_sizes_follow_the_cpus(nr_cpus):
    for entry in suite(nr_cpus).values():
        text = " ".join(entry.workload.argv).replace("{seed}", "")
        assert "{" not in text
    assert f"--cpu {2 * nr_cpus} " in " ".join(suite(nr_cpus)["cpu-bound"].workload.argv)


@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_every_workload_runs_and_gives_its_metric(name):
    entry = suite_workload(name)
    if entry.missing:
        pytest.skip(f"{', '.join(entry.packages)} is not installed")
    raw = run(entry.workload, 3)
    assert not raw.failure, raw.tail()
    assert read_metrics(entry.workload, [entry.metric], raw)[entry.metric.name] > 0
    assert not raw.truncated


def test_unknown_names_propose_known_ones():
    with pytest.raises(UsageError, match="did you mean short-bursts"):
        suite_workload("short-burst")


def test_missing_tools_are_named_with_their_packages(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    entry = suite_workload("latency-under-load")
    with pytest.raises(UnavailableError, match="needs cyclictest and stress-ng") as info:
        entry.require_tools()
    assert info.value.hint == "sudo apt-get install rt-tests stress-ng"
    with pytest.raises(UnavailableError):
        ready_workload()


def test_the_default_has_a_throughput_and_a_latency():
    workload = suite_workload(suite_module.DEFAULT).workload
    assert parse_metric("throughput", workload).direction == "max"
    assert parse_metric("latency", workload).direction == "min"


def mix(*options: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-I", MIX, *options], capture_output=True, text=True, check=True, timeout=60
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_seed_fixes_the_requests():
    options = ("--seconds", "0.5", "--hogs", "0", "--units", "1", "--tasks", "3")
    first, again, other = (mix(*options, "--seed", seed)["nr_requests"] for seed in ("1", "1", "4"))
    assert first == again
    assert first != other


def test_latencies_are_at_least_the_work():
    # An answer of n units takes no less time than n units of work on an idle CPU.
    figures = mix("--seconds", "0.5", "--hogs", "0", "--units", "20", "--rate", "20", "--helper")
    assert 0 < figures["p50_us"] <= figures["p90_us"] <= figures["p99_us"] <= figures["max_us"]
    assert figures["ops_per_s"] == 0


def test_hogs_work_and_no_requests_need_no_latency():
    figures = mix("--seconds", "0.3", "--hogs", "2", "--tasks", "0")
    assert figures["ops_per_s"] > 0
    assert "p99_us" not in figures


def test_what_is_skipped_does_not_count_and_parts_can_be_swapped():
    options = ("--seconds", "0.8", "--tasks", "2", "--hogs", "2", "--units", "2", "--rate", "100")
    whole, swapped = mix(*options), mix(*options, "--swap")
    assert swapped["nr_requests"] == whole["nr_requests"]
    assert swapped["ops_per_s"] > 0
    skipped = mix(*options, "--skip", "0.6", "--swap")
    assert 0 < skipped["nr_requests"] < whole["nr_requests"] / 2
    assert skipped["ops_per_s"] > 0


def test_who_is_who_is_told_before_the_figures():
    command = [sys.executable, "-I", MIX, "--seconds", "0.2", "--tasks", "2", "--hogs", "1", "--announce"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    roles, figures = map(json.loads, done.stdout.splitlines())
    assert (len(roles["interactive"]), len(roles["batch"])) == (2, 1)
    assert figures["nr_requests"] > 0


def test_long_running_tasks_can_have_sessions_of_their_own():
    program = runpy.run_path(MIX)

    def session(*, apart: bool) -> int:
        pipe = program["fork_reporter"](lambda: [program["hog"](0, apart=apart), os.getsid(0)], [])
        found = program["collect"](pipe)[1]
        os.wait()
        return int(found)

    assert session(apart=False) == os.getsid(0)
    assert session(apart=True) != os.getsid(0)


def test_smaller_units_of_work_arrive_at_the_same_times():
    program = runpy.run_path(MIX)

    def requests(*options: str) -> list[tuple[int, int]]:
        parsed = program["parse_options"](["--rate", "50", *options])
        return list(program["draw_requests"](random.Random(1), parsed))

    whole, fifth = requests(), requests("--loops", "200")
    assert len(whole) > 50
    assert [(at_ns, nr_loops // 5) for at_ns, nr_loops in whole] == fifth


def test_our_own_program_goes_along_to_another_machine():
    entry = suite_workload("short-bursts", 2)
    moved = in_guest(entry.workload)
    assert moved.argv[:3] == ("python3", "-I", "mix.py")
    assert moved.argv[3:] == entry.workload.argv[3:]
    assert moved.folder is not None and (moved.folder / "mix.py").is_file()
    other = suite_workload("pipes", 2).workload
    assert in_guest(other) == other
    own = entry.workload.model_copy(update={"argv": (sys.executable, "-I", "/tmp/mix.py")})
    assert in_guest(own) == own  # somebody's program, run by the same interpreter
