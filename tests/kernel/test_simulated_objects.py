"""scx_tuna for a kernel of the lab, in the simulated machine: what it asks of that kernel is there."""

from __future__ import annotations

import pytest
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.lab.build.examples import find_examples
from schedtuna.scheduler.objects import own_objects
from schedtuna.scheduler.tuna import DEFAULTS
from schedtuna.sim.objects import KERNEL_VARIABLE, found_objects, object_named, searched
from schedtuna.sim.simulation import Simulation


@pytest.fixture(autouse=True)
def lab_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = lab_or_skip()
    kernel = lab.kernels[lab.default_kernel]
    monkeypatch.setenv(KERNEL_VARIABLE, str(kernel.image.parent / "vmlinux"))
    if "scx_tuna" not in own_objects():
        pytest.skip("scx_tuna was not compiled: no clang 17 or newer was there")


@pytest.mark.parametrize(("native", "ratio"), [("true", 9.1), ("false", 1.75)])
def test_scx_tuna_shares_by_weight(native: str, ratio: float) -> None:
    tasks = {f"hog{nice}": {"run": 10_000, "loop": -1, "priority": nice} for nice in (0, 10)}
    load = {"global": {"duration": 20}, "tasks": tasks}
    simulation = Simulation(load, f"scx_tuna:native_priority={native}", cpus=1)
    simulation.run()
    used = {task.name: task.cpu_time_ns for task in simulation.state().tasks}
    assert used["hog0"] / used["hog10"] == pytest.approx(ratio, rel=0.05)


def test_the_labs_examples_are_found_by_name() -> None:
    lab = lab_or_skip()
    examples = find_examples(lab.kernels[lab.default_kernel])
    if "scx_simple" not in examples:
        pytest.skip("the kernel's examples are not built: `schedtuna lab setup --schedulers`")
    load = {"global": {"duration": 1}, "tasks": {"one": {"run": 1000, "loop": -1}}}
    simulation = Simulation(load, "scx_simple", cpus=1)
    simulation.run()
    assert simulation.state().tasks[0].cpu_time_ns > 0.9e9
    assert examples.keys() <= found_objects().keys()


def test_a_search_turns_what_can_be_set_while_scx_tuna_runs() -> None:
    found = object_named("scx_tuna")
    assert found is not None
    assert searched(found).parameters.keys() == DEFAULTS.keys()
