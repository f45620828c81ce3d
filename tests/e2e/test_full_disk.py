"""What commands say of a disk that is full or read-only: the place, the reason, what to do."""

import os
import re
import shutil
import subprocess

import pytest
from tests.commands import run_schedtuna
from tests.unit.trace.formats.texts import VMSTAT_T


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    (folder / "filler").write_bytes(b"x" * (64 << 10))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def schedtuna(folder, *arguments):
    """Run a command in the folder that the disk is mounted in; a lab would be on it, too."""
    return run_schedtuna(
        *arguments, timeout=120, cwd=folder, env=os.environ | {"SCHEDTUNA_LAB_DIR": str(folder / "disk/lab")}
    )


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (["import", "vmstat.txt", "-o", "disk/trace"], "disk/trace"),
        (["trace", "export", "trace", "--csv", "--table", "system", "-o", "disk/x.csv"], "disk/x.csv"),
        (["record", "--procfs", "--for", "1s", "-o", "disk/trace"], "disk/trace"),
        (["suite", "record", "short-bursts", "-o", "disk/set"], "disk/set"),
        (["variability", "-n", "1", "--csv", "disk/x.csv", "--", "true"], "disk/x.csv"),
        (["lab", "setup"], "disk/lab"),
        (["sim", "run", "interactive", "--for", "1s", "-o", "disk/trace"], "disk/trace"),
        (["sim", "replay", "trace", "--scheduler", "rr", "-o", "disk/replay"], "disk/replay"),
        (["sim", "calibrate", "trace", "-o", "disk/machine.json"], "disk/machine.json"),
        (["sim", "fidelity", "--quick", "--load", "hogs", "-o", "disk/runs"], "disk/runs"),
        (["model", "export", "migration", "--to", "c", "-o", "disk/model"], "disk/model"),
        (["dataset", "load", "suite-v1", "--task", "burst", "-o", "disk/set"], "disk/set"),
        (["train", "set", "--model", "tree", "--budget", "1", "-o", "disk/models"], "disk/models"),
        (["agent", "monitoring", "disk/rules"], "disk/rules/alerts.yml"),
    ],
)
def test_the_place_that_is_full_is_named(tmp_path, disk, command, place):
    if command[0] == "lab" and not shutil.which("apt-get"):
        pytest.skip("the lab is set up by apt")
    (tmp_path / "vmstat.txt").write_bytes(VMSTAT_T)
    if command[0] == "train":
        made = schedtuna(tmp_path, "dataset", "load", "suite-v1", "--task", "burst", "-o", "set")
        assert made.returncode == 0, made.stderr
    if command[0] == "trace":
        assert schedtuna(tmp_path, "import", "vmstat.txt", "-o", "trace").returncode == 0
    if command[0] == "sim" and "trace" in command:
        made = schedtuna(tmp_path, "sim", "run", "interactive", "--cpus", "2", "--for", "1s", "-o", "trace")
        assert made.returncode == 0, made.stderr
    done = schedtuna(tmp_path, *command)
    assert done.returncode == 1, done.stderr
    assert f"{place}: No space left on device" in done.stderr
    assert "hint: free some space" in done.stderr
    if command[:2] == ["model", "export"]:
        assert not (tmp_path / place).exists()


def test_a_results_folder_that_does_not_fit_is_named_and_not_left_behind(tmp_path, disk):
    os.truncate(disk / "filler", 56 << 10)  # room for the log's first line, not for the manifest
    arguments = ("default", "fair:nice=5", "-n", "12", "--results", "disk/results", "--", "true")
    done = schedtuna(tmp_path, "compare", *arguments)
    assert done.returncode == 1, done.stderr
    assert re.search(
        r"^error: disk/results/compare_true_\S+: No space left on device$", done.stderr, re.MULTILINE
    )
    assert "hint: free some space" in done.stderr
    assert not (disk / "results").exists()


def test_an_agent_names_the_folder_that_is_full_and_tells_of_rows_that_are_lost(tmp_path, disk, monkeypatch):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(disk / "state"))
    arguments = ("agent", "run", "--for", "0.5s", "--interval", "0.1")
    done = schedtuna(tmp_path, *arguments)
    assert done.returncode == 1, done.stderr
    assert f"error: {disk}/state/agent.lock: No space left on device" in done.stderr
    os.truncate(disk / "filler", 60 << 10)  # room for the lock, not for the log
    done = schedtuna(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert re.search(r"rows could not be written", done.stdout)


def test_a_place_that_can_not_be_written_is_named(tmp_path, disk):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    (tmp_path / "vmstat.txt").write_bytes(VMSTAT_T)
    for command, place in (
        (["import", "vmstat.txt", "-o", "trace"], ""),
        (["trace", "export", "trace", "--jsonl", "-o", "disk/x.jsonl"], "disk/x.jsonl"),
        (["import", "vmstat.txt", "-o", "disk/trace"], "disk/trace"),
    ):
        done = schedtuna(tmp_path, *command)
        assert done.returncode == bool(place), done.stderr
        if place:
            assert f"error: {place}: Read-only file system" in done.stderr
            assert "hint: choose a place" in done.stderr
