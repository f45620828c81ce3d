"""What travels between a machine that runs workloads (`schedtuna serve`) and one that asks for runs?

JSON, in these forms and no others: an unknown key is refused. Nothing in them is a path on either machine,
and a number that is not finite is a text. What a trial found is an object of `backend.base.Trial`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schedtuna.configfile import unusable
from schedtuna.errors import UsageError
from schedtuna.space import ParameterValue

VERSIONS = (1,)  # that this program speaks, the newest last
MOST_BODY_BYTES = 256 << 10  # of a request
LONGEST_POLL_S = 30.0
SUBMIT_ID = r"[0-9a-f]{32}"
SCHEDULER_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"

Text = Annotated[str, Field(max_length=4096)]
Name = Annotated[str, Field(max_length=100)]
Words = Annotated[tuple[Annotated[str, Field(max_length=64 << 10)], ...], Field(max_length=1000)]
Seconds = Annotated[float, Field(ge=0, le=7 * 86400, allow_inf_nan=False)]


class WireForm(BaseModel):
    """What all of them have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class TrialState(StrEnum):
    """Where a submitted trial stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"  # it has an outcome: a trial, of whatever validity, or a problem
    FAILED = "failed"  # it came to no end that is known: interrupted, out of time, given up
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether nothing more will come of it."""
        return self not in (TrialState.QUEUED, TrialState.RUNNING)


class RemoteCommand(WireForm):
    """A command of the client's own, for servers that allow them.

    Attributes:
        argv: See `workload.spec.Workload`, as the others.
        shell: Whether argv is one string for the shell.
        environment: Variables that are added.
        works_here: Whether it does its work itself although its name is a client's.
    """

    argv: Words = Field(min_length=1)
    shell: bool = False
    environment: Annotated[dict[Name, Text], Field(max_length=200)] = {}
    works_here: bool = False


class Assignment(WireForm):
    """A scheduler by its name on the machine that runs the workload, and the values that were set of it."""

    name: Annotated[str, Field(pattern=f"^{SCHEDULER_NAME}$")] = "default"
    values: Annotated[dict[Name, ParameterValue], Field(max_length=500)] = {}


class Submission(WireForm):
    """One trial that is asked for.

    Attributes:
        version: Of these forms, one of `VERSIONS`.
        submit_id: The client's own, drawn at random: the trial's id. Sent again with the same content it is
            the same trial, which runs at most once.
        workload: Name of a bundled workload; or
        command: A command.
        parser: Name of a parser that ships; empty: the workload's own, or by the command's name.
        timeout_s, warmup_runs, washout_s: As for `workload.spec.Workload`.
        metrics: What is read besides what always is, as ``--metric`` takes it.
        required: Names of more metrics that the run must have.
        limits: Covariates above which the run counts as failed.
        scheduler: What it runs under.
        seed: What the workload draws.
        lease_s: A client that is not heard of for so long is gone, and the trial is ended.
        trace: Whether the scheduler's events are recorded, too.
    """

    version: int = VERSIONS[-1]
    submit_id: Annotated[str, Field(pattern=f"^{SUBMIT_ID}$")]
    workload: Name | None = None
    command: RemoteCommand | None = None
    parser: Name = ""
    timeout_s: Annotated[Seconds, Field(gt=0)] = 300.0
    warmup_runs: int = Field(default=0, ge=0, le=1000)
    washout_s: Seconds = 0.0
    metrics: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    required: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    limits: Annotated[dict[Name, float], Field(max_length=100)] = {}
    scheduler: Assignment = Assignment()
    seed: int = Field(default=0, ge=0, lt=2**64)
    lease_s: float = Field(default=60.0, ge=2, le=3600)
    trace: bool = False

    @model_validator(mode="before")
    @classmethod
    def _of_usable_texts(cls, content: Any) -> Any:
        if (found := unusable(content)) is not None:
            raise ValueError(found)
        return content

    @model_validator(mode="after")
    def _of_one_workload(self) -> Submission:
        if (self.workload is None) == (self.command is None):
            raise ValueError("expected either a workload's name or a command")
        return self


class Problem(WireForm):
    """An error of the other machine.

    Attributes:
        kind: Name of the error's class.
        message: What happened, and what was expected.
        hint: What to do next.
    """

    kind: str
    message: str
    hint: str = ""


class TrialOutcome(WireForm):
    """What came of a trial.

    Attributes:
        trial: A `backend.base.Trial`; None: there is none, for the reason in
        problem: An error for which no trial could be made.
        manifest: Of the machine and the command.
        warnings: What to know of the run.
        trace_bytes: Size of the archive that ``/trials/ID/trace`` has; None: there is none.
    """

    trial: dict[str, Any] | None = None
    problem: Problem | None = None
    manifest: dict[str, Any] = {}
    warnings: tuple[str, ...] = ()
    trace_bytes: int | None = None


class TrialStatus(WireForm):
    """Where a trial stands, and what came of it.

    Attributes:
        id: The submit id.
        state: Where it stands.
        reason: Why it failed.
        nr_before: How many trials run before it does; 0 once it runs.
        submitted_at, started_at, ended_at: By the server's clock, in Unix seconds.
        now: What that clock shows.
        outcome: Once it is done; None also where it was dropped, which `reason` says.
    """

    id: str
    state: TrialState
    reason: str = ""
    nr_before: int = 0
    submitted_at: float
    started_at: float | None = None
    ended_at: float | None = None
    now: float
    outcome: TrialOutcome | None = None


class TrialProgress(WireForm):
    """How far a trial is: an event of its stream.

    Attributes:
        number: Of the event, from 1.
        state, reason, nr_before: As in a status.
        nr_runs: How many runs it has, with those that warm up.
        nr_done: How many of them have ended.
        took_s: How long the last of those took, with the rest before it; None: none has ended.
        eta_s: How long it takes yet, by these or the last trial of the same work; None: not known.
        now: What the server's clock showed.
    """

    number: int
    state: TrialState
    reason: str = ""
    nr_before: int = 0
    nr_runs: int = 1
    nr_done: int = 0
    took_s: float | None = None
    eta_s: float | None = None
    now: float


class NamedWorkload(WireForm):
    """A bundled workload as it is sized for that machine; `metric` is what it is optimised for."""

    name: str
    argv: tuple[str, ...]
    shell: bool
    parser: str
    timeout_s: float
    metric: str
    missing: tuple[str, ...] = ()


class Capabilities(WireForm):
    """What a server does, and on what machine.

    Attributes:
        versions: Of these forms that it speaks.
        schedtuna_version: Of the program.
        host: Name of the machine.
        machine: What must stay the same while a study goes on: see `machine.manifest.machine_identity`.
        nr_cpus: CPUs that a command may use.
        online_cpus: CPUs that there are.
        workloads: What can be named.
        allows_commands: Whether commands of the client's own run, too.
        user: As whom workloads run; empty: as the server's user.
        schedulers: Names beside `fair` and `default` of what is installed.
        longest_s: The longest time limit of a run.
        most_waiting: Trials that may wait.
        now: What the server's clock shows, in Unix seconds.
    """

    versions: tuple[int, ...]
    schedtuna_version: str
    host: str
    machine: dict[str, Any]
    nr_cpus: int
    online_cpus: int
    workloads: tuple[NamedWorkload, ...]
    allows_commands: bool
    user: str
    schedulers: tuple[str, ...]
    longest_s: float
    most_waiting: int
    now: float


class Health(WireForm):
    """That a server is there, and which versions it speaks; whoever asks."""

    status: str = "ok"
    versions: tuple[int, ...] = VERSIONS
    now: float


class SchedulerAnswer(WireForm):
    """A scheduler as that machine has it.

    Attributes:
        scheduler: A `scheduler.spec.SchedulerConfig`, without the path of its program.
        program: Hash of that program's content; empty: it has none.
        left_out: What a search leaves out of it: a line each.
    """

    scheduler: dict[str, Any]
    program: str = ""
    left_out: tuple[str, ...] = ()


def common_version(theirs: Iterable[int], *, what: str) -> int:
    """Return the newest version that both sides speak.

    Raises:
        UsageError: There is none.
    """
    common = set(VERSIONS) & set(theirs)
    if not common:
        raise UsageError(
            f"{what} speaks versions {_listed(theirs)} of what travels, and this program {_listed(VERSIONS)}",
            hint="update the older of the two",
        )
    return max(common)


def _listed(versions: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(versions))) or "none"
