"""What stock loaders prepare on a machine, read in a guest that is laid out as that, and simulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.commands import run_schedtuna
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.errors import SimulationError
from schedtuna.lab.errors import LabError
from schedtuna.lab.loader import prepared_by
from schedtuna.lab.store import Lab
from schedtuna.sim import simulate
from schedtuna.sim.objects import KERNEL_VARIABLE, found_objects


@pytest.fixture(scope="module")
def lab() -> Lab:
    return lab_or_skip()


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where nothing is kept of what loaders have said before."""
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(autouse=True)
def kernel(lab: Lab, objects: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = lab.kernel().image
    vmlinux = image.with_name("vmlinux")
    if not vmlinux.is_file():
        pytest.skip("the lab's kernel has no vmlinux with types")
    monkeypatch.setenv(KERNEL_VARIABLE, str(vmlinux))
    monkeypatch.setenv("SCHEDTUNA_OBJECTS_DIR", str(objects))


def program(name: str) -> str:
    if name not in found_objects():
        pytest.skip(f"no {name}: `schedtuna lab setup --schedulers`, SCHEDTUNA_SCX_PATH")
    return name


def settings(tmp_path: Path, name: str, *arguments: str, topology: str) -> tuple[Path, dict[str, Any]]:
    file = tmp_path / f"{name}.settings.json"
    done = run_schedtuna(
        "sim", "settings", program(name), "--topology", topology, "-o", str(file), "--json", "--", *arguments
    )
    assert done.returncode == 0, done.stderr
    return file, json.loads(done.stdout)


def test_what_is_said_to_a_loader_is_what_its_object_gets(tmp_path):
    file, told = settings(tmp_path, "scx_central", "-c", "1", "-s", "3000", topology="1x3x1")
    assert told["variables"]["central_cpu"] == {"own": 0, "set": 1}
    assert told["variables"]["slice_ns"]["set"] == 3_000_000
    assert told["variables"]["nr_cpu_ids"]["set"] == 3
    assert told["arguments"] == ["-c", "1", "-s", "3000"]
    assert told["unread"] == []
    trace = simulate("interactive", "scx_central", topology="1x3x1", duration_s=1, settings=file)
    assert trace.manifest["simulation"]["scheduler"]["object"]["settings"]["key"] == told["key"]


def test_a_scheduler_of_domains_runs_with_what_its_loader_computes(tmp_path):
    name = program("scx_rusty")
    with pytest.raises(SimulationError, match=r"ops\.init\(\) failed"):
        simulate("interactive", name, topology="2x2x1", duration_s=1)
    file, told = settings(tmp_path, name, topology="2x2x1")
    assert told["variables"]["nr_doms"]["set"] == 2
    trace = simulate("interactive", name, topology="2x2x1", duration_s=2, settings=file, coverage=True)
    ran, count = map(sum, zip(*trace.manifest["simulation"]["executed"].values(), strict=True))
    assert ran > count / 4


def test_a_loader_that_ends_before_it_starts_says_why(lab, tmp_path):
    with pytest.raises(LabError, match="it ended before it attached a scheduler") as told:
        prepared_by(lab, found_objects()[program("scx_central")], ["-Z"], topology="1x2x1")
    assert "scx_central in a guest of 1x2x1" in str(told.value)
