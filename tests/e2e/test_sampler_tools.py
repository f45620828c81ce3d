"""The real vmstat, pidstat and dool, in several languages, as they print today."""

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime

import pytest
from tests.commands import run_schedtuna

LANGUAGES = ("fr_FR", "pl_PL", "de_DE", "ko_KR", "en_GB", "en_US")


@pytest.fixture(scope="module")
def locales(tmp_path_factory):
    """A folder of locales for LOCPATH, made by the machine's own localedef."""
    if shutil.which("localedef") is None:
        pytest.skip("localedef is not installed")
    folder = tmp_path_factory.mktemp("locales")
    for name in LANGUAGES:
        command = ["localedef", "-i", name, "-f", "UTF-8", str(folder / f"{name}.UTF-8")]
        if subprocess.run(command, check=False, capture_output=True).returncode > 1:  # 1: made, with warnings
            pytest.skip(f"localedef has no source of {name} (package locales)")
    return folder


def in_language(command, name, locales=None):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    where = {"LOCPATH": str(locales), "LC_ALL": f"{name}.UTF-8"} if name != "C" else {"LC_ALL": "C"}
    inherited = {
        key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "S_TIME"))
    }
    done = subprocess.run(command, check=True, capture_output=True, env={**inherited, **where, "TZ": "UTC"})
    return done.stdout


def imported(path, *options, code=0):
    """What import says, and the stored samples."""
    folder = path.with_name(path.name + ".trace")
    done = run_schedtuna("import", path, "-o", folder, "--json", *options)
    assert done.returncode == code, done.stderr
    if code:
        return done.stderr
    from schedtuna.trace.store import open_trace

    return json.loads(done.stdout.splitlines()[-1]), open_trace(folder)


def printed(tmp_path, command, name, locales=None):
    path = tmp_path / "text"
    path.write_bytes(in_language(command, name, locales))
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(("C", ["-t", *more]) for more in ([], ["-w"], ["-a"], ["-n"])),
        *((name, ["-t", "-w"]) for name in ("fr_FR", "ko_KR")),
        *((name, ["-t", "-a"]) for name in ("pl_PL", "de_DE")),
    ],
)
def test_vmstat_is_read_in_every_language(tmp_path, request, name, options):
    locales = None if name == "C" else request.getfixturevalue("locales")
    before = datetime.now(UTC).timestamp()
    said, trace = imported(printed(tmp_path, ["vmstat", *options, "1", "3"], name, locales))
    after = datetime.now(UTC).timestamp()
    assert said["format"] == "vmstat"
    rows = trace.samples().rows(named=True)
    assert len(rows) == 2
    for row in rows:
        assert not [column for column in row if column.startswith("vmstat_")]
        assert int(before) <= row["timestamp_ns"] / 1e9 <= after
        assert row["memory_free_bytes"] > 2**20
        shares = sum(row[f"{share}_percent"] for share in ("user", "system", "idle", "iowait", "steal"))
        assert 94 <= shares <= 106
        assert ("memory_active_bytes" in row) is ("-a" in options)
        assert ("cache_bytes" in row) is ("-a" not in options)


@pytest.mark.parametrize("unit", ["k", "m", "M"])
def test_vmstat_in_other_units_gives_no_bytes(tmp_path, unit):
    said, trace = imported(printed(tmp_path, ["vmstat", "-S", unit, "1", "2"], "C"))
    (row,) = trace.samples().rows(named=True)
    if "memory_free_bytes" in row:  # whole pages by chance: 1 in 64
        pytest.skip("the numbers happen to be multiples of 4")
    assert row["vmstat_free"] > 0
    assert "unit" in str(said["notes"])


def test_vmstat_without_the_row_since_boot_loses_none(tmp_path):
    path = printed(tmp_path, ["vmstat", "-y", "-t", "1", "2"], "C")
    assert imported(path, "--format", "vmstat-y")[1].samples().height == 2


@pytest.mark.parametrize("options", [[], ["-w"]])
def test_vmstat_without_times_says_that_they_are_made_up(tmp_path, options):
    said, trace = imported(printed(tmp_path, ["vmstat", *options, "1", "2"], "C"))
    assert trace.sample_times == "made up"
    assert "made up" in said["notes"][0]
    path = tmp_path / "text.trace"
    assert "made up" in run_schedtuna("stats", path).stdout
    assert run_schedtuna("stats", path, "--from", "1").returncode == 2
    assert run_schedtuna("trace", "export", path, "--perfetto", "-o", tmp_path / "x").returncode == 1


@pytest.mark.parametrize("name", ["C", "en_US", "en_GB", "fr_FR", "de_DE", "ko_KR"])
def test_pidstat_is_of_today_or_refused(tmp_path, request, name):
    locales = None if name == "C" else request.getfixturevalue("locales")
    text = in_language(["pidstat", "-p", str(os.getpid()), "1", "1"], name, locales)
    path = tmp_path / "text"
    path.write_bytes(
        b"\n".join(text.splitlines()[:4]) + b"\n"
    )  # the averages at the end are in that language
    today = datetime.now(UTC)
    said, trace = imported(path)
    (row,) = trace.samples("process").rows(named=True)
    told = "does not say itself" in str(said["notes"])
    if not told or name in {"C", "en_US", "fr_FR", "ko_KR"}:
        assert abs(row["timestamp_ns"] / 1e9 - today.timestamp()) < 600
    assert told or name in {"C", "en_US", "de_DE", "ko_KR"} or today.day > 12 or today.day == today.month
    assert row["pid"] == os.getpid()


def test_pidstat_without_an_interval_is_not_a_sample(tmp_path):
    path = printed(tmp_path, ["pidstat"], "C")
    assert "averages since boot" in imported(path, code=1)


def test_dool_is_read_with_its_times(tmp_path):
    output = tmp_path / "text"
    in_language(["dool", "-c", "-T", "--output", str(output), "1", "2"], "C")
    _, trace = imported(output)
    assert trace.sample_times == "column"
    assert trace.samples().height >= 1
