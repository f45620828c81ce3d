"""What becomes of the options that several commands take: durations, lists, processes."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from schedtuna.cli.options import (
    AllowClientOption,
    NamedOption,
    ParserOption,
    RayOption,
    ResultsOption,
    ResumeOption,
    SeedOption,
    ShellOption,
    TimeoutOption,
    TrustOption,
    UserOption,
    WarmupOption,
    WashoutOption,
)
from schedtuna.errors import UsageError

if TYPE_CHECKING:
    from schedtuna.backend.places.base import Place
    from schedtuna.experiment.campaign import OpenPlace
    from schedtuna.workload.spec import Workload

_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S = 365 * 86400.0
_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ms|s|m|h|d)?")


def parse_duration(text: str) -> float:
    """Return the seconds that a text such as ``90``, ``1.5h`` or ``1m30s`` means.

    Raises:
        UsageError: It means no duration.
    """
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"{text!r} is not a duration", hint="write seconds, or 500ms, 90s, 5m, 1.5h, 1m30s")
    seconds = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
    if seconds > _LONGEST_S:
        raise UsageError(f"{text}: expected less than a year")
    return seconds


def parse_positive_duration(text: str, *, option: str) -> float:
    """Return the seconds of an option's value, which must be more than none.

    Raises:
        UsageError: It means no duration, or none at all.
    """
    seconds = parse_duration(text)
    if seconds <= 0:
        raise UsageError(f"{option} {text}: expected more than 0 seconds")
    return seconds


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end a command like Ctrl-C does: knobs reverted, results kept."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listed(option: Sequence[str] | None) -> list[str]:
    """Return a repeatable option's values."""
    return list(option or ())


def require_process(pid: int | None) -> None:
    """Refuse a process that is not there; None names none.

    Raises:
        UsageError: There is no such process.
    """
    if pid is not None and not Path(f"/proc/{pid}").is_dir():
        raise UsageError(f"there is no process {pid}", hint="find it with pgrep")


@dataclass(frozen=True)
class WorkloadOptions:
    """What is run where no COMMAND is, and how."""

    named: NamedOption = None
    user: UserOption = None
    shell: ShellOption = False
    allow_client: AllowClientOption = False
    timeout: TimeoutOption = "5m"
    warmup: WarmupOption = 0
    washout: WashoutOption = "0s"
    parser: ParserOption = ""

    def workload(self, command: Sequence[str] | None, place: Place) -> Workload:
        """Return a command, or the workload that is named, as what runs at a place.

        Args:
            command: The command, if there is one.
            place: Where.

        Raises:
            UsageError: There is no command, there are two, no workload has the name, or a duration is none.
            UnavailableError: A tool of the bundled workload is missing.
        """
        if command and self.named is not None:
            raise UsageError("COMMAND and --workload contradict each other", hint="give one of them")
        if self.named is not None:
            return self.as_asked(place.named_workload(self.named)[0])
        if command:
            return self.as_asked(place.command(command, shell=self.shell))
        if not place.is_model:
            raise UsageError(
                "no COMMAND to run",
                hint="put it after `--`: schedtuna ... -- stress-ng --cpu 1 -t 2; "
                "or name a bundled one: --workload interactive-mix",
            )
        return place.command(())

    def as_asked(self, workload: Workload) -> Workload:
        """Return a workload, run as the options say.

        Raises:
            UsageError: A duration is none.
        """
        asked = {
            "user": self.user,
            "timeout_s": parse_positive_duration(self.timeout, option="--timeout"),
            "warmup_runs": self.warmup,
            "washout_s": parse_duration(self.washout),
            "parser": self.parser or workload.parser,
            "works_here": self.allow_client,
        }
        return workload.model_copy(update=asked)

    def metrics(self, asked: Sequence[str] | None, place: Place) -> list[str]:
        """Return the metrics that were asked for, else that of the workload that is named, if any."""
        from schedtuna.workload.metrics import format_metric

        if asked or self.named is None:
            return listed(asked)
        return [format_metric(place.named_workload(self.named)[1])]


@dataclass(frozen=True)
class FleetOptions:
    """Who makes the runs."""

    ray: RayOption = ""

    def open_place(self, places: Iterable[Place]) -> OpenPlace:
        """Return what opens places so that the runs are made as asked: by this process, or a Ray cluster.

        Raises:
            MissingExtraError: Ray is not installed.
            UsageError: Runs of a place can't be made elsewhere.
        """
        if self.ray:
            from schedtuna.fleet.cluster import spread_over

            return spread_over(self.ray, places)
        from schedtuna.experiment.campaign import open_here

        return open_here


@dataclass(frozen=True)
class FolderOptions:
    """Which results folder is used, and the seed that it has."""

    seed: SeedOption = None
    results: ResultsOption = Path("results")
    resume: ResumeOption = None
    trust_folder: TrustOption = False

    def require_consent(self, command: Sequence[str]) -> None:
        """Refuse to continue somebody else's runs unasked."""
        from schedtuna.experiment.triallog import LOG_NAME
        from schedtuna.files import require_consent

        if self.resume is not None:
            require_consent(self.resume, [LOG_NAME], command, trusted=self.trust_folder)

    def fixed_seed(self) -> int:
        """Return the seed that was asked for, or the resumed folder's, or a fresh one."""
        from schedtuna.experiment.campaign import choose_seed

        return choose_seed(self.seed, self.resume)
