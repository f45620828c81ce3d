"""Runs on a simulated machine are trials as others are, equal for equal seeds."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.backend.base import Validity
from schedtuna.backend.conformance import Example, check_place
from schedtuna.backend.places.registry import make_place
from schedtuna.backend.places.simulated import Simulated
from schedtuna.errors import StudyError, UnavailableError, UsageError
from schedtuna.fidelity.envelope import default_certificate, envelope_here
from schedtuna.fidelity.machine_file import Constant, SimulatedMachine, write_machine
from schedtuna.scheduler.fair import fair
from schedtuna.sim.schedulers import parsed_scheduler
from schedtuna.sim.simulation import complete_costs
from schedtuna.sim.traced import simulate
from schedtuna.trace.aggregates.metrics import SCHED_METRICS
from schedtuna.trace.analysis import Analysis
from schedtuna.workload.spec import RunSpec
from schedtuna.workload.suite import suite

NOISY = {"kthread_per_s": 100}
LOCKED = {"lock": "m", "sleep": 100, "lock2": "n", "run2": 9, "unlock": "n", "unlock2": "m"}
CROSSED = {"lock": "n", "sleep": 100, "lock2": "m", "run2": 9, "unlock": "m", "unlock2": "n"}
DEADLOCK = {
    "tasks": {
        name: {"loop": 1, "phases": {"all": {"loop": 9, **events}}}
        for name, events in (("left", LOCKED), ("right", CROSSED))
    }
}
SEEDS = st.integers(0, 2**31 - 1)


@pytest.fixture
def example(tmp_path):
    file = tmp_path / "stuck.json"
    file.write_text(json.dumps(DEADLOCK))
    machine = Simulated()
    return Example(machine.named_workload("poisson:load=0.3")[0], machine.named_workload(str(file))[0])


@pytest.mark.parametrize("options", [{"cpus": 2}, {"topology": "2x2x1"}, {"cpus": 1, "cost": NOISY}], ids=str)
def test_it_keeps_the_contract_of_places(options, example):
    check_place(make_place("sim", options), example)


def trial(machine, load="interactive", scheduler="default", seed=1, nth=0, **how):
    spec = RunSpec(workload=machine.named_workload(load)[0].model_copy(update=how))
    chosen = machine.scheduler(scheduler)
    with machine.open(spec, [chosen]) as backend:
        return backend.run(spec.workload, chosen, seed=seed, nth=nth)


@given(
    seed=SEEDS, scheduler=st.sampled_from(["default", "fair:base_slice_us=3000", "rr:slice_us=900", "las"])
)
def test_equal_seeds_are_equal_runs_and_others_are_not(seed, scheduler):
    machine = Simulated.of(cpus=1)
    first, again, other = (trial(machine, scheduler=scheduler, seed=s) for s in (seed, seed, seed + 1))
    assert machine.is_exact
    assert first.metrics == again.metrics
    assert first.metrics != other.metrics


def test_noise_is_drawn_anew_in_every_run_of_a_seed_and_the_same_again():
    machine = Simulated.of(cpus=1, cost=NOISY)
    runs = [trial(machine, seed=seed, nth=nth) for seed in (1, 2) for nth in range(3)]
    assert not machine.is_exact
    assert len({one.covariates["noise_seed"] for one in runs}) == len(runs)
    assert runs[0].metrics != runs[1].metrics
    again = trial(machine, seed=1, nth=1)
    assert (again.metrics, again.covariates) == (runs[1].metrics, runs[1].covariates)


def test_schedulers_in_python_run_there_and_are_the_same_as_elsewhere():
    machine = Simulated.of(cpus=1)
    own = "schedtuna.sim.fair:Fair"
    found, native = (trial(machine, "ping-pong:load=0.1", scheduler=name) for name in (own, "fair"))
    assert (found.validity, found.scheduler) == (Validity.OK, own)
    assert found.metrics == native.metrics
    with pytest.raises(UsageError, match="nothing_there"):
        machine.scheduler("nothing_there:Fifo")
    with pytest.raises(UnavailableError, match="can be tuned"):
        machine.tunable(own)


def test_a_simulation_that_takes_too_long_has_timed_out():
    found = trial(Simulated.of(cpus=64), timeout_s=0.001)
    assert found.validity is Validity.TIMEOUT
    assert "the timeout" in found.reason


@pytest.fixture
def machine_file(tmp_path):
    constants = {
        name: Constant(value=value, is_fitted=True, source="a test")
        for name, value in (complete_costs({}) | {"wakeup_ns": 700, "kthread_per_s": 30}).items()
    }
    file = tmp_path / "machine.json"
    write_machine(SimulatedMachine(constants=constants), file)
    return str(file)


def test_a_machine_file_says_the_constants_but_for_those_that_are_said(machine_file, tmp_path):
    found = Simulated.of(cpus=2, machine=machine_file, cost={"wakeup_ns": 800})
    assert dict(found.costs) == {"kthread_per_s": 30, "wakeup_ns": 800}
    trace = tmp_path / "trace"
    simulate("ping-pong:load=0.1", cpus=1, trace=trace, duration_s=1)
    replayed = found.fitting(str(trace))
    assert dict(replayed.costs) == {"wakeup_ns": 800}  # the trace has the noise of its machine
    kept = Simulated.of(machine=machine_file, cost={"kthread_per_s": 5}).fitting(str(trace))
    assert dict(kept.costs) == {"kthread_per_s": 5, "wakeup_ns": 700}
    assert kept.nr_cpus() == 1


def test_it_says_whether_the_certificate_holds(monkeypatch, tmp_path):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path))
    machine = Simulated.of(cpus=2)
    assert "not certified for this machine: `schedtuna sim fidelity` has not been run" in machine.caveat
    defaults = {name: spec.default for name, spec in parsed_scheduler("fair").parameters.items()}
    certificate = {
        "envelope": vars(envelope_here("1x2x1")),
        "is_certified": True,
        "reason": "",
        "costs": complete_costs({}),
        "parameters": defaults,
    }
    default_certificate().write_text(json.dumps(certificate))
    assert machine.caveat.startswith("in a model, certified for 1x2x1 CPUs under Linux")
    with machine.open(RunSpec(workload=machine.named_workload("interactive")[0])) as backend:
        assert backend.warnings == [f"all of this is simulated: the model is {machine.certification}"]
    assert "not of 1x1x1" in Simulated.of(cpus=1).caveat
    assert "wakeup_ns differs" in Simulated.of(cpus=2, cost={"wakeup_ns": 1}).caveat


def test_the_figures_are_those_of_the_same_simulation_as_a_trace():
    found = trial(Simulated.of(cpus=2), scheduler="fair:base_slice_us=3000", seed=7).metrics
    trace = simulate("interactive", "fair:base_slice_us=3000", cpus=2, seed=7)
    figures = Analysis(trace).overall()
    told = {
        name: row.value(figures) for name, row in SCHED_METRICS.items() if figures.get(row.column) is not None
    }
    assert told.keys() > {"sched.wakeup_latency_p99_us", "sched.switches", "sched.fairness_cv"}
    assert {name: found[name] for name in told} == told
    assert found["wall_time_s"] == trace.manifest["duration_s"] == 10
    assert found["cpu_time_s"] == pytest.approx(found["sched.cpu_time_total_us"] / 1e6)


def test_the_kernels_threads_are_no_part_of_the_load():
    machine = Simulated.of(cpus=1, cost={"kthread_per_s": 500, "kthread_ns": 1_000_000})
    found = trial(machine, "ping-pong:load=0.1").metrics
    assert found["cpu_time_s"] < 2  # theirs is 5 s


def test_a_deadlock_is_a_failed_run_with_who_waits(example):
    machine = Simulated.of(cpus=1)
    with machine.open(RunSpec(workload=example.fails)) as backend:
        found = backend.run(example.fails, machine.scheduler("default"), seed=1)
    assert found.validity is Validity.FAILED
    assert "deadlock" in found.reason


@pytest.mark.parametrize(
    ("load", "told"),
    [
        ({"tasks": {"a": {"run": 1000}}}, "no end"),
        ({"tasks": {"a": {"run": -1}}}, "stuck.json"),
        (None, "no workload file"),
    ],
)
def test_a_load_that_can_not_run_is_refused_before_the_first_run(tmp_path, load, told):
    file = tmp_path / "stuck.json"
    if load is not None:
        file.write_text(json.dumps(load))
    with pytest.raises(UsageError, match=told):
        trial(Simulated(), str(file))


def test_a_load_that_changes_between_runs_ends_them(tmp_path):
    file, machine = tmp_path / "load.json", Simulated.of(cpus=1)
    file.write_text(json.dumps({"tasks": {"a": {"run": 1000}}, "global": {"duration": 1}}))
    workload, _ = machine.named_workload(str(file))
    with machine.open(RunSpec(workload=workload)) as backend:
        backend.run(workload, machine.scheduler("default"), seed=1)
        file.write_text(json.dumps({"tasks": {"a": {"run": 1001}}, "global": {"duration": 1}}))
        with pytest.raises(StudyError, match="changed"):
            backend.run(workload, machine.scheduler("default"), seed=1)


def test_what_only_a_command_can_have_is_refused():
    machine = Simulated()
    workload, _ = machine.named_workload("interactive")
    for field, value in {"user": "nobody", "warmup_runs": 1, "washout_s": 1.0}.items():
        spec = RunSpec(workload=workload.model_copy(update={field: value}))
        with pytest.raises(UsageError, match="no users"), machine.open(spec):
            pass
    with pytest.raises(UsageError, match="--workload") as caught:
        machine.command(["make", "-j 4"])
    assert "schedtuna record -o trace -- make '-j 4'" in caught.value.hint
    with pytest.raises(UsageError, match="--workload") as caught:
        machine.named_workload("pipes")
    assert "schedtuna record -o trace -- hackbench --pipe" in caught.value.hint
    for name in suite(machine.nr_cpus()).keys() - {"short-bursts", "interactive-mix"}:  # the model has these
        # What is proposed can be typed.
        with pytest.raises(UsageError, match="--workload") as caught:
            machine.named_workload(name)
        assert "{" not in caught.value.hint
    with pytest.raises(UsageError, match="--workload") as caught:
        machine.named_workload("latency-under-load")
    assert "schedtuna record -o trace -- /bin/sh -c '" in caught.value.hint


def test_a_machine_that_is_none_is_refused():
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"cpus": 4, "topology": "1x2x1"}, "4 are asked for"),
        ({"topology": "moon"}, "LLCSxCORESxTHREADS"),
        ({"cpus": 5000}, "1 to 1,024"),
        ({"cost": {"irq": 1}}, "no constant 'irq'"),
    ]
    for options, told in wrong:
        with pytest.raises(UsageError, match=told):
            make_place("sim", options)
    assert make_place("sim", {"cpus": 4}) == make_place("sim", {"topology": "1x4x1"})


def test_the_options_of_a_machine_name_it():
    machine = Simulated.of(topology="2x2x2", cost={"irq_per_s": 50, "tick_ns": 1_000_000})
    words = Counter(machine.options())
    assert words == Counter(
        ["--backend", "sim", "--topology", "2x2x2", "--cost", "irq_per_s=50", "--cost", "tick_ns=1000000"]
    )


def test_a_search_tries_what_a_machine_can_be_set_to():
    machine = Simulated()
    knobs = {*fair().parameters, *fair().left_out}
    tried = machine.tunable("fair")
    assert "version" not in tried.parameters
    for spec in tried.parameters.values():
        value = spec.min_value if spec.choices == () and spec.min_value is not None else not spec.default
        settings = machine.real_settings(tried.with_values({spec.name: value}))
        assert settings is not None
        name = settings[1].partition(":")[2].partition("=")[0]
        assert name in knobs
    with pytest.raises(UnavailableError, match="nothing of fifo"):
        machine.tunable("fifo")
    with pytest.raises(UsageError, match="--include"):
        machine.tunable("fair", ["cpu_quota"])


@pytest.mark.parametrize(
    ("cpus", "scheduler", "real"),
    [
        (1, "fair:base_slice_us=3000", ((), "fair:slice_us=3000")),
        (2, "fair:base_slice_us=3000", ((), "fair:slice_us=6000")),
        (8, "fair:base_slice_us=3000", ((), "fair:slice_us=12000")),
        (64, "fair:base_slice_us=3000", ((), "fair:slice_us=12000")),
        (4, "fair:next_buddy=true", (("--scope", "machine"), "fair:feature_next_buddy=true")),
        (
            4,
            "fair:base_slice_us=1000,hrtick=true",
            (("--scope", "machine"), "fair:feature_hrtick=true,base_slice_us=3000"),
        ),
        (4, "fair:version=616", None),
        (4, "rr:slice_us=1000", None),
    ],
)
def test_settings_are_told_as_a_machine_takes_them(cpus, scheduler, real):
    machine = Simulated.of(cpus=cpus)
    assert machine.real_settings(machine.scheduler(scheduler)) == real
