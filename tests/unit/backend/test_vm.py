import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from schedtuna.backend.base import Validity
from schedtuna.backend.reading import TrialReader, judge
from schedtuna.backend.vm import VmBackend, host_command, scheduler_program
from schedtuna.errors import MetricError, UnavailableError, UsageError
from schedtuna.lab.errors import GuestError
from schedtuna.lab.vm import GuestSpec
from schedtuna.scheduler.fair import fair
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.command import RawRun
from schedtuna.workload.spec import Workload


def run(exit_code=0, *, timed_out=False):
    return RawRun(exit_code, None, timed_out, 0.0, {"wall_time_s": 1.0})


@pytest.mark.parametrize(
    ("raw", "ejected", "validity"),
    [
        (run(), "", Validity.OK),
        (run(1), "", Validity.FAILED),
        (run(None, timed_out=True), "", Validity.TIMEOUT),
        (run(), "sched_ext is disabled", Validity.EJECTED),
        (run(1), "sched_ext is disabled", Validity.EJECTED),
        (run(None, timed_out=True), "sched_ext is disabled", Validity.EJECTED),
    ],
)
def test_an_ejection_outweighs_how_the_command_ended(raw, ejected, validity):
    judged, reason = judge(raw, ejected)
    assert judged is validity
    assert bool(reason) is (validity is not Validity.OK)


def test_the_kernels_own_scheduler_needs_no_program_and_takes_no_settings():
    assert scheduler_program(SchedulerConfig(name="fair")) is None
    with pytest.raises(UnavailableError, match="without nice"):
        scheduler_program(fair(include=["nice"]).with_values({"nice": 5}))


def test_a_scheduler_that_is_not_installed_says_where_to_put_it():
    with pytest.raises(UnavailableError, match="scx_absent is not installed") as error:
        scheduler_program(SchedulerConfig(name="scx_absent"))
    assert "SCHEDTUNA_SCX_PATH" in str(error.value.hint)


def test_commands_come_from_the_guest_the_shared_folder_or_this_machine(tmp_path):
    assert host_command(Workload(argv=("hackbench",))) is None
    assert host_command(Workload(argv=("/opt/venv/bin/python3", "-c", "pass"))) is None
    assert host_command(Workload(argv=("./job",), folder=tmp_path)) is None
    assert host_command(Workload(argv=("env",))) == Path("/usr/bin/env")
    with pytest.raises(UsageError, match="command not found: no-such-program"):
        host_command(Workload(argv=("no-such-program",)))


def test_what_a_guest_did_not_count_whole_ends_a_first_run_of_the_default(monkeypatch):
    def lost(*_run):
        raise MetricError("3 tasks were not recorded, so sched.* would be wrong")

    backend = VmBackend.__new__(VmBackend)  # a lab is not needed for that
    backend.reading = TrialReader()
    monkeypatch.setattr(backend, "_prepare", lost)
    workload, default = Workload(argv=("true",)), SchedulerConfig(name="default")
    with pytest.raises(MetricError, match="3 tasks were not recorded"):
        backend.reading.trial_of(
            lambda: backend._ran_under(workload, default, None, 1), workload, default, seed=1
        )


def test_a_guest_that_dies_after_the_command_leaves_what_the_command_did(monkeypatch):
    """The trial fails, but its exit code, what it printed and what disturbed it are known."""

    def ran(*_, **__):
        time.sleep(0.05)  # several ticks, which the kernel counts time by
        return RawRun(0, None, False, 0.0, {"wall_time_s": 1.0}, stdout="score 4")

    def died():
        raise GuestError("the guest died")

    guest = SimpleNamespace(
        cpu_s=lambda: 1.0,
        run=ran,
        fetch_changes=died,
        close=lambda: None,
    )
    backend = VmBackend.__new__(VmBackend)
    backend.reading, backend._spec, backend._guest = TrialReader(), GuestSpec(), None
    monkeypatch.setattr(backend, "_prepare", lambda *_: guest)
    workload, default = Workload(argv=("true",)), SchedulerConfig(name="default")
    trial = backend.reading.trial_of(
        lambda: backend._ran_under(workload, default, None, 1), workload, default, seed=1
    )
    assert (trial.validity, trial.reason) == (Validity.FAILED, "the guest died")
    assert (trial.exit_code, trial.output_tail, trial.metrics) == (0, "score 4", {})
    assert trial.covariates
