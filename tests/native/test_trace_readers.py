"""The native part of the trace package under AddressSanitizer and UBSan, given damaged files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("perf_records", "raw_event", "sched_text", "task_states", "task_sums")
SOURCES = [ROOT / f"native/trace/{name}.c" for name in NAMES]
COMPILER = shutil.which("gcc") or ""
pytestmark = pytest.mark.skipif(not COMPILER, reason="no gcc")
# Whose tests give the native code most of its kinds of input.
TESTED = ("formats/test_sched_text.py", "formats/test_perf_data.py", "test_intervals.py", "test_fairness.py")
WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wconversion"]


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> Path:
    """The library with every check that the compiler has."""
    library = Path(tmp_path_factory.mktemp("native") / "trace.so")
    command: list[str | Path] = [
        COMPILER,
        *WARNINGS,
        "-O1",
        "-g",
        "-fPIC",
        "-shared",
        "-fvisibility=hidden",
        f"-I{ROOT / 'include'}",
        *SOURCES,
        "-o",
        library,
    ]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    assert plain.returncode == 0, plain.stderr
    # Unaligned numbers are read by memcpy; those that numpy gives are aligned.
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    if subprocess.run([*command, *checks], capture_output=True, check=False).returncode:
        pytest.skip("the compiler has no sanitizers")
    return library


def run_checked(checked: Path, *arguments: str | Path) -> str:
    """Run Python with the library, and return what it prints."""
    runtime = subprocess.run(
        [COMPILER, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    done = subprocess.run(
        [sys.executable, *arguments],
        env={
            **os.environ,
            "LD_PRELOAD": runtime,
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
            "PYTHONPATH": str(ROOT),
            "PYTHONMALLOC": "malloc",
            "CHECKED_LIBRARY": str(checked),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if "Shadow memory range interleaves" in done.stderr or "cannot be preloaded" in done.stderr:
        pytest.skip("AddressSanitizer does not work here")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("nr_files", [100, pytest.param(2000, marks=pytest.mark.long)])
def test_damaged_files_make_no_reader_leave_its_memory(checked, nr_files):
    fuzz = Path(__file__).with_name("trace_fuzz.py")
    nr_read, nr_refused = map(int, run_checked(checked, fuzz, str(nr_files)).split())
    assert nr_read > nr_files / 2
    assert nr_refused > nr_files / 10


def test_what_the_readers_tests_read_makes_none_leave_its_memory(checked):
    tests = [ROOT / "tests/unit/trace" / name for name in TESTED]
    plugins = ("-p", "tests.native.checked_library", "-p", "no:cacheprovider")
    assert " passed" in run_checked(checked, "-m", "pytest", "-q", *plugins, *tests)
