"""The simulated sched_ext around a scheduler written by hand: cases in C++, under both sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.native.programs import ENGINE, ROOT, cases_of, compile_program

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="no g++")
SOURCE = ROOT / "tests/native/scx_core.cpp"
CORE = sorted((ROOT / "native/scx").glob("*.cpp"))


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scx")
    in_c = [ROOT / "tests/native/scx_by_hand.c", *sorted((ROOT / "native/scx").glob("*.c"))]
    objects = []
    for source in in_c:
        target = folder / f"{source.stem}.o"
        command = ["gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
        command += [f"-I{ROOT / name}" for name in ("include", "native/scx")]
        subprocess.run([*command, "-c", source, "-o", target], check=True)
        objects.append(target)
    archive = folder / "by_hand.a"
    subprocess.run(["ar", "rcs", archive, *objects], check=True)
    return compile_program(folder / "scx_core", [SOURCE, *ENGINE, *CORE], libraries=(str(archive),))


def test_every_case_is_run(program):
    listed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert listed.split() == cases_of(SOURCE)


@pytest.mark.parametrize("case", cases_of(SOURCE))
def test_the_simulated_kernel_does_what_the_kernel_does(program, case):
    done = subprocess.run([program, case], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
