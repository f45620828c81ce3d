"""The simulator's fair class against kernel/sched/fair.c's rules: cases in C++, under both sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILER = shutil.which("g++") or ""
pytestmark = pytest.mark.skipif(not COMPILER, reason="no g++")
QUEUE_CASES = ("edges", "protection", "inverse_weights", "placement", "delayed", "new_weight", "variants")


def compile_checked(program: Path, *sources: Path) -> Path:
    """A program of ours with every check that the compiler has."""
    command: list[str | Path] = [
        COMPILER,
        *("-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-Werror"),
        *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
        *(f"-I{ROOT / folder}" for folder in ("native", "include")),
        *sources,
        *("-o", program),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture(scope="module")
def queue_cases(tmp_path_factory) -> Path:
    return compile_checked(
        tmp_path_factory.mktemp("fair") / "fair_queue",
        ROOT / "native/sim/fair_queue.cpp",
        ROOT / "tests/native/fair_queue.cpp",
    )


def test_every_case_of_a_queue_is_run(queue_cases):
    listed = subprocess.run([queue_cases], capture_output=True, text=True, check=True).stdout
    assert tuple(listed.split()) == QUEUE_CASES


@pytest.mark.parametrize("case", QUEUE_CASES)
def test_a_queue_follows_the_kernels_rules(queue_cases, case):
    done = subprocess.run([queue_cases, case], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
