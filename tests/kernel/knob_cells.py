"""What a knob does to a command in one position, measured: two sides contend for one CPU, one has the knob.

Runs on any machine as root, and in guests as a program (`knob_cells.py SECONDS KNOBS POSITION ...`). The
figures are the kernel's own accounts: utime and stime, context switches, run_delay.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
NAP_S, WORK_S = 0.002, 0.0003
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
    Case("wait", {"feature_preempt_short": False}, {"slice_us": 100}),
    Case("wait", {"feature_wakeup_preemption": False}, {"slice_us": 100}),
    Case("wait", {"feature_next_buddy": "other"}),
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
)
IN_VERSION_2 = tuple(case for case in CANCELLING if "cpuset" in case.setting or "cpu_weight" in case.beside)


# ---- what runs --------------------------------------------------------------------------------


def hog(end: float) -> dict[str, Any]:
    cpus = set()
    while time.monotonic() < end:
        slot = time.monotonic() + 0.02
        while time.monotonic() < slot:
            for _ in range(300):  # an emulated CPU takes long to tell the time
                pass
        cpus.add(int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[36]))
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_s": used.ru_utime + used.ru_stime, "switches": used.ru_nivcsw, "cpus": sorted(cpus)}


def napper(end: float) -> dict[str, Any]:
    """Sleep and work in turns; how long it waited for the CPU, and how late it ran, in milliseconds."""
    waited, late = [], []
    delay = Path("/proc/self/schedstat")
    while (before := time.monotonic()) < end:
        waiting_ns = int(delay.read_text().split()[1])
        time.sleep(NAP_S)
        woken = time.monotonic()
        late.append(1e3 * (woken - before - NAP_S))
        waited.append(1e-6 * (int(delay.read_text().split()[1]) - waiting_ns))
        while time.monotonic() < woken + WORK_S:
            pass
    return {"waited_ms": sorted(waited)[len(waited) * 8 // 10], "late_ms": sorted(late)[len(late) // 2]}


def several(number: int) -> Callable[[float], dict[str, Any]]:
    def hogs(end: float) -> dict[str, Any]:
        reports = [report(hog, end) for _ in range(number)]
        found = [json.loads(os.read(pipe, 1 << 16)) for pipe in reports]
        return {
            "cpu_s": sum(row["cpu_s"] for row in found),
            "switches": sum(row["switches"] for row in found),
            "cpus": sorted({cpu for row in found for cpu in row["cpus"]}),
        }

    return hogs


def report(role: Callable[[float], dict[str, Any]], end: float) -> int:
    """Play a role in a child; returns the pipe that its report comes from."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, json.dumps(role(end)).encode())
        os._exit(0)
    os.close(write)
    return read


def realtime_hog(end: float) -> dict[str, Any]:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return hog(end)


def spread_hogs(end: float) -> dict[str, Any]:
    """Three hogs, of which one is on this CPU and the others on the next; what the first one got."""
    (cpu,) = os.sched_getaffinity(0)
    here = report(hog, end)
    others = sorted(set(range(os.cpu_count() or 1)) - {cpu})[:1]
    os.sched_setaffinity(0, others)
    elsewhere = [report(hog, end) for _ in range(2)]
    found: dict[str, Any] = json.loads(os.read(here, 1 << 16))
    for pipe in elsewhere:
        os.read(pipe, 1 << 16)
    return found


class Side:
    """A session with a role, held until it is let go."""

    def __init__(self, role: Callable[[float], dict[str, Any]], cpu: int | None) -> None:
        waiting, self._gate = os.pipe()
        self._report, write = os.pipe()
        ready, is_ready = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                signal.signal(signal.SIGXCPU, signal.SIG_IGN)  # of the knob realtime, after 5 s
                if cpu is not None:
                    os.sched_setaffinity(0, {cpu})
                os.close(self._gate)
                os.write(is_ready, b".")
                if end := os.read(waiting, 100):
                    os.write(write, json.dumps(role(float(end))).encode())
            finally:
                os._exit(0)
        for descriptor in (waiting, write, is_ready):
            os.close(descriptor)
        os.read(ready, 1)
        os.close(ready)

    def go(self, end: float) -> None:
        os.write(self._gate, str(end).encode())

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(os.read(self._report, 1 << 16))
        return found

    def close(self) -> None:
        os.close(self._gate)
        os.close(self._report)
        os.waitpid(self.pid, 0)


@dataclass(frozen=True)
class Measure:
    """Who has the knob, who contends with it, and the figure."""

    ours: Callable[[float], dict[str, Any]]
    other: Callable[[float], dict[str, Any]] | None
    figure: Callable[[dict[str, Any], dict[str, Any], float], float]
    pinned: bool = True


def _share(ours: dict[str, Any], other: dict[str, Any], _seconds: float) -> float:
    return 100 * float(ours["cpu_s"]) / float(ours["cpu_s"] + other["cpu_s"])


MEASURES = {
    "share": Measure(hog, hog, _share),  # % of the CPU
    "crowd": Measure(several(3), hog, _share),
    "switches": Measure(several(2), None, lambda ours, _, seconds: float(ours["switches"]) / seconds),
    "wait": Measure(napper, hog, lambda ours, *_: float(ours["waited_ms"])),
    "late": Measure(napper, None, lambda ours, *_: float(ours["late_ms"])),
    "cpus": Measure(several(4), None, lambda ours, *_: float(len(ours["cpus"])), pinned=False),
    "beside_rt": Measure(hog, realtime_hog, _share),
    # What the other side's hog beside ours gets, as the others of its side are elsewhere.
    "spread": Measure(hog, spread_hogs, lambda ours, other, seconds: 100 - _share(ours, other, seconds)),
}


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
                figures = statistics.median(with_it), statistics.median(without)
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


def measure_all(name: str, seconds: float, cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """Measure cases in a position."""
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
            except BaseException:  # noqa: BLE001 - the child ends here, whatever it is
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as rows:
            yield from map(json.loads, rows)
        os.waitpid(inside, 0)


def cases_of(name: str, cancelling: tuple[Case, ...] = IN_VERSION_2) -> tuple[Case, ...]:
    """The cases of a position."""
    return CASES + (cancelling if name in ("root", "session") else ())


if __name__ == "__main__":
    if (handed := Path("/sys/fs/cgroup/cgroup.subtree_control")).exists():
        handed.write_text("+cpu +cpuset")
    knobs = set(filter(None, sys.argv[2].split(",")))
    for place_name in sys.argv[3:]:
        cases_here = [case for case in cases_of(place_name) if not knobs or case.knob in knobs]
        for line in measure_all(place_name, float(sys.argv[1]), cases_here):
            print(json.dumps(line), flush=True)
