"""sched_ext objects, compiled here from their sources and run by the simulated machine."""

from __future__ import annotations

import json
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from schedtuna.backend.places.simulated import Simulated
from schedtuna.errors import SimulationError, UnavailableError, UsageError
from schedtuna.sim import simulate
from schedtuna.sim.native import cost_table
from schedtuna.sim.objects import KERNEL_VARIABLE, object_named, searched
from schedtuna.sim.simulation import Simulation
from schedtuna.trace.analysis import Analysis
from schedtuna.workload.spec import RunSpec

SOURCES = Path(__file__).parent / "bpf_sources"


CLANG = next(filter(None, (shutil.which(f"clang-{version}") for version in range(25, 16, -1))), None)
pytestmark = pytest.mark.skipif(CLANG is None, reason="no clang-17 or newer: enumerators of 64 bits")


def compile_bpf(folder: Path, name: str, text: str) -> bytes:
    source, target = folder / f"{name}.c", folder / f"{name}.o"
    source.write_text(text)
    options = ["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror", "-Wno-unused-function"]
    assert CLANG is not None
    subprocess.run([CLANG, *options, "-c", source, "-o", target], check=True)
    return target.read_bytes()


def hogs(*nices: int, seconds: float = 4) -> dict[str, object]:
    """A task per nice value that never stops."""
    tasks = {f"hog{i}": {"run": 10_000, "loop": -1, "priority": nice} for i, nice in enumerate(nices)}
    return {"global": {"duration": seconds}, "tasks": tasks}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bpf-schedulers")


@pytest.fixture(scope="module", autouse=True)
def kernel(work: Path) -> object:
    source = (SOURCES / "kernel.c").read_text()
    path = work / "kernel"
    path.write_bytes(compile_bpf(work, "kernel", source))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KERNEL_VARIABLE, str(path))
        patch.setenv("SCHEDTUNA_OBJECTS_DIR", str(work / "objects"))
        yield path


def compiled(work: Path, name: str, start: str = "") -> Path:
    path = work / f"{name}.bpf.o"
    if not path.exists():
        path.write_bytes(compile_bpf(work, name, start + (SOURCES / "vtime.bpf.c").read_text()))
    return path


@pytest.fixture(scope="module")
def vtime(work: Path) -> Path:
    return compiled(work, "vtime")


def cpu_time_ns(simulation: Simulation) -> dict[str, int]:
    return {task.name: task.cpu_time_ns for task in simulation.state().tasks}


def test_shares_follow_weights_as_virtual_time_has_them(vtime):
    simulation = Simulation(hogs(0, 0, 0, 5, 5, 5, seconds=40), str(vtime), cpus=1)
    simulation.run()
    used = cpu_time_ns(simulation)
    light, heavy = (sum(used[f"hog{i}"] for i in places) for places in ((3, 4, 5), (0, 1, 2)))
    assert light / heavy == pytest.approx(33 / 100, rel=0.03)  # of nice 5, as cgroups have it


def test_a_variable_of_the_object_is_a_parameter(vtime):
    switches = {}
    free = {name: 0 for name, *_ in cost_table() if name != "tick_ns"}
    for slice_us in (8000, 20000):
        trace = simulate(hogs(0, 0), f"{vtime}:slice_us={slice_us}", cpus=1, costs=free)
        switches[slice_us] = Analysis(trace).overall()["nr_switches"]
    assert switches[8000] == pytest.approx(4 / 0.008, rel=0.02)  # ticks are 4 ms apart
    assert switches[20000] == pytest.approx(4 / 0.020, rel=0.02)


def test_in_order_of_arrival_weights_do_not_count(vtime):
    simulation = Simulation(hogs(0, 10, seconds=4), f"{vtime}:in_order_of_arrival=true", cpus=1)
    simulation.run()
    used = cpu_time_ns(simulation)
    assert used["hog0"] == pytest.approx(used["hog1"], rel=0.02)


def test_results_say_what_ran_and_for_which_kernel(vtime, kernel):
    trace = simulate("interactive:member=1", str(vtime), cpus=2, duration_s=1, coverage=True)
    facts = trace.manifest["simulation"]
    assert facts["scheduler"]["name"] == str(vtime)
    assert facts["scheduler"]["object"]["name"] == "own_vtime"
    assert str(kernel) in facts["scheduler"]["object"]["kernel"]
    ran = {name: ran for name, (ran, _) in facts["executed"].items()}
    assert all(ran[f"vtime_{each}"] for each in ("init", "select_cpu", "enqueue", "dispatch", "stopping"))
    assert ran["fired"]  # the timer's
    assert json.dumps(facts)


def test_the_same_seed_is_the_same_run_and_a_fork_goes_on_alike(vtime):
    first, second = (Simulation("poisson:load=0.8", str(vtime), cpus=3, seed=5) for _ in range(2))
    first.run(1_000_000_000)
    forked = first.fork()
    for each in (first, forked, second):
        each.run(2_000_000_000)
    assert first.totals.hash == forked.totals.hash == second.totals.hash
    assert first.totals == forked.totals == second.totals
    other = Simulation("poisson:load=0.8", str(vtime), cpus=3, seed=6)
    other.run(2_000_000_000)
    assert other.totals.hash != first.totals.hash


def test_its_error_ends_the_run_with_the_kernels_words(work):
    path = compiled(work, "breaks", "#define BREAKS\n")
    with pytest.raises(SimulationError, match=r"own_vtime.* disabled \(scx_bpf_error\): pid \d+ is one too"):
        simulate(hogs(0, 0), str(path), cpus=1)


def test_a_task_that_is_never_dispatched_is_a_stall(work):
    path = compiled(work, "stalls", "#define STALLS\n")
    with pytest.raises(
        SimulationError, match=r"runnable task stall\): hog\d\[\d\] failed to run for [5-7]\."
    ):
        simulate(hogs(0, 0, seconds=30), str(path), cpus=1)


def test_maps_that_are_too_large_are_refused(work):
    path = compiled(work, "large", "#define LARGE\n")
    with pytest.raises(UsageError, match=r"no room for .*large\.bpf\.o: .* 4 GB"):
        simulate(hogs(0, 0), str(path), cpus=1)


def test_a_search_gets_bounds_around_what_a_variable_is(vtime):
    own = object_named(str(vtime))
    assert own is not None
    found = searched(own)
    slice_us = found.parameters["slice_us"]
    assert (slice_us.min_value, slice_us.default, slice_us.max_value) == (1250, 20000, 320000)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (":slice_us=soon", "slice_us"),
        (":slices=3", r"^/.*vtime\.bpf\.o:slices=3: unknown parameter 'slices'"),
        (":slice_us=-1", "slice_us=-1: out of bounds, expected 0 to 18446744073709551615$"),
    ],
)
def test_what_an_object_does_not_have_is_refused(vtime, rest, expected):
    with pytest.raises(UsageError, match=expected):
        simulate(hogs(0), f"{vtime}{rest}", cpus=1)


def test_a_name_that_nobody_knows_says_where_it_is_looked_for():
    with pytest.raises(UsageError, match="scx_nobody") as told:
        simulate(hogs(0), "scx_nobody")
    assert "SCHEDTUNA_SCX_PATH" in told.value.hint


def test_comparisons_say_which_object_ran_for_which_kernel(vtime):
    machine = Simulated.of(cpus=1)
    own = machine.scheduler(str(vtime))
    workload, _ = machine.named_workload("interactive")
    with machine.open(RunSpec(workload=workload), [own]) as backend:
        assert backend.identity[f"object of {vtime}"].startswith(sha256(vtime.read_bytes()).hexdigest()[:16])
        assert any(f"{vtime} is its own code with its own initial values" in one for one in backend.warnings)


def test_variables_of_a_programs_object_are_not_told_as_its_options(vtime, work):
    program = work / "scx_own"
    program.write_bytes(Path("/bin/true").read_bytes() + vtime.read_bytes())
    machine = Simulated.of(cpus=1)
    assert machine.real_settings(machine.scheduler(f"{program}:slice_us=5000")) is None
    assert machine.real_settings(machine.scheduler(str(program))) == ((), str(program))
    assert machine.real_settings(machine.scheduler(f"{vtime}:slice_us=5000")) == (
        (),
        f"{vtime}:slice_us=5000",
    )


def test_what_the_simulated_kernel_lacks_is_named(work, kernel):
    with_more = (SOURCES / "kernel.c").read_text() + (
        "KERNEL bool scx_bpf_foresee(struct task_struct *p) { return sink += (u64)p; }\n"
    )
    other = work / "other-kernel"
    other.write_bytes(compile_bpf(work, "other-kernel", with_more))
    source = (SOURCES / "vtime.bpf.c").read_text()
    source = source.replace(
        "static inline void insert(",
        "extern bool scx_bpf_foresee(struct task_struct *p) KFUNC;\nstatic inline void insert(",
    ).replace("	count(1);\n", "	count(1);\n	scx_bpf_foresee(p);\n")
    path = work / "foresees.bpf.o"
    path.write_bytes(compile_bpf(work, "foresees", source))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KERNEL_VARIABLE, str(other))
        with pytest.raises(UnavailableError, match="scx_bpf_foresee"):
            simulate(hogs(0), str(path), cpus=1)
