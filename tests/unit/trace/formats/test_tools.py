"""What is said where a file needs another program to be read, and that is not there or finds nothing."""

import shutil

import pytest

from schedtuna.errors import TraceError, UnavailableError
from schedtuna.trace.formats import load

TRACE_DAT = b"\x17\x08\x44tracing6\0\0\x08"
PIPED_PERF_DATA = b"PERFILE2" + (16).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("content", "package", "elsewhere"),
    [
        (TRACE_DAT, "trace-cmd", "trace-cmd report -N -t -i FILE > TEXT"),
        (PIPED_PERF_DATA, "linux-perf", "perf script --ns -F"),
    ],
    ids=["trace.dat", "piped perf.data"],
)
def test_without_the_program_its_package_and_a_way_around_are_named(
    tmp_path, monkeypatch, content, package, elsewhere
):
    (tmp_path / "x").write_bytes(content)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(UnavailableError, match="is not installed") as caught:
        load(tmp_path / "x")
    assert str(tmp_path / "x") in str(caught.value)
    assert f"install the package {package}," in caught.value.hint
    assert elsewhere in caught.value.hint


def test_a_file_that_the_program_finds_nothing_in_is_named(tmp_path):
    if shutil.which("trace-cmd") is None:
        pytest.skip("trace-cmd is not installed")
    (tmp_path / "x").write_bytes(TRACE_DAT)
    with pytest.raises(TraceError, match="x: trace-cmd finds no scheduler events in it"):
        load(tmp_path / "x")
