"""Machine-wide scheduler settings that are files: sysctls and debugfs entries.

Which one a kernel has depends on its version: until 5.12 most were sysctls, since then they are in
debugfs. Each knob names the places where it may be and takes the first that is there.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from schedtuna.errors import KnobError
from schedtuna.knobs.base import Availability, Knob, Reverted, Scope, Target
from schedtuna.knobs.journal import Change, FileSubject, Journal, Record
from schedtuna.space import ParameterSpec, ParameterType, ParameterValue

SYSCTL = Path("/proc/sys/kernel")
DEBUGFS = Path("/sys/kernel/debug/sched")

EVERYWHERE = frozenset(Scope)
MACHINE = frozenset({Scope.MACHINE})


@dataclass(frozen=True)
class Format:
    """How a file's text and a parameter's value become each other.

    Attributes:
        type: Kind of the parameter.
        read: Text to value.
        write: Value to text.
        low: Smallest value offered (numbers).
        high: Largest value offered (numbers).
        log: Whether ratios matter.
        unit: Of the value.
        choices: All choices, given the file's text (categorical).
    """

    type: ParameterType
    read: Callable[[str], ParameterValue]
    write: Callable[[ParameterValue], str]
    low: int | None = None
    high: int | None = None
    log: bool = False
    unit: str = ""
    choices: Callable[[str], tuple[str, ...]] = lambda _: ()


def number(low: int, high: int, *, scale: int = 1, unit: str = "", log: bool = True) -> Format:
    """A whole number; the file has it `scale` times as large (1000 for us kept in ns)."""
    return Format(
        ParameterType.INTEGER,
        read=lambda text: round(int(text) / scale),
        write=lambda value: str(int(value) * scale),  # type: ignore[arg-type]  # the spec makes it an int
        low=low,
        high=high,
        log=log,
        unit=unit,
    )


SWITCH = Format(
    ParameterType.BOOLEAN,
    read=lambda text: {"0": False, "1": True}[text.strip()],
    write=lambda value: "1" if value else "0",
)
# sched/preempt shows "none voluntary (full) lazy"
BRACKETED = Format(
    ParameterType.CATEGORICAL,
    read=lambda text: (re.findall(r"\((\w+)\)", text) or [text.strip()])[0],
    write=str,
    choices=lambda text: tuple(re.findall(r"\w+", text)),
)
_SCALINGS = ("none", "log", "linear")  # enum sched_tunable_scaling
SCALING = Format(
    ParameterType.CATEGORICAL,
    read=lambda text: _SCALINGS[int(text)],
    write=lambda value: str(_SCALINGS.index(str(value))),
    choices=lambda _: _SCALINGS,
)


def feature(name: str) -> Format:
    """One bit of sched/features, which shows NAME or NO_NAME and takes either."""
    return Format(
        ParameterType.BOOLEAN,
        read=lambda text: name in text.split(),
        write=lambda value: name if value else f"NO_{name}",
    )


class FileKnob(Knob):
    """A setting of the whole machine that one file shows and takes.

    Args:
        name: Name of its parameter.
        paths: Where it may be; the first that is there counts.
        form: What its text means.
        description: One sentence.
        scopes: Where it may be asked for; it always changes the whole machine.
        offered_in: Where a search varies it unasked.
        token: A word that the file's text must have, for features that not every kernel has.
    """

    def __init__(
        self,
        name: str,
        paths: tuple[Path, ...],
        form: Format,
        description: str,
        *,
        scopes: frozenset[Scope] = EVERYWHERE,
        offered_in: frozenset[Scope] = MACHINE,
        token: str = "",
    ) -> None:
        self.name = name
        self.unit = form.unit
        self.description = f"{description} (whole machine)"
        self.scopes = scopes
        self.offered_in = offered_in
        self._paths = paths
        self._form = form
        self._token = token

    def probe(self, target: Target) -> Availability:  # noqa: ARG002
        """Say whether the file is there, readable, understood and writable."""
        path = self.path
        if path is None:
            return self._absent()
        try:
            text = path.read_text()
            os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))  # what the kernel checks; writes nothing
            self._value(text)
        except OSError as error:
            return _refused(path, error)
        except KnobError as error:
            return Availability(False, str(error))
        return Availability(ok=True)

    def spec(self, target: Target) -> ParameterSpec:
        """The parameter; its bounds always hold what is set now."""
        text = self._text()
        found = self.show(target)
        form = self._form
        bounds = {}
        if form.low is not None and form.high is not None and isinstance(found, int):
            bounds = {"min_value": min(form.low, found), "max_value": max(form.high, found)}
        return ParameterSpec(
            name=self.name,
            type=form.type,
            default=found,
            choices=form.choices(text),
            log=form.log and bounds.get("min_value", 0) > 0,
            unit=self.unit,
            description=self.description,
            **bounds,
        )

    def show(self, target: Target) -> ParameterValue:  # noqa: ARG002
        """What the file says."""
        return self._value(self._text())

    def apply(self, target: Target, value: ParameterValue, journal: Journal) -> None:  # noqa: ARG002
        """Write the value to the file."""
        path, old, new = self.path, self._writable(self._text()), self._form.write(value)
        if path is None:
            raise KnobError(f"{self.name}: {self._absent().reason}")
        journal.begin([Change(self.name, FileSubject(path=path), old, new)])
        journal.step(f"{self.name}: before the change")
        self._write(path, new)
        journal.step(f"{self.name}: after the change")

    def revert(self, record: Record) -> Reverted:
        """Write the old text back, to a path that this knob knows, unless it is there already."""
        path = record.subject.path if isinstance(record.subject, FileSubject) else None
        if path is None or path not in self._paths:
            raise KnobError(f"{self.name}: the journal's record {record.id} names no file of this knob")
        if self._writable(self._read(path)) != record.old:
            self._write(path, str(record.old))
        return Reverted.RESTORED

    @property
    def path(self) -> Path | None:
        """The file that this kernel has; None where it has none, or hides it."""
        for path in self._paths:
            try:
                path.stat()
            except OSError:
                continue
            return path
        return None

    def _text(self) -> str:
        path = self.path
        if path is None:
            raise KnobError(f"{self.name}: {self._absent().reason}")
        return self._read(path)

    def _read(self, path: Path) -> str:
        try:
            return path.read_text()
        except OSError as error:
            raise KnobError(f"{self.name}: reading {path}: {error.strerror}") from error

    def _value(self, text: str) -> ParameterValue:
        if self._token and not {self._token, f"NO_{self._token}"} & set(text.split()):
            raise KnobError(f"this kernel's {self._paths[0].name} has no {self._token}")
        try:
            return self._form.read(text)
        except (ValueError, LookupError):
            raise KnobError(f"{self.name}: {self.path} says {text.strip()[:60]!r}") from None

    def _writable(self, text: str) -> str:
        """What the file shows, in the form that it takes; a number to the last digit."""
        if self._form.type is ParameterType.INTEGER:
            return text.strip()
        return self._form.write(self._value(text))

    def _write(self, path: Path, text: str) -> None:
        try:
            write_kernel_file(path, text)
        except OSError as error:
            raise KnobError(f"{self.name}: writing {text!r} to {path}: {error.strerror}") from error

    def _absent(self) -> Availability:
        if any(DEBUGFS in path.parents for path in self._paths):
            if os.geteuid() != 0:
                return Availability(False, "only root sees debugfs", "run as root")
            if not DEBUGFS.is_dir():
                return Availability(
                    False, "debugfs is not mounted", "mount -t debugfs none /sys/kernel/debug"
                )
        return Availability(False, f"this kernel has no {self._paths[0].name}")


def write_kernel_file(path: Path, text: str) -> None:
    """Write a file of procfs, sysfs, debugfs or cgroupfs in the one write(2) that they expect.

    Raises:
        OSError: The kernel refused; unlike with `Path.write_text`, a missing file is never created.
    """
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, f"{text}\n".encode())
    finally:
        os.close(file)


def _refused(path: Path, error: OSError) -> Availability:
    if error.errno == errno.EPERM and DEBUGFS in path.parents:
        return Availability(
            False,
            "the kernel is locked down, which closes debugfs",
            "boot without lockdown (or Secure Boot) to use it; see kernel_lockdown(7)",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Availability(False, f"{path} may only be written by root", "run as root")
    if error.errno == errno.EROFS:
        return Availability(False, f"{path} is mounted read-only", "run outside of the container")
    return Availability(False, f"{path}: {error.strerror}")


def _sysctl(name: str) -> Path:
    return SYSCTL / name


def _debug(name: str) -> Path:
    return DEBUGFS / name


AUTOGROUP = FileKnob(
    "autogroup",
    (_sysctl("sched_autogroup_enabled"),),
    SWITCH,
    "each session is a group with an equal share; nice then counts only within a session",
    offered_in=frozenset({Scope.TREE, Scope.MACHINE}),
)
# sched_rt_runtime_us is not here on purpose: it is what saves a machine from a realtime hog.
FILE_KNOBS: tuple[FileKnob, ...] = (
    AUTOGROUP,
    FileKnob(
        "base_slice_us",
        (_debug("base_slice_ns"),),
        number(100, 100_000, scale=1000, unit="us"),
        "EEVDF's slice of threads that have none of their own",
    ),
    FileKnob(
        "min_granularity_us",
        (_debug("min_granularity_ns"), _sysctl("sched_min_granularity_ns")),
        number(100, 100_000, scale=1000, unit="us"),
        "CFS: the least time before a thread is preempted",
    ),
    FileKnob(
        "latency_us",
        (_debug("latency_ns"), _sysctl("sched_latency_ns")),
        number(100, 100_000, scale=1000, unit="us"),
        "CFS: the period in which every thread runs once",
    ),
    FileKnob(
        "wakeup_granularity_us",
        (_debug("wakeup_granularity_ns"), _sysctl("sched_wakeup_granularity_ns")),
        number(1, 100_000, scale=1000, unit="us"),
        "CFS: how far ahead a woken thread must be to preempt",
    ),
    FileKnob(
        "migration_cost_us",
        (_debug("migration_cost_ns"), _sysctl("sched_migration_cost_ns")),
        number(1, 50_000, scale=1000, unit="us"),
        "how long after it ran a thread counts as cache-hot and is not migrated",
    ),
    FileKnob(
        "nr_migrate",
        (_debug("nr_migrate"), _sysctl("sched_nr_migrate")),
        number(1, 128),
        "how many threads one balancing pass may move",
    ),
    FileKnob(
        "preempt",
        (_debug("preempt"),),
        BRACKETED,
        "the kernel's preemption model",
    ),
    FileKnob(
        "tunable_scaling",
        (_debug("tunable_scaling"), _sysctl("sched_tunable_scaling")),
        SCALING,
        "how slices grow with the number of CPUs",
    ),
    FileKnob(
        "cfs_bandwidth_slice_us",
        (_sysctl("sched_cfs_bandwidth_slice_us"),),
        number(100, 100_000, unit="us"),
        "how much of a group's quota a CPU takes at a time",
    ),
    FileKnob(
        "rr_timeslice_ms",
        (_sysctl("sched_rr_timeslice_ms"),),
        number(1, 1000, unit="ms"),
        "the turn of a round-robin realtime thread",
    ),
    FileKnob(
        "child_runs_first",
        (_sysctl("sched_child_runs_first"),),
        SWITCH,
        "whether a forked child runs before its parent",
    ),
    FileKnob(
        "energy_aware",
        (_sysctl("sched_energy_aware"),),
        SWITCH,
        "energy-aware placement on machines with unlike CPUs",
    ),
    FileKnob(
        "numa_balancing",
        (_sysctl("numa_balancing"),),
        number(0, 1, log=False),
        "whether memory and threads move to the same node",
    ),
    *(
        FileKnob(f"feature_{name.lower()}", (_debug("features"),), feature(name), text, token=name)
        for name, text in {
            "RUN_TO_PARITY": "EEVDF: a thread keeps its CPU until its slice is used",
            "PREEMPT_SHORT": "EEVDF: a woken thread with a shorter slice preempts",
            "PLACE_LAG": "EEVDF: a thread keeps its lag while it sleeps",
            "DELAY_DEQUEUE": "EEVDF: a sleeping thread stays queued until its lag is paid",
            "NEXT_BUDDY": "the thread just woken runs next",
            "WAKEUP_PREEMPTION": "a woken thread may preempt at all",
            "SIS_UTIL": "the search for an idle CPU is cut short when the cache's CPUs are busy",
        }.items()
    ),
)
