"""What may clients have run here, and how does a submission become a workload of this machine? Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from schedtuna.errors import UsageError, nearest
from schedtuna.server.refusal import RefusedError
from schedtuna.wire import VERSIONS, Submission
from schedtuna.workload.metrics import parse_metric
from schedtuna.workload.parsers import PARSERS
from schedtuna.workload.spec import MetricSpec, Requirement, RunSpec, Workload
from schedtuna.workload.suite import ready_workload


@dataclass(frozen=True)
class Allowed:
    """What a server lets its clients do.

    Attributes:
        workloads: Names of the bundled workloads that it runs.
        commands: Whether it runs commands of theirs, too.
        user: As whom; None: as the server's own user.
        longest_s: The longest time limit of a run.
        most_waiting: Trials that may wait.
    """

    workloads: tuple[str, ...]
    commands: bool = False
    user: str | None = None
    longest_s: float = 3600.0
    most_waiting: int = 16

    def require(self, submission: Submission) -> None:
        """Refuse what may not be run here.

        Raises:
            RefusedError: It may not, or is of a version that nobody here speaks.
        """
        if submission.version not in VERSIONS:
            raise RefusedError(
                409,
                f"the submission is of version {submission.version}: expected one of {list(VERSIONS)}",
                hint="update the older side",
            )
        if submission.command is not None and not self.commands:
            raise RefusedError(
                403,
                "this server runs named workloads only",
                hint=f"name one of {', '.join(self.workloads)}; or start it with --allow-commands",
            )
        if submission.workload is not None and submission.workload not in self.workloads:
            raise RefusedError(
                403,
                f"this server does not run {submission.workload!r}: "
                f"{nearest(submission.workload, self.workloads)}",
            )
        whole_s = longest_s(submission)
        if whole_s > self.longest_s:
            raise RefusedError(
                403,
                f"with its warm-up runs and rests it may take {whole_s:g} s, and this server allows "
                f"{self.longest_s:g} s",
                hint="ask for a shorter --timeout, or start the server with a longer --time-limit",
            )
        if submission.parser and submission.parser not in PARSERS:
            raise RefusedError(
                403, f"there is no parser {submission.parser!r} here: {nearest(submission.parser, PARSERS)}"
            )


def longest_s(submission: Submission) -> float:
    """Return how long the runs of a submission may take, rests and warm-up runs included."""
    return (submission.warmup_runs + 1) * (submission.timeout_s + submission.washout_s)


def run_spec(submission: Submission, allowed: Allowed, *, nr_cpus: int | None = None) -> RunSpec:
    """Return what is run for a submission.

    Raises:
        UsageError: A metric is none or is read from a file that it may not be, or there is no such workload.
        UnavailableError: A tool of the workload is missing.
    """
    how = {
        "timeout_s": submission.timeout_s,
        "warmup_runs": submission.warmup_runs,
        "washout_s": submission.washout_s,
        "user": allowed.user,
    }
    if submission.command is not None:
        asked = submission.command
        workload = Workload(
            argv=asked.argv,
            shell=asked.shell,
            environment=asked.environment,
            works_here=asked.works_here,
            parser=submission.parser,
            **how,
        )
    else:
        named = ready_workload(submission.workload or "", nr_cpus).workload
        parser = {"parser": submission.parser} if submission.parser else {}
        workload = named.model_copy(update={**how, **parser})
    return RunSpec(
        workload=workload,
        metrics=_metrics(submission, workload, allowed),
        requirements=tuple(Requirement(metric=name, operator=">=", bound=0) for name in submission.required),
        limits=submission.limits,
        seed=submission.seed,
    )


def _metrics(submission: Submission, workload: Workload, allowed: Allowed) -> tuple[MetricSpec, ...]:
    found = tuple(parse_metric(text, workload) for text in submission.metrics)
    for metric in found:
        if metric.source.file is not None and not allowed.commands:
            raise UsageError(
                f"{metric.name} would be read from a file of the machine that runs the workload",
                hint="start the server with --allow-commands, or read it from the output",
            )
    return found


def suite_names(asked: Collection[str], known: Collection[str]) -> tuple[str, ...]:
    """Return the workloads that a server runs: those that were asked for, or all.

    Raises:
        UsageError: There is none of that name.
    """
    for name in asked:
        if name not in known:
            raise UsageError(
                f"unknown workload {name!r}: {nearest(name, known)}", hint="`schedtuna suite list`"
            )
    return tuple(asked or known)
