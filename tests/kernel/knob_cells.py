"""What a knob does to a command in one position, measured: two sides contend for one CPU, one has the knob.

Runs on any machine as root, and in guests as a program, with SECONDS and `{"POSITION": [CASE, ...]}`.
"""

import contextlib
import ctypes
import json
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kernel.knob_loads import MEASURES, Measure, Side

from schedtuna.errors import SchedtunaError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.hierarchies import find_hierarchy
from schedtuna.knobs.journal import Journal, TargetBusyError
from schedtuna.knobs.registry import knob_named
from schedtuna.knobs.session import Changes

AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")
POSITIONS = ("root", "session", "child", "container", "group")
REPEATS = 3  # of a reading that is unclear; the medians count
UNCLEAR = (1.1, 1.9)  # ratios of the figures with and without the setting
EQUAL = (40.0, 60.0)  # % of a CPU that two hogs get each; another share without the setting is doubtful
BUSY_WITHIN_S = 120.0
CLONE_NEWNS, CLONE_NEWCGROUP = 0x00020000, 0x02000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2


@dataclass(frozen=True)
class Case:
    """One question: what does `setting` change, where `beside` is set already?"""

    measure: str
    setting: Mapping[str, Any]
    beside: Mapping[str, Any] = field(default_factory=dict)

    @property
    def knob(self) -> str:
        return next(iter(self.setting))


CASES = (
    Case("share", {"nice": 10}),
    Case("share", {"policy": "idle"}),
    Case("wait", {"policy": "batch"}, {"slice_us": 100}),
    Case("wait", {"slice_us": 100}),
    Case("switches", {"slice_us": 100_000}),
    Case("switches", {"slice_us": 100}),
    Case("wake_short", {"policy": "batch"}, {"slice_us": 1000}),
    Case("share", {"autogroup_nice": 10}),
    Case("crowd", {"autogroup": "other"}),
    Case("share", {"cpu_weight": 10}),
    Case("share", {"cpu_quota": 3}),
    Case("cpus", {"affinity": "cpus_1"}),
    Case("cpus", {"cpuset": "cpus_1"}),
    Case("late", {"timer_slack_us": 10_000}),
    Case("share", {"realtime": "fifo"}),
    Case("switches", {"base_slice_us": 100_000}),
    Case("switches", {"feature_run_to_parity": False}, {"slice_us": 100_000}),
    Case("switches", {"feature_hrtick": "other"}, {"slice_us": 500}),
    Case("wake_short", {"feature_preempt_short": False}, {"slice_us": 1000}),
    Case("wake_short", {"feature_wakeup_preemption": False}, {"slice_us": 1000}),
    Case("wake_long", {"feature_next_buddy": "other"}, {"slice_us": 100_000}),
    Case("beside_rt", {"fair_server_runtime_us": 400_000}),
    Case("beside_rt", {"ext_server_runtime_us": 400_000}),
    Case("spread", {"cgroup_mode": "smp"}),
)
# Does the setting undo what is beside it?
CANCELLING = (
    Case("share", {"cpu_weight": 101}, {"nice": 10}),
    Case("share", {"cpu_weight": 101}, {"autogroup_nice": 10}),
    Case("share", {"cpu_weight": 101}, {"policy": "idle"}),
    Case("share", {"cpu_quota": 190}, {"nice": 10}),
    Case("share", {"cpu_quota": 190}, {"autogroup_nice": 10}),
    Case("share", {"cpu_quota": 190}, {"policy": "idle"}),
    Case("share", {"cpuset": "cpus_1"}, {"nice": 10}),
    Case("share", {"cpuset": "cpus_1"}, {"autogroup_nice": 10}),
    Case("share", {"cpuset": "cpus_1"}, {"policy": "idle"}),
    Case("share", {"realtime": "fifo"}, {"nice": 10}),
    Case("share", {"realtime": "fifo"}, {"autogroup_nice": 10}),
    Case("share", {"realtime": "fifo"}, {"cpu_weight": 10}),
    Case("share", {"policy": "idle"}, {"nice": -10}),
    Case("share", {"realtime": "fifo"}, {"policy": "idle"}),
    Case("switches", {"realtime": "fifo"}, {"slice_us": 500}),
)


# ---- where it runs ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where the sides are: a control group for both, or one for each, or none."""

    groups: tuple[Path, ...] = ()
    scope: Scope = Scope.TREE

    def put(self, pid: int, index: int) -> None:
        if self.groups:
            (self.groups[index % len(self.groups)] / "cgroup.procs").write_text(str(pid))


@contextlib.contextmanager
def position(name: str) -> Iterator[Place]:
    """Be there: `root`, `session` (root group, autogroup on), `child`, `container`, `group` (all of one)."""
    hierarchy = find_hierarchy("cpu")
    assert hierarchy is not None
    before = AUTOGROUP.read_text().strip()
    wanted = {"root": "0", "session": "1"}.get(name, before)
    if wanted != before:  # it is the whole machine's
        AUTOGROUP.write_text(wanted)
    made: list[Path] = []
    try:
        if name in ("child", "container", "group"):
            sides = range(2 if name == "group" else 1)
            made = [hierarchy.mount / f"cells-{os.getpid()}-{side}" for side in sides]
            for group in made:
                group.mkdir()
        groups = tuple(made) or (hierarchy.mount,)
        yield Place(groups, Scope.CGROUP if name == "group" else Scope.TREE)
    finally:
        for group in made:
            _remove(group)
        if wanted != before:
            AUTOGROUP.write_text(before)


def _remove(group: Path) -> None:
    for _ in range(100):
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return


def enter_container(group: Path) -> None:
    """Put this process into a group, and where it sees no other and may write none, as a container does."""
    (group / "cgroup.procs").write_text(str(os.getpid()))
    libc = ctypes.CDLL(None, use_errno=True)

    def call(number: int) -> None:
        if number:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def mount(source: bytes, target: Path, kind: bytes, flags: int, data: bytes | None = None) -> None:
        call(libc.mount(source, bytes(target), kind, flags, data))

    call(libc.unshare(CLONE_NEWNS | CLONE_NEWCGROUP))
    mount(b"none", Path("/"), b"", MS_REC | MS_PRIVATE)
    hierarchies = [found for name in ("cpu", "cpuset") if (found := find_hierarchy(name)) is not None]
    for found in {found.mount: found for found in hierarchies}.values():
        kind, data = (b"cgroup", found.controller.encode()) if found.version == 1 else (b"cgroup2", None)
        call(libc.umount2(bytes(found.mount), MNT_DETACH))
        mount(kind, found.mount, kind, 0, data)
        mount(b"none", found.mount, b"", MS_REMOUNT | MS_BIND | MS_RDONLY)
    sysctl = Path("/proc/sys")
    mount(b"/proc/sys", sysctl, b"", MS_BIND)
    mount(b"none", sysctl, b"", MS_REMOUNT | MS_BIND | MS_RDONLY)


# ---- measuring --------------------------------------------------------------------------------


def figure(place: Place, measure: Measure, values: Mapping[str, Any], seconds: float) -> float:
    """Return the measure's figure where our side has these values."""
    cpu = min(os.sched_getaffinity(0)) if measure.pinned else None  # that of cpus_1, too
    with tempfile.TemporaryDirectory() as state, contextlib.ExitStack() as stack:
        sides = [Side(measure.ours, cpu)]
        stack.callback(sides[0].close)
        if measure.other is not None:
            sides.append(Side(measure.other, cpu))
            stack.callback(sides[1].close)
        for index, side in enumerate(sides):
            place.put(side.pid, index)
        cgroup = place.groups[0] if place.scope is Scope.CGROUP else None
        pid = None if cgroup else sides[0].pid
        changes = stack.enter_context(
            Changes(Target(place.scope, pid=pid, cgroup=cgroup), Journal(Path(state) / "journal"))
        )
        changes.apply(values)
        end = time.monotonic() + seconds
        for side in sides:
            side.go(end)
        found = [side.result() for side in sides]
        return round(measure.figure(found[0], found[-1], seconds), 2)


def toggled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values with the opposite of what is set now in place of `other`."""
    return {
        name: not knob_named(name).show(Target()) if value == "other" else value
        for name, value in values.items()
    }


def is_clear(measure: str, with_it: float, without: float) -> bool:
    """Whether a pair of figures tells whether the setting acts."""
    low, high = sorted((with_it, without))
    ratio = high / max(low, 0.05)
    fair = measure != "share" or ratio > UNCLEAR[1] or EQUAL[0] <= without <= EQUAL[1]
    return fair and not UNCLEAR[0] <= ratio <= UNCLEAR[1]


class Cells:
    """Cells of one position; what is the same without a setting is measured once."""

    def __init__(self, place: Place, seconds: float) -> None:
        self._place = place
        self._seconds = seconds
        self._without: dict[str, list[float]] = {}

    def measured(self, case: Case) -> dict[str, Any]:
        """Return what was found without the setting and with it; or why it can't be set there."""
        row: dict[str, Any] = {"knob": case.knob, "set": dict(case.setting), "beside": dict(case.beside)}
        row |= {"measure": case.measure, "seconds": self._seconds}
        try:
            row["set"] = toggled(case.setting)
            without = self._without.setdefault(f"{case.measure} {case.beside}", [])
            with_it: list[float] = []
            for runs in range(1, REPEATS + 1):
                with_it.append(self._figure(case, {**case.beside, **row["set"]}))
                if len(without) < runs:
                    without.append(self._figure(case, case.beside))
                figures = [round(statistics.median(found), 2) for found in (with_it, without)]
                if is_clear(case.measure, *figures):
                    break
            row |= {"runs": runs, "with": figures[0], "without": figures[1]}
        except SchedtunaError as error:
            row["refused"] = str(error)
        return row

    def _figure(self, case: Case, values: Mapping[str, Any]) -> float:
        """Return the figure; another run of Schedtuna's that turns a knob for a moment is waited for."""
        deadline = time.monotonic() + BUSY_WITHIN_S
        while True:
            try:
                return figure(self._place, MEASURES[case.measure], values, self._seconds)
            except TargetBusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)


def measure_all(name: str, seconds: float, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Measure the cases with these numbers in a position."""
    cases = [cases_of(name)[number] for number in numbers]
    with position("session" if name == "ext" else name) as place:
        if name != "container":
            cells = Cells(place, seconds)
            yield from ({"position": name, **cells.measured(case)} for case in cases)
            return
        read, write = os.pipe()
        if (inside := os.fork()) == 0:
            try:
                enter_container(place.groups[0])
                with os.fdopen(write, "w") as out:
                    cells = Cells(Place(), seconds)
                    for case in cases:
                        out.write(f"{json.dumps({'position': name, **cells.measured(case)})}\n")
                        out.flush()
                os._exit(0)
            except BaseException:  # noqa: BLE001 - the child ends here, whatever it is
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(write)
        with os.fdopen(read) as rows:
            yield from map(json.loads, rows)
        if os.waitpid(inside, 0)[1]:
            raise RuntimeError("what was inside of the container failed")


def cases_of(name: str) -> tuple[Case, ...]:
    """The cases of a position, or of a scheduler."""
    return CASES + (CANCELLING if name in ("root", "session") else ())


if __name__ == "__main__":
    if (handed := Path("/sys/fs/cgroup/cgroup.subtree_control")).exists():
        handed.write_text("+cpu +cpuset")
    for place_name, chosen in json.loads(sys.argv[2]).items():
        for line in measure_all(place_name, float(sys.argv[1]), chosen):
            print(json.dumps(line), flush=True)
