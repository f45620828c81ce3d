"""What a tool that measured nothing, or prints numbers in pieces, makes of a comparison."""

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from tests.commands import run_schedtuna

OUTPUTS = Path(__file__).parents[1] / "unit/workload/outputs"
HERE = os.getpriority(os.PRIO_PROCESS, 0)
NICER = f"fair:nice={HERE + 5}"


def tool(folder: Path, name: str, default: str, candidate: str) -> None:
    """A stand-in that prints one text, and another one under a raised nice."""
    (folder / "default.txt").write_text(default)
    (folder / "candidate.txt").write_text(candidate)
    path = folder / "bin" / name
    path.parent.mkdir()
    path.write_text(
        f'#!/bin/sh\n[ "$(nice)" -gt {HERE} ] && exec cat "{folder}/candidate.txt"\n'
        # the last digit differs from run to run
        f'sed "s/NOISE/$((SCHEDTUNA_SEED % 9))/" "{folder}/default.txt"\n'
    )
    path.chmod(0o755)


def schedtuna(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_schedtuna(
        *arguments,
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "SCHEDTUNA_STATE_DIR": str(folder / "state"),
            "COLUMNS": "200",
        },
        timeout=300,
    )


def compared(folder: Path, metric: str, *command: str) -> subprocess.CompletedProcess[str]:
    asked = ["-m", metric] if metric else []
    return schedtuna(
        folder, "compare", "default", NICER, "--budget", "12", "--seed", "1", *asked, "--json", "--", *command
    )


WRK = (OUTPUTS / "wrk-latency.txt").read_text()


def test_a_server_that_is_down_is_not_the_fastest(tmp_path):
    lines = WRK.splitlines()
    at = next(n for n, line in enumerate(lines) if "requests in" in line)
    down = "\n".join([*lines[:at], "  0 requests in 1.00s, 0.00B read", "Requests/sec:      0.00"])
    tool(tmp_path, "wrk", WRK, down)
    found = compared(tmp_path, "p99_us", "wrk", "--latency", "http://127.0.0.1:8080/")
    assert found.returncode == 1
    assert found.stdout == ""
    assert "no verdict: " in found.stderr
    assert "wrk measured nothing: requests is 0" in found.stderr
    assert "0 requests in 1.00s" in found.stderr  # its own words


def test_a_starved_stressor_is_not_left_out_of_the_mean(tmp_path):
    text = (OUTPUTS / "stress-ng-metrics.txt").read_text()
    starved = text.replace("switch           239075", "switch                0")
    assert starved != text
    tool(tmp_path, "stress-ng", text, starved)
    found = compared(tmp_path, "", "stress-ng", "--cpu", "1", "--switch", "1", "--metrics")
    assert (found.returncode, found.stdout) == (1, "")
    assert "switch.bogo_ops is 0" in found.stderr


def test_a_stressor_that_is_gone_is_not_left_out_of_the_mean(tmp_path):
    text = (OUTPUTS / "stress-ng-metrics.txt").read_text()
    gone = "".join(line for line in text.splitlines(keepends=True) if "] switch" not in line)
    tool(tmp_path, "stress-ng", text, gone)
    found = compared(tmp_path, "", "stress-ng", "--cpu", "1", "--switch", "1", "--metrics")
    assert (found.returncode, found.stdout) == (1, "")
    assert "other parts than the default's first run: without switch" in found.stderr


def test_a_unit_behind_the_pattern_does_not_turn_the_verdict_round(tmp_path):
    tool(tmp_path, "iobench", "read: IOPS=99NOISE, BW=4.8MiB/s\n", "read: IOPS=1.21k, BW=4.8MiB/s\n")
    found = compared(tmp_path, "iops:max=regex:IOPS=([0-9.]+)", "iobench")
    assert found.returncode == 0, found.stderr
    summary = json.loads(found.stdout)
    assert summary["verdict"] == "improved"
    assert 1.2 < summary["effect"]["ratio"] < 1.23


def test_grouped_digits_are_refused_and_shown(tmp_path):
    tool(tmp_path, "bench", "score 1,234.5\n", "score 1,234.5\n")
    pattern = "score:max=regex:score ([0-9.]+)"
    found = schedtuna(tmp_path, "variability", "-n", "2", "-m", pattern, "--", "bench")
    assert found.returncode == 1
    assert "the number goes on: 1,234.5" in found.stderr
    found = compared(tmp_path, pattern, "bench")
    assert (found.returncode, found.stdout) == (1, "")


def test_a_candidate_whose_numbers_alone_are_unclear_is_not_worse(tmp_path):
    tool(tmp_path, "bench", "score 99NOISE\n", "score 1,234\n")
    found = compared(tmp_path, "score:max=regex:score ([0-9.]+)", "bench")
    assert (found.returncode, found.stdout) == (1, "")
    assert "the number goes on: 1,234" in found.stderr


def test_errors_that_only_the_candidate_has_are_told_and_not_an_improvement(tmp_path):
    failing = WRK.replace("Requests/sec:", "  Non-2xx or 3xx responses: 900\nRequests/sec:")
    faster = failing.replace("3.44ms", "0.44ms")
    assert faster != failing != WRK
    tool(tmp_path, "wrk", WRK.replace("3.44ms", "3.4NOISEms"), faster)
    found = compared(tmp_path, "p99_us", "wrk", "--latency", "http://127.0.0.1:8080/")
    assert found.returncode == 0, found.stderr
    summary = json.loads(found.stdout)
    assert summary["verdict"] == "no_evidence"
    assert "more of the candidate's work fails: responses other than 2xx and 3xx" in summary["sentence"]
    assert "instead of 0%" in summary["notes"][0]
    assert summary["failing"][0]["candidate"] > summary["failing"][0]["default"] == 0


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_the_real_wrk_on_a_server_that_never_answers_measured_nothing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        command = ["wrk", "-t1", "-c2", "-d1s", "--latency", url]
        found = schedtuna(tmp_path, "variability", "-n", "2", "-m", "p99_us", "--", *command)
    assert found.returncode == 1
    assert "none of the first 2 runs succeeded: wrk measured nothing: requests is 0" in found.stderr
