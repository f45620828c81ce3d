"""The simulated machine without Python: cases in C++, under both sanitizers, every invariant checked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.native.programs import ENGINE, ENVIRONMENTS, ROOT, cases_of, compile_program

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="no g++")
SOURCES = {
    name: ROOT / f"tests/native/sim_{name}.cpp"
    for name in ("engine", "decisions", "swap", "extremes", "random")
} | {
    "environments": ROOT / "tests/native/env_core.cpp",
    "migrate": ROOT / "tests/native/env_migrate.cpp",
}
NEEDED = dict.fromkeys(SOURCES, ENGINE) | {
    "random": [ROOT / "native/sim/random.cpp"],
    "environments": ENVIRONMENTS,
    "migrate": ENVIRONMENTS,
}
CASES = [(name, case) for name, source in SOURCES.items() for case in cases_of(source)]


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sim")
    return {name: compile_program(folder / name, [source, *NEEDED[name]]) for name, source in SOURCES.items()}


@pytest.mark.parametrize("name", SOURCES)
def test_every_case_is_run(programs, name):
    listed = subprocess.run([programs[name]], capture_output=True, text=True, check=True).stdout
    assert listed.split() == cases_of(SOURCES[name])


@pytest.mark.parametrize(("name", "case"), CASES)
def test_the_machine_does_what_its_contract_says(programs, name, case):
    done = subprocess.run([programs[name], case], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_threads_share_nothing(tmp_path):
    flags = ("-O1", "-fsanitize=thread")
    program = compile_program(tmp_path / "extremes", [SOURCES["extremes"], *ENGINE], flags)
    done = subprocess.run([program, "forks_in_threads"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
