"""Runs workloads on another machine, where `schedtuna serve` runs: each run is a trial submitted there."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from schedtuna.backend.agent_client import AgentClient, error_of
from schedtuna.backend.base import Trial, Validity
from schedtuna.backend.reading import is_runs_fault
from schedtuna.errors import (
    MetricError,
    SchedtunaError,
    StudyError,
    UnavailableError,
    UsageError,
    WorkloadError,
)
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterValue
from schedtuna.wire import (
    LONGEST_POLL_S,
    Assignment,
    Capabilities,
    NamedWorkload,
    RemoteCommand,
    Submission,
    TrialOutcome,
    TrialProgress,
    TrialState,
    TrialStatus,
)
from schedtuna.workload.metrics import format_metric
from schedtuna.workload.spec import RunSpec, Workload

_LEASE_S = 60.0
_GIVE_UP_S = 5.0  # then its lease ends it
_CLOCK_WORTH_TELLING_S = 1.0


class RemoteBackend:
    """Another machine.

    Args:
        client: Who asks it.
        spec: What the runs have in common.

    Attributes:
        identity: What the runs' numbers depend on, besides command and scheduler.
        warnings: What to know; also what came up meanwhile.
        on_progress: Told how far the run is; None: nobody wants to know, and nothing is asked for it.

    Raises:
        UnavailableError: It does not answer, or refuses the token.
        UsageError: It is no such server, or of a version that is not known here.
    """

    name = "http"

    def __init__(self, client: AgentClient, spec: RunSpec) -> None:
        self._client = client
        self._spec = spec
        try:
            self._there = client.capabilities()
        except BaseException:
            client.close()
            raise
        self._measured = self._ran = False
        self._submit_id = ""
        self.on_progress: Callable[[TrialProgress], None] | None = None
        self.identity: Mapping[str, str] = {"machine": machine_text(self._there)}
        self.warnings = [f"runs are made on {self._there.host} ({client.url}), and not on this machine"]
        offset_s = client.offset_s or 0.0
        if abs(offset_s) > _CLOCK_WORTH_TELLING_S:
            way = "ahead of" if offset_s > 0 else "behind"
            self.warnings.append(
                f"the clock of {self._there.host} is {abs(offset_s):.1f} s {way} this machine's, by "
                "which times are told"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def give_up(self) -> None:
        """End the run that another thread makes there; it returns with it as failed."""
        if self._submit_id:
            with self._client.again(patience_s=_GIVE_UP_S) as client, suppress(SchedtunaError):
                client.ask("DELETE", f"/trials/{self._submit_id}")

    def run(
        self,
        workload: Workload,
        scheduler: SchedulerConfig,
        *,
        seed: int,
        nth: int = 0,  # noqa: ARG002 - it draws by itself
    ) -> Trial:
        """Run the workload once there, under the scheduler.

        Raises:
            LostAgentError: The machine does not answer any more; the run is ended there.
            UnavailableError: It is not the machine that it was, or can't run this.
            UsageError: The workload can't travel.
            MetricError: A successful first run of the default lacks a metric.
        """
        submission = submission_of(self._spec, workload, scheduler, self._there, seed=seed)
        status = self._carried_out(submission)
        if status.state is not TrialState.DONE or status.outcome is None:
            reason = status.reason or f"the trial is {status.state} on {self._there.host}"
            return self._failed(scheduler, seed, f"on {self._there.host}: {reason}", status)
        outcome = status.outcome
        self.warnings += [text for text in outcome.warnings if text not in self.warnings]
        if outcome.problem is not None:
            return self._of_problem(outcome, scheduler, seed, status)
        self._require_same_machine(outcome)
        trial = self._read(outcome, scheduler, seed)
        self._ran = True
        self._measured |= trial.validity is Validity.OK
        return trial

    def _carried_out(self, submission: Submission) -> TrialStatus:
        """Submit a trial and wait for its end; whatever ends that ends the trial."""
        path, self._submit_id = f"/trials/{submission.submit_id}", submission.submit_id
        try:
            told = self._client.ask("POST", "/trials", submission.model_dump(mode="json"))
            status = TrialStatus.model_validate(told)
            known: int | None = 0
            while not status.state.is_end:
                if self.on_progress is not None and known is not None:
                    # Each look below renews the lease, which events do not.
                    known = self._client.events(status.id, known, _LEASE_S / 3, self.on_progress)
                is_told = self.on_progress is not None and known is not None
                told = self._client.ask("GET", path, wait_s=0 if is_told else LONGEST_POLL_S)
                status = TrialStatus.model_validate(told)
        except KeyboardInterrupt:
            self._client.close()  # an answer may be under way
            self._client.ask("DELETE", path)
            raise
        except ValidationError as error:
            raise UsageError(
                f"{self._client.url} answers in a form that is not known: {error.errors()[0]['msg']}"
            ) from None
        return status

    def _read(self, outcome: TrialOutcome, scheduler: SchedulerConfig, seed: int) -> Trial:
        try:
            trial = Trial.model_validate_json(_json(outcome.trial))
        except ValidationError as error:
            raise UsageError(
                f"{self._client.url} has a trial of a form that is not known: {error.errors()[0]['msg']}",
                hint="update the older of the two machines",
            ) from None
        if (trial.scheduler, trial.seed) != (scheduler.name, seed) or trial.values != scheduler.values:
            raise StudyError(f"{self._client.url} ran another trial than the one that was asked for")
        started_at = trial.started_at - (self._client.offset_s or 0.0)
        return trial.model_copy(update={"started_at": started_at})

    def _of_problem(
        self, outcome: TrialOutcome, scheduler: SchedulerConfig, seed: int, status: TrialStatus
    ) -> Trial:
        """Return a failed trial for an error that may be the run's fault, and raise others."""
        assert outcome.problem is not None
        problem = outcome.problem
        error = error_of(problem.kind, f"on {self._there.host}: {problem.message}", problem.hint)
        if isinstance(error, MetricError):
            is_runs = is_runs_fault(error, measured=self._measured, changed=bool(scheduler.values))
        else:
            is_runs = isinstance(error, WorkloadError) and self._ran
        if not is_runs:
            raise error
        return self._failed(scheduler, seed, str(error), status)

    def _failed(self, scheduler: SchedulerConfig, seed: int, reason: str, status: TrialStatus) -> Trial:
        started_at, ended_at = status.started_at or status.submitted_at, status.ended_at or status.now
        return Trial(
            scheduler=scheduler.name,
            values=scheduler.values,
            seed=seed,
            validity=Validity.FAILED,
            reason=reason,
            started_at=started_at - (self._client.offset_s or 0.0),
            duration_s=max(ended_at - started_at, 0.0),
            exit_code=None,
        )

    def _require_same_machine(self, outcome: TrialOutcome) -> None:
        """Refuse to go on where another machine, or another kernel, answers at the address."""
        facts: Mapping[str, Any] = outcome.manifest.get("machine", {})
        for name in ("machine_id_hash", "kernel_release", "cpu_model"):
            before, now = self._there.machine.get(name), facts.get(name)
            if before != now:
                raise StudyError(
                    f"{self._client.url} is not the machine that it was: {name} is {now}, and was {before}",
                    hint="start anew: runs of two machines say nothing of each other",
                )


def submission_of(
    spec: RunSpec, workload: Workload, scheduler: SchedulerConfig, there: Capabilities, *, seed: int
) -> Submission:
    """Return one run as it travels.

    Raises:
        UsageError: Something of it belongs to this machine.
    """
    if workload.user is not None:
        raise UsageError(
            f"as whom commands run on {there.host} is said there",
            hint="leave --user out: `serve --user NAME`",
        )
    if workload.folder is not None:
        raise UsageError(f"{workload.folder} is a folder of this machine, and not of {there.host}")
    if scheduler.binary_path is not None:
        raise UsageError(
            f"{scheduler.name} is a program of this machine: {scheduler.binary_path}",
            hint=f"name one that is installed on {there.host}",
        )
    named = next((one for one in there.workloads if _is_named(workload, one)), None)
    if named is None and not there.allows_commands:
        raise UnavailableError(
            f"{there.host} runs named workloads only",
            hint="--workload NAME, with a name of `schedtuna suite list`; or start `schedtuna serve` there "
            "with --allow-commands",
        )
    command = RemoteCommand(
        argv=workload.argv,
        shell=workload.shell,
        environment=workload.environment,
        works_here=workload.works_here,
    )
    return Submission(
        submit_id=secrets.token_hex(16),
        workload=named.name if named else None,
        command=None if named else command,
        parser=workload.parser if named is None or workload.parser != named.parser else "",
        timeout_s=workload.timeout_s,
        warmup_runs=workload.warmup_runs,
        washout_s=workload.washout_s,
        metrics=tuple(map(format_metric, spec.metrics)),
        required=spec.required,
        limits=spec.limits,
        scheduler=Assignment(name=scheduler.name, values=dict[str, ParameterValue](scheduler.values)),
        seed=seed,
        lease_s=_LEASE_S,
    )


def _is_named(workload: Workload, named: NamedWorkload) -> bool:
    same = (workload.argv, workload.shell) == (named.argv, named.shell)
    return same and workload.name == named.name and not workload.environment


def machine_text(there: Capabilities) -> str:
    """Return what tells a machine from others, and from itself with another kernel."""
    facts = there.machine
    return (
        f"{there.host} {facts.get('machine_id_hash')} {facts.get('kernel_release')} {facts.get('cpu_model')}"
    )


def _json(value: object) -> str:
    import json

    return json.dumps(value)
