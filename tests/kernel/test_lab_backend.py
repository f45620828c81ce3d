"""Trials in guests: what ran, under what, and whether it counts."""

import shutil
import signal
import threading

import pytest
from tests.kernel.lab_guest import lab_or_skip, schedulers_or_skip

from schedtuna.backend.base import Validity
from schedtuna.backend.conformance import Example, check_place
from schedtuna.backend.places.guest import Guest
from schedtuna.backend.vm import VmBackend
from schedtuna.lab.vm import BootedGuest, GuestSpec
from schedtuna.scheduler.conformance import check_machine
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.scheduler.stats import offered
from schedtuna.space import ParameterSpec, ParameterType
from schedtuna.workload.metrics import parse_metric
from schedtuna.workload.spec import Workload

FAIR = SchedulerConfig(name="fair")
LOAD = Workload(argv=("hackbench", "-g", "1", "-l", "20"), warmup_runs=1)


@pytest.fixture(scope="module")
def scheduler():
    """A real scheduler; one that says how it fares, where there is any."""
    names = sorted(schedulers_or_skip(lab_or_skip(), 1, at_most=4), key=lambda name: not offered(name))
    return SchedulerConfig(name=names[0])


@pytest.fixture(scope="module")
def backend(scheduler):
    with VmBackend(lab=lab_or_skip(), metrics=[parse_metric("time_s:min=field:time_s", LOAD)]) as vm:
        vm.run(LOAD, scheduler, seed=0)  # so that one guest has all that the tests need
        yield vm


def test_the_same_command_runs_under_both_schedulers_in_one_guest(backend, scheduler):
    guest = backend._guest
    for each in (FAIR, scheduler, FAIR):
        trial = backend.run(LOAD, each, seed=1)
        assert trial.validity is Validity.OK, trial.reason
        assert 0 < trial.metrics["time_s"] <= trial.metrics["wall_time_s"]
        assert trial.scheduler == each.name
        said = [name for name in trial.covariates if name.startswith("scx.") and "ev_" not in name]
        assert bool(said) == offered(each.name)
    assert backend._guest is guest


def test_an_ejected_run_is_a_result_of_its_own_with_the_schedulers_words(backend, scheduler):
    eject = Workload(argv=("echo S > /proc/sysrq-trigger; sleep 1",), shell=True)
    trial = backend.run(eject, scheduler, seed=1)
    assert trial.validity is Validity.EJECTED
    assert "ejected" in trial.reason
    assert trial.output_tail
    assert trial.metrics == {}
    assert backend.run(LOAD, scheduler, seed=1).validity is Validity.OK


def test_failures_and_timeouts_are_trials(backend):
    assert backend.run(Workload(argv=("exit 3",), shell=True), FAIR, seed=1).exit_code == 3
    slow = Workload(argv=("sleep 1000",), shell=True, timeout_s=0.5)
    assert backend.run(slow, FAIR, seed=1).validity is Validity.TIMEOUT


def test_the_scheduler_is_recorded_in_the_guest_as_its_kernel_accounts(scheduler):
    read = [parse_metric("sched.wakeup_latency_p99_us:min", LOAD)]
    with VmBackend(lab=lab_or_skip(), metrics=read, required=["sched.switches"]) as vm:
        for each in (FAIR, scheduler):
            trial = vm.run(LOAD, each, seed=1)
            assert trial.validity is Validity.OK, trial.reason
            found = trial.metrics
            assert found["sched.wakeup_latency_p99_us"] > 0
            # getrusage counts switches out of tasks that were waited for, the recorder all switches in.
            switches = found["nr_voluntary_switches"] + found["nr_involuntary_switches"]
            assert found["sched.switches"] == pytest.approx(switches, rel=0.1)
            assert found["sched.cpu_time_total_us"] == pytest.approx(1e6 * found["cpu_time_s"], rel=0.1)


def test_the_seed_reaches_the_command(backend):
    workload = Workload(argv=("test $SCHEDTUNA_SEED-{seed} = 7-7",), shell=True)
    assert backend.run(workload, FAIR, seed=7).exit_code == 0


def test_a_scheduler_that_refuses_to_start_is_a_failed_trial_with_its_words(backend, scheduler):
    flag = ParameterSpec(name="x", type=ParameterType.BOOLEAN, default=False, command_arg="--no-such-flag")
    broken = scheduler.model_copy(update={"parameters": {"x": flag}}).with_values({"x": True})
    trial = backend.run(LOAD, broken, seed=1)
    assert trial.validity is Validity.FAILED
    assert "did not start" in trial.reason
    assert "exited with code" in trial.reason


@pytest.mark.long
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_guest_is_a_place_like_any_other(deterministic):
    lab_or_skip()
    place = Guest(cpus=1, deterministic=deterministic)
    check_place(place, Example(works=Workload(argv=("true",)), fails=Workload(argv=("false",))))


def test_programs_of_one_name_are_each_themselves(tmp_path):
    tools = [tmp_path / folder / "tool" for folder in ("good", "bad")]
    for tool, program in zip(tools, ("true", "false"), strict=True):
        tool.parent.mkdir()
        shutil.copy(f"/bin/{program}", tool)
    with VmBackend(lab=lab_or_skip()) as vm:
        found = [vm.run(Workload(argv=(str(tool),)), FAIR, seed=1).validity for tool in tools]
    assert found == [Validity.OK, Validity.FAILED]


@pytest.mark.long
def test_a_guest_is_a_machine_like_any_other():
    with BootedGuest(lab_or_skip(), GuestSpec(cpus=1)) as guest:
        check_machine(guest)


def test_ctrl_c_amid_a_run_is_neither_a_result_nor_lost(backend):
    """What ends the scheduler afterwards must not take the run's answer for its own."""
    assert backend.run(LOAD, FAIR, seed=0).validity is Validity.OK  # a guest is up
    interruption = threading.Timer(1.0, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    interruption.start()
    with pytest.raises(KeyboardInterrupt):
        backend.run(Workload(argv=("hackbench", "-g", "1", "-l", "10000000")), FAIR, seed=0)
    guest = backend._guest
    assert guest is not None
    with pytest.raises(KeyboardInterrupt):
        guest.read("/proc/version")
    backend._drop_guest()
    assert backend.run(LOAD, FAIR, seed=0).validity is Validity.OK
