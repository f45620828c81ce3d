"""The same seeds give the same bits: whatever compiles the simulator, and however many threads run it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.native.programs import ENGINE, ROOT, compile_program

# What two dozen loads come to under each scheduler. If the model changes, so do they: CHANGELOG.md says it.
GOLDEN = {
    "fifo": "53340ddf968926eb",
    "rr": "13210dc404ebb8ab",
    "sjf": "14b36fdcfdcf0e9a",
    "srtf": "85e1fa4f98dee5db",
    "las": "94dea0fc23b495cb",
    "gittins": "4649a07b20715cca",
    "mlfq": "7f8fbfd4d631c101",
    "vtime": "2bfae1fac0c6de50",
    "interactive": "5b3cb1e32566ffe3",
    "fair": "315ccde8b8d181e1",
    "lottery": "3488fdeb12f658ca",
    "stride": "fdf5b30c8a0c403f",
    "grouped": "f847503aa78922cf",
    "uneven:rr": "dae3eddd02118601",
    "uneven:grouped": "28e893cc4ac4d001",
}


# gcc 12 at -O3 sees overlaps in the library's strings that there are not (its bug 105651).
NO_FALSE_ALARM = "-Wno-restrict"


def hashes(
    folder: Path, flags: tuple[str, ...], compiler: str = "g++", threads: int = 1, emulator: str | None = None
) -> dict[str, str]:
    """What a build of it says."""
    for needed in filter(None, (compiler, emulator)):
        if not shutil.which(needed):
            pytest.skip(f"no {needed}")
    program = folder / "golden"
    if not program.exists():
        compile_program(program, [ROOT / "tests/native/sim_golden.cpp", *ENGINE], flags, compiler)
    command: list[str | Path] = [*filter(None, [emulator]), program, str(threads), *GOLDEN]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900)
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return Path(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("threads", [1, 4])
def test_switches_are_the_committed_ones(folder, threads):
    assert hashes(folder, ("-O2",), threads=threads) == GOLDEN


@pytest.mark.long
@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("g++", ("-O0",)),
        ("g++", ("-O3", NO_FALSE_ALARM)),
        ("g++", ("-O3", "-march=native", NO_FALSE_ALARM)),
        ("g++", ("-O1", "-fsanitize=undefined", "-fno-sanitize-recover=all")),
        ("clang++", ("-O0",)),
        ("clang++", ("-O2",)),
    ],
)
def test_no_compiler_changes_them(tmp_path, compiler, flags):
    assert hashes(tmp_path, flags, compiler) == GOLDEN


# Debian's g++-aarch64-linux-gnu, g++-s390x-linux-gnu and qemu-user.
@pytest.mark.long
@pytest.mark.parametrize("machine", ["aarch64", "s390x"])
def test_no_architecture_changes_them(tmp_path, machine):
    found = hashes(tmp_path, ("-O2", "-static"), f"{machine}-linux-gnu-g++", emulator=f"qemu-{machine}")
    assert found == GOLDEN
