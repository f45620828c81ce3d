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


def test_damaged_files_make_no_reader_leave_its_memory(checked):
    runtime = subprocess.run(
        [COMPILER, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("trace_fuzz.py"), checked, "50"],
        env={
            **os.environ,
            "LD_PRELOAD": runtime,
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
            "PYTHONPATH": str(ROOT),
            "PYTHONMALLOC": "malloc",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if "Shadow memory range interleaves" in done.stderr or "cannot be preloaded" in done.stderr:
        pytest.skip("AddressSanitizer does not work here")
    assert done.returncode == 0, done.stderr[-3000:]
    nr_read, nr_refused = map(int, done.stdout.split())
    assert nr_read > 25
    assert nr_refused > 5
