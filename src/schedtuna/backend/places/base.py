"""What a place is: where runs are made, as data that plans and results keep. `open` makes it real."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from schedtuna.backend.base import Backend
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import MetricSpec, RunSpec, Workload
from schedtuna.workload.suite import ready_workload


class Place(BaseModel, ABC):
    """Where runs are made. Subclasses are frozen data, and the one thing that knows what a place means.

    Attributes:
        kind: Its name in the table `PLACES`.
        turns_knobs: Whether `fair` has this machine's knobs there.
        is_model: Whether what is found there has yet to be confirmed on a real machine.
        is_several: Whether it is several machines (`each`): two runs may differ by where they were made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    turns_knobs: ClassVar[bool] = False
    is_model: ClassVar[bool] = False
    is_several: ClassVar[bool] = False

    @classmethod
    def of(cls, **options: Any) -> Self:
        """Return the place that options of the command line name.

        Raises:
            UsageError: They contradict each other, or name what is not there.
        """
        return cls.model_validate(options)

    @property
    @abstractmethod
    def label(self) -> str:
        """What tells it from other places, in a few words: ``this machine``, ``6.18.15``."""

    @property
    def caveat(self) -> str:
        """Where its numbers come from, if that is not this machine: "in a guest of the lab, ..."."""
        return ""

    @property
    def is_exact(self) -> bool:
        """Whether equal seeds are equal runs there, to the last bit: what repeats them is no evidence."""
        return False

    @property
    def is_service(self) -> bool:
        """Whether something is tuned that runs already, and not what the command starts."""
        return False

    @abstractmethod
    def nr_cpus(self) -> int:
        """Return how many CPUs a command has there."""

    def online_cpus(self) -> int:
        """Return how many CPUs that machine has, whoever may use them."""
        return self.nr_cpus()

    def named(self, host: str) -> str:
        """Return what a machine is called whose runs were made there; this machine is `host`."""
        return f"{self.label} on {host}"

    def options(self) -> tuple[str, ...]:
        """Return the command-line options that name it."""
        return ("--backend", self.kind)

    def fitting(self, named: str | None) -> Self:  # noqa: ARG002
        """Return the place, with what was left open as the workload that `--workload` names needs it."""
        return self

    def named_workload(self, name: str) -> tuple[Workload, MetricSpec]:
        """Return what `--workload` names there, ready to run, and what that is optimised for.

        Raises:
            UsageError: There is none of that name.
            UnavailableError: A tool of it is missing.
        """
        found = ready_workload(name, self.nr_cpus())
        return found.workload, found.metric

    def command(self, argv: Sequence[str], *, shell: bool = False) -> Workload:
        """Return a command as what runs there.

        Raises:
            UsageError: Commands can't.
        """
        return Workload(argv=tuple(argv), shell=shell)

    def words(self, workload: Workload) -> tuple[str, ...]:
        """Return how a command line ends that runs a workload there."""
        return ("--", *workload.argv)

    def confirmation(self, default: SchedulerConfig, candidate: SchedulerConfig, spec: RunSpec) -> str:  # noqa: ARG002
        """Return the command that confirms on a machine what was found there; empty: it is one.

        Args:
            default: What the candidate was compared with.
            candidate: What was found.
            spec: What the runs had in common.
        """
        return ""

    @abstractmethod
    def identity(self, workload: Workload) -> dict[str, str]:
        """What a workload's runs there depend on, besides the backend's identity, by name.

        Raises:
            UsageError: The command is nowhere.
            WorkloadError: It can't be run.
        """

    def each(self) -> Sequence[Place]:
        """Return the machines that it is, each as a place of its own."""
        return (self,)

    def exact(self) -> Self:
        """Return the same place with what was left open decided, so that two can be told apart.

        Raises:
            UnavailableError: It is not there.
        """
        return self

    def require_free(self) -> None:
        """Refuse a place whose settings somebody else turns now: they can't be read as the default's.

        Raises:
            TargetBusyError: Another run is turning its knobs.
        """

    @abstractmethod
    def scheduler(self, text: str) -> SchedulerConfig:
        """Return the scheduler that a text means there, with everything that can be set of it.

        Args:
            text: A name, a name with values, a file or a study's folder: see `scheduler.parse`.

        Raises:
            UsageError: There is none, or no such parameter or value.
            UnavailableError: It is not installed, or a setting can't be had there.
        """

    @abstractmethod
    def tunable(
        self, text: str, include: Sequence[str] = (), *, defined: SchedulerConfig | None = None
    ) -> SchedulerConfig:
        """Return a scheduler with what a search varies of it there.

        Args:
            text: Its name.
            include: Knobs on request, beside the usual ones.
            defined: What the user says of it, in place of what is known.

        Raises:
            UsageError: No scheduler has this name, or there are no such knobs.
            UnavailableError: It can't run there, or nothing of it can be changed.
        """

    def missing(self, scheduler: SchedulerConfig) -> dict[str, str]:  # noqa: ARG002 - what a guest has stays
        """Say which parameters of a scheduler can't be set now: name -> reason."""
        return {}

    def left_out(self, text: str) -> list[str]:  # noqa: ARG002 - there, all that a scheduler has acts
        """Say what a search leaves out of a scheduler there, because it would do nothing: a line each.

        Args:
            text: The scheduler's name.
        """
        return []

    @abstractmethod
    def open(
        self, spec: RunSpec, schedulers: Sequence[SchedulerConfig] = (), turned: Iterable[str] = ()
    ) -> AbstractContextManager[Backend]:
        """Claim the place and get it ready; it is left as it was found.

        Args:
            spec: What the runs have in common.
            schedulers: What they are under; none: everything stays as it is found.
            turned: Names of what a search will vary, besides what the schedulers set.

        Raises:
            StudyError: The settings can't reach the command's work, or what is tuned has ended.
            TargetBusyError: Another run is turning its knobs.
            UnavailableError: The place can't be had.
        """
