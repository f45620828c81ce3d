"""What a knob does to a command in one position, measured: two sides contend for one CPU, one has the knob.

Runs on any machine as root, and as a program in the lab's guests (`knob_cells.py SECONDS POSITION`). The
figures are the kernel's own accounts: utime and stime, context switches, run_delay.
"""

import contextlib
import ctypes
import json
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schedtuna.errors import SchedtunaError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.hierarchies import find_hierarchy
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.session import Changes

AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")
POSITIONS = ("root", "session", "child", "container", "group")
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
    Case("share", {"cpu_quota": 10}),
    Case("cpus", {"affinity": "cpus_1"}),
    Case("cpus", {"cpuset": "cpus_1"}),
    Case("late", {"timer_slack_us": 10_000}),
    Case("share", {"realtime": "fifo"}),
    Case("switches", {"base_slice_us": 100_000}),
    Case("switches", {"feature_run_to_parity": False}, {"slice_us": 100_000}),
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


# ---- what runs --------------------------------------------------------------------------------


def hog(end: float) -> dict[str, Any]:
    cpus = set()
    while time.monotonic() < end:
        slot = time.monotonic() + 0.02
        while time.monotonic() < slot:
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
    before = AUTOGROUP.read_text()
    AUTOGROUP.write_text("0" if name == "root" else "1")
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
    on = AUTOGROUP.read_text().strip() == "1"
    return {name: not on if value == "other" else value for name, value in values.items()}


def measured(case: Case, place: Place, seconds: float) -> dict[str, Any]:
    """Return what was found without the setting and with it; or why it can't be set there."""
    row: dict[str, Any] = {
        "knob": case.knob,
        "set": toggled(case.setting),
        "beside": dict(case.beside),
        "measure": case.measure,
    }
    measure = MEASURES[case.measure]
    try:
        both = {**case.beside, **row["set"]}
        row["with"] = figure(place, measure, both, seconds)
        row["without"] = figure(place, measure, case.beside, seconds)
    except SchedtunaError as error:
        row["refused"] = str(error)
    return row


def measure_all(name: str, seconds: float, *, emulated: bool = False) -> Iterator[dict[str, Any]]:
    """Measure every case in a position; in an emulated guest the waits tell of the emulation alone."""
    cases = CASES + (CANCELLING if name in ("root", "session") else ())
    cases = tuple(case for case in cases if not (emulated and case.measure == "wait"))
    with position("session" if name == "ext" else name) as place:
        if name != "container":
            yield from ({"position": name, **measured(case, place, seconds)} for case in cases)
            return
        read, write = os.pipe()
        if (inside := os.fork()) == 0:
            try:
                enter_container(place.groups[0])
                with os.fdopen(write, "w") as out:
                    for case in cases:
                        row = {"position": name, **measured(case, Place(), seconds)}
                        out.write(f"{json.dumps(row)}\n")
                        out.flush()
            except BaseException:  # noqa: BLE001 - the child ends here, whatever it is
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as rows:
            yield from map(json.loads, rows)
        os.waitpid(inside, 0)


if __name__ == "__main__":
    if (handed := Path("/sys/fs/cgroup/cgroup.subtree_control")).exists():
        handed.write_text("+cpu +cpuset")
    for line in measure_all(sys.argv[2], float(sys.argv[1]), emulated=True):
        sys.stdout.write(f"{json.dumps(line)}\n")
