"""Damaged models never lead the native runtime outside its arrays: under sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.native.programs import ROOT, SANITIZED, compile_program


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory) -> Path:
    sources = [*sorted((ROOT / "native/model").glob("*.cpp")), ROOT / "tests/native/model_fuzz.cpp"]
    return compile_program(tmp_path_factory.mktemp("model") / "fuzz", sources, SANITIZED)


def fuzz(program: Path, count: int, seed: int) -> None:
    done = subprocess.run([program, str(count), str(seed)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    refused, *built = map(int, done.stdout.split())
    assert refused + sum(built) == count
    assert refused >= count / 10 and min(built) >= count / 40  # both are there: refused ones, and others


def test_damaged_models_lead_nowhere(fuzzer):
    fuzz(fuzzer, 200, 1)


@pytest.mark.long
def test_many_damaged_models_lead_nowhere(fuzzer):
    for seed in range(2, 12):
        fuzz(fuzzer, 20_000, seed)
