import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from schedtuna.backend.base import Validity
from schedtuna.backend.host import HostBackend
from schedtuna.cli.common import termination_interrupts
from schedtuna.errors import MetricError, UnavailableError, UsageError, WorkloadError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.undo import undo
from schedtuna.scheduler.fair import fair
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import Direction, MetricSource, MetricSpec, Workload

DEFAULT = SchedulerConfig(name="default")
PRINTED_NICE = MetricSpec(
    name="printed_nice", direction=Direction.MIN, source=MetricSource(kind="regex", argument="nice ([0-9-]+)")
)
TELL_NICE = 'echo "nice $(nice)"'
NICE_NOW = os.getpriority(os.PRIO_PROCESS, 0)


def sh(script: str, **options) -> Workload:
    return Workload(argv=(script,), shell=True, **options)


def niced(target: Target | None = None, nice: int = 7) -> SchedulerConfig:
    return fair(target, include=["nice"]).with_values({"nice": nice})


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "state")


@pytest.fixture
def service():
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_trial_tells_what_the_run_measured(journal):
    trial = HostBackend(journal=journal).run(sh("sleep 0.05"), DEFAULT, seed=3)
    assert trial.validity is Validity.OK
    assert trial.metrics["wall_time_s"] >= 0.05
    assert trial.duration_s >= trial.metrics["wall_time_s"]
    assert (trial.seed, trial.exit_code) == (3, 0)
    assert trial.output_tail == ""


def test_the_command_runs_under_the_candidates_knobs_and_only_that(journal):
    backend = HostBackend(metrics=[PRINTED_NICE], journal=journal)
    trials = [backend.run(sh(TELL_NICE), config, seed=1) for config in (DEFAULT, niced(), DEFAULT)]
    assert [trial.metrics["printed_nice"] for trial in trials] == [NICE_NOW, 7, NICE_NOW]
    assert trials[1].values == {"nice": 7}
    assert os.getpriority(os.PRIO_PROCESS, 0) == NICE_NOW
    assert journal.open_records() == []


def test_warm_up_runs_are_under_the_candidates_knobs_too(journal, tmp_path):
    workload = sh(f"{TELL_NICE} | tee -a {tmp_path}/seen", warmup_runs=2)
    HostBackend(metrics=[PRINTED_NICE], journal=journal).run(workload, niced(), seed=1)
    assert (tmp_path / "seen").read_text() == "nice 7\n" * 3


def test_a_running_service_is_tuned_during_the_run_and_restored(journal, service):
    target = Target(Scope.PID, pid=service.pid)
    backend = HostBackend(target, metrics=[PRINTED_NICE], journal=journal)
    load = sh(f'echo "nice $(ps -o ni= -p {service.pid} | tr -d " ")"')
    assert backend.run(load, niced(target), seed=1).metrics["printed_nice"] == 7
    assert os.getpriority(os.PRIO_PROCESS, service.pid) == NICE_NOW
    assert backend.run(load, DEFAULT, seed=1).metrics["printed_nice"] == NICE_NOW


def test_ctrl_c_ends_the_command_and_restores_the_service(journal, service, tmp_path):
    target = Target(Scope.PID, pid=service.pid)
    load = sh(f"ps -o ni= -p {service.pid} > {tmp_path}/during; kill -INT {os.getpid()}; exec sleep 60")
    with pytest.raises(KeyboardInterrupt):
        HostBackend(target, journal=journal).run(load, niced(target), seed=1)
    assert (tmp_path / "during").read_text().split() == ["7"]
    assert os.getpriority(os.PRIO_PROCESS, service.pid) == NICE_NOW
    assert journal.open_records() == []


@pytest.mark.parametrize("moment", ["nice: before the change", "nice: before the revert"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_amid_a_change_waits_until_it_is_whole(tmp_path, service, moment, number):
    steps = []

    def interrupt(step: str) -> None:
        steps.append(step)
        if step == moment:
            os.kill(os.getpid(), number)

    journal = Journal(tmp_path / "state", on_step=interrupt)
    target = Target(Scope.PID, pid=service.pid)
    with termination_interrupts(), pytest.raises(KeyboardInterrupt):
        HostBackend(target, journal=journal).run(sh("true"), niced(target), seed=1)
    assert {"nice: after the change", "nice: after the revert"} <= set(steps)
    assert os.getpriority(os.PRIO_PROCESS, service.pid) == NICE_NOW
    assert journal.open_records() == []


@pytest.mark.parametrize(
    ("script", "timeout_s", "validity", "reason"),
    [
        ("echo last words; exit 9", 60, Validity.FAILED, "code 9"),
        ("echo last words; kill -SEGV $$", 60, Validity.FAILED, "SIGSEGV"),
        ("echo last words; sleep 600", 2, Validity.TIMEOUT, "timeout"),
    ],
)
def test_what_goes_wrong_in_a_run_is_a_trial_with_a_reason(journal, script, timeout_s, validity, reason):
    trial = HostBackend(journal=journal).run(sh(script, timeout_s=timeout_s), DEFAULT, seed=1)
    assert trial.validity is validity
    assert reason in trial.reason
    assert "last words" in trial.output_tail
    assert trial.metrics == {}


def test_a_failing_warm_up_fails_the_trial(journal):
    trial = HostBackend(journal=journal).run(sh("exit 4", warmup_runs=1), DEFAULT, seed=1)
    assert trial.validity is Validity.FAILED
    assert "code 4" in trial.reason


def test_a_command_that_is_not_there_raises_at_once(journal):
    with pytest.raises(WorkloadError, match="command not found: no-such-tool"):
        HostBackend(journal=journal).run(Workload(argv=("no-such-tool",)), DEFAULT, seed=1)


def test_a_file_that_is_not_a_program_raises_at_once(journal, tmp_path):
    program = tmp_path / "garbage"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o755)
    with pytest.raises(WorkloadError, match="not a program"):
        HostBackend(journal=journal).run(Workload(argv=(str(program),)), DEFAULT, seed=1)


def test_a_command_that_vanishes_later_is_a_failed_trial(journal, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    backend = HostBackend(journal=journal)
    assert backend.run(Workload(argv=(str(program),)), DEFAULT, seed=1).validity is Validity.OK
    program.unlink()
    trial = backend.run(Workload(argv=(str(program),)), DEFAULT, seed=1)
    assert trial.validity is Validity.FAILED
    assert "command not found" in trial.reason


def test_a_metric_that_the_default_never_prints_raises_with_its_output(journal):
    backend = HostBackend(metrics=[PRINTED_NICE], journal=journal)
    with pytest.raises(MetricError, match="nothing of the kind"):
        backend.run(sh("echo nothing of the kind"), DEFAULT, seed=1)


def test_a_metric_that_one_run_lacks_fails_that_trial(journal):
    backend = HostBackend(metrics=[PRINTED_NICE], journal=journal)
    backend.run(sh(TELL_NICE), DEFAULT, seed=1)
    trial = backend.run(sh("echo nothing"), DEFAULT, seed=1)
    assert trial.validity is Validity.FAILED
    assert "printed_nice" in trial.reason
    assert "nothing" in trial.output_tail


@pytest.mark.parametrize("printed", ["nan", "inf", "-inf"])
def test_numbers_that_are_none_fail_the_trial(journal, printed):
    spec = MetricSpec(
        name="t_s", direction=Direction.MIN, source=MetricSource(kind="regex", argument="t ([a-z0-9.-]+)")
    )
    backend = HostBackend(metrics=[spec], journal=journal)
    backend.run(sh("echo t 1.5"), DEFAULT, seed=1)
    assert backend.run(sh(f"echo t {printed}"), DEFAULT, seed=1).validity is Validity.FAILED


def test_a_gate_on_covariates_fails_disturbed_runs_when_asked_for(journal):
    backend = HostBackend(limits={"other_fraction": -1.0}, journal=journal)
    trial = backend.run(sh("sleep 0.1"), DEFAULT, seed=1)
    assert trial.validity is Validity.FAILED
    assert "other_fraction" in trial.reason
    assert trial.metrics["wall_time_s"] > 0


def test_a_service_that_ended_is_an_error(journal, service):
    backend = HostBackend(Target(Scope.PID, pid=service.pid), journal=journal)
    service.kill()
    service.wait()
    with pytest.raises(WorkloadError, match="is not running"):
        backend.run(sh("true"), DEFAULT, seed=1)


def test_an_unknown_knob_and_another_kernels_scheduler_are_errors(journal):
    backend = HostBackend(journal=journal)
    unknown = SchedulerConfig(name="fair", values={"nicety": 3})
    with pytest.raises(UsageError, match="unknown knob"):
        backend.run(sh("true"), unknown, seed=1)
    if Path("/sys/kernel/sched_ext").is_dir():
        return
    with pytest.raises(UnavailableError, match="no sched_ext"):
        backend.run(sh("true"), SchedulerConfig(name="scx_rusty"), seed=1)


KILLED_WHILE_TUNING = """
import os, sys
from pathlib import Path
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.session import Changes
Changes(Target(Scope.PID, pid=int(sys.argv[1])), Journal(Path(sys.argv[2]))).apply({"nice": 7})
os.kill(os.getpid(), 9)
"""


def test_entering_puts_back_what_a_killed_run_left(journal, service):
    code = subprocess.call(
        [sys.executable, "-c", KILLED_WHILE_TUNING, str(service.pid), str(journal.directory)]
    )
    assert code == -signal.SIGKILL
    assert os.getpriority(os.PRIO_PROCESS, service.pid) == 7
    with HostBackend(journal=journal) as backend:
        assert os.getpriority(os.PRIO_PROCESS, service.pid) == NICE_NOW
        assert "nice" in backend.warnings[0]
    with HostBackend(journal=journal) as backend:
        assert backend.warnings == []


def test_another_user_runs_the_command(journal, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("running as another user needs root")
    Path(tmp_path).chmod(0o777)
    spec = MetricSpec(
        name="uid", direction=Direction.MIN, source=MetricSource(kind="regex", argument="uid ([0-9]+)")
    )
    backend = HostBackend(metrics=[spec], journal=journal)
    trial = backend.run(sh('echo "uid $(id -u)"', user="nobody"), niced(nice=3), seed=1)
    assert trial.metrics["uid"] == 65534


def test_a_first_run_whose_scheduling_was_not_counted_whole_ends_it(journal, monkeypatch):
    """What can't be read is not the default's fault; `_ran` is set, since the command did run."""
    backend = HostBackend(metrics=[PRINTED_NICE], journal=journal)
    monkeypatch.setattr(type(backend.reading), "reads_sched", property(lambda _reading: True))

    def lost(held):
        held.go()
        held.wait()
        raise MetricError("3 tasks were not recorded, so sched.* would be wrong")

    monkeypatch.setattr(backend, "_recorded", lost)
    backend._ran = True  # as after a warm-up run
    with pytest.raises(MetricError, match="3 tasks were not recorded"):
        backend.run(sh(TELL_NICE), DEFAULT, seed=1)
    trial = backend.run(sh(TELL_NICE), niced(), seed=1)
    assert (trial.validity, trial.reason) == (
        Validity.FAILED,
        "3 tasks were not recorded, so sched.* would be wrong",
    )


@pytest.mark.parametrize("of_service", [False, True])
def test_a_run_whose_settings_were_undone_meanwhile_fails(journal, service, tmp_path, of_service):
    """Most of its work is done by then, by a task that has ended with the setting."""
    target = Target(Scope.PID, pid=service.pid) if of_service else Target()
    work = "(i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done)"
    wait = f"touch {tmp_path}/done; while [ ! -e {tmp_path}/undone ]; do sleep 0.01; done"

    def undo_meanwhile():
        while not (tmp_path / "done").exists():
            time.sleep(0.01)
        undo(Journal(journal.directory), force=True)
        (tmp_path / "undone").touch()

    thread = threading.Thread(target=undo_meanwhile)
    thread.start()
    backend = HostBackend(target, journal=journal)
    trial = backend.run(sh(f"{work}; {wait}"), niced(target), seed=1)
    thread.join()
    assert trial.validity is Validity.FAILED
    assert "`schedtuna undo --force` put nice back during the run" in trial.reason
    assert backend.run(sh("true"), niced(target), seed=1).validity is Validity.OK
    assert journal.open_records() == []
