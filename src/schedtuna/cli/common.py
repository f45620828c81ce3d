"""What becomes of the options that several commands take: durations, lists, processes."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from schedtuna.backend.places.registry import HOST, PLACES, kind_of, make_place
from schedtuna.cli.options import (
    AllowClientOption,
    BackendOption,
    CgroupOption,
    CostOption,
    CpusOption,
    ForceOption,
    KernelListOption,
    KernelOption,
    KernelsOption,
    MachineOption,
    NamedOption,
    ParserOption,
    PidOption,
    PlacesOption,
    RayOption,
    ResultsOption,
    ResumeOption,
    ScopeOption,
    SeedOption,
    ShellOption,
    TimeoutOption,
    TokenFileOption,
    TopologyOption,
    TrustOption,
    UnitOption,
    UserOption,
    WarmupOption,
    WashoutOption,
)
from schedtuna.cli.output import print_remark
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
class WhereOptions:
    """Where a command is run, for commands that tune nothing."""

    backend: BackendOption = HOST
    kernel: KernelOption = None
    cpus: CpusOption = None
    topology: TopologyOption = None
    cost: CostOption = None
    machine: MachineOption = None
    token_file: TokenFileOption = None

    def place(self) -> Place:
        """Return where runs are made.

        Raises:
            UsageError: The options contradict each other.
        """
        said = _said(self)
        return make_place(said.pop("backend"), said)


@dataclass(frozen=True)
class PlaceOptions(WhereOptions):
    """Where a command is run, and what is tuned there."""

    scope: ScopeOption = None
    pid: PidOption = None
    cgroup: CgroupOption = None
    unit: UnitOption = None
    force: ForceOption = None

    def ready_place(self) -> Place:
        """Return where runs are made, once this machine's settings can be read as the default's.

        Raises:
            UsageError: The options contradict each other, or there is no such process or control group.
            TargetBusyError: Another run is turning its knobs.
            StaleChangesError: What a killed run has left can't be put back.
        """
        return made_ready(self.place())


@dataclass(frozen=True)
class SidesOptions:
    """Where each side of a comparison is run; given once, both are run there."""

    backend: PlacesOption = None
    kernel: KernelsOption = None
    cpus: CpusOption = None
    topology: TopologyOption = None
    cost: CostOption = None
    machine: MachineOption = None
    token_file: TokenFileOption = None
    scope: ScopeOption = None
    pid: PidOption = None
    cgroup: CgroupOption = None
    unit: UnitOption = None
    force: ForceOption = None

    def ready_places(self) -> list[Place]:
        """Return the default's place and the candidate's; see `PlaceOptions.ready_place`.

        Raises:
            UsageError: They are three or more, or two that are the same.
        """
        kinds = list(self.backend or (HOST,))
        kernels: list[str | None] = list(self.kernel or ()) or [None]
        nr_places = max(len(kinds), len(kernels))
        if nr_places > 2 or (len(kinds), len(kernels)) == (2, 2):
            raise UsageError("a comparison has two sides", hint="give --backend or --kernel twice at most")
        pairs = zip(kinds * nr_places, kernels * nr_places, strict=False)
        said = {name: value for name, value in _said(self).items() if name not in ("backend", "kernel")}
        places = [
            make_place(kind, _of_kind(kind, kinds, said | {"kernel": kernel}))
            for kind, kernel in list(pairs)[:nr_places]
        ]
        if nr_places == 1:
            return [made_ready(places[0])] * 2
        exact = [made_ready(place).exact() for place in places]
        if exact[0] == exact[1]:
            what = "kernels" if len(kernels) == 2 else "places"
            raise UsageError(
                f"expected two different {what}, not {', '.join(place.label for place in exact)}"
            )
        return exact


@dataclass(frozen=True)
class ListOptions:
    """Where what is in a list is run; given several kernels, they are the list."""

    backend: BackendOption = HOST
    kernel: KernelListOption = None
    cpus: CpusOption = None
    topology: TopologyOption = None
    cost: CostOption = None
    machine: MachineOption = None
    token_file: TokenFileOption = None
    scope: ScopeOption = None
    pid: PidOption = None
    cgroup: CgroupOption = None
    unit: UnitOption = None
    force: ForceOption = None

    def ready_places(self) -> list[Place]:
        """Return one place, or one for each of several kernels, in the order given.

        Raises:
            UsageError: A kernel twice.
        """
        said = {name: value for name, value in _said(self).items() if name != "backend"}
        places = [
            made_ready(make_place(self.backend, said | {"kernel": kernel}))
            for kernel in self.kernel or (None,)
        ]
        if len(places) == 1:
            return places
        exact = [place.exact() for place in places]
        if len(set(exact)) < len(exact):
            raise UsageError(f"expected different kernels, not {', '.join(p.label for p in exact)}")
        return exact


def parse_costs(texts: Sequence[str]) -> dict[str, int]:
    """Return the constants of a simulated machine that texts such as ``context_switch_ns=2000`` set.

    Raises:
        UsageError: One sets nothing, or what another one has set.
    """
    costs: dict[str, int] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if not (number.isascii() and number.isdecimal() and len(number) < 20):
            raise UsageError(f"--cost {text}: expected NAME=NUMBER", hint="--cost context_switch_ns=2000")
        if name in costs:
            raise UsageError(f"--cost sets {name} twice", hint="leave one of them out")
        costs[name] = int(number)
    return costs


def _said(options: WhereOptions | SidesOptions | ListOptions) -> dict[str, Any]:
    """What options say of a place, by their names; None for what was not said."""
    said = asdict(options)
    return said | {"cost": parse_costs(said["cost"]) if said["cost"] else None}


def _of_kind(kind: str, kinds: Sequence[str], said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said of one kind of place, and what is said of none, which it refuses."""
    there = {text: PLACES[kind_of(text)].options for text in kinds if kind_of(text) in PLACES}
    others = {name for text, options in there.items() if text != kind for name in options}
    own = there.get(kind, ())
    return {name: value for name, value in said.items() if name in own or name not in others}


def made_ready(place: Place) -> Place:
    """Return a place whose settings can be read as the default's."""
    from schedtuna.knobs.journal import Journal
    from schedtuna.knobs.undo import put_back_stale

    place.require_free()
    for remark in put_back_stale(Journal()):
        print_remark("note", remark, file=sys.stderr)
    return place


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
