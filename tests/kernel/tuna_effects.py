"""Does each of scx_tuna's parameters do what it says, in this size, and nothing without its branch?

    python -m tests.kernel.tuna_effects [--without PARAMETER] [--pairs 8] [--output FILE]

One guest runs all rows: windows with the parameter off and on, in pairs of random order. A build without a
parameter's branch (-DNO_PARAMETER) must fail that parameter's row, and no other.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.kernel.knob_effects import BY_INSTRUCTIONS
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.backend.places.guest import Guest
from schedtuna.lab.boot import boot
from schedtuna.lab.build.compiler import host_clang
from schedtuna.lab.layers import guest_program
from schedtuna.lab.vm import GuestSpec
from schedtuna.scheduler.objects import own_objects
from schedtuna.scheduler.scx import ScxProcess

ROOT = Path(__file__).parents[2]
TOPOLOGY = "2x1x1"
FOUR = "2x2x1"
SECONDS = 3.0
Window = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """What a parameter must show.

    Attributes:
        load: Of `tuna_windows.LOADS`.
        off: Values of the windows without.
        on: Values of the windows with.
        figure: What is read from a window.
        shows: Whether the figures' medians, off and on, are as they must be.
        quick: Whether few and short windows tell.
        topology: The guest's.
        holds: What is so in each window with.
    """

    load: str
    off: Mapping[str, Any]
    on: Mapping[str, Any]
    figure: Callable[[Window], float]
    shows: Callable[[float, float], bool]
    quick: bool = False
    topology: str = TOPOLOGY
    holds: Callable[[Window], bool] = lambda _: True


def _part(counter: str, whole: str = "nr_select_cpu") -> Callable[[Window], float]:
    return lambda window: window[counter] / max(window[whole], 1)


def _switch(name: str, load: str, counter: str, *, least: float = 0.0, whole: str = "nr_select_cpu") -> Row:
    """A switch whose branch counts: never while it is off, more than this part of `whole` while it is on."""

    def shows(off: float, on: float) -> bool:
        return off == 0 and on > least

    return Row(load, {name: False}, {name: True}, _part(counter, whole), shows, quick=True)


def _switch_is_quiet(name: str, load: str, counter: str) -> Row:
    """A switch whose branch has next to nothing to do."""
    return Row(load, {name: False}, {name: True}, _part(counter), lambda off, on: off == 0 and on < 0.01)


ROWS: dict[str, Row] = {
    "slice_us": Row(
        "alike",
        {"slice_us": 20_000},
        {"slice_us": 8_000},
        lambda window: window["switches_per_s"],
        lambda off, on: 40 < off < 62 and 100 < on < 150,
    ),
    "rr_sched": Row(
        "nice 0 and 10",
        {"native_priority": True},
        {"native_priority": True, "rr_sched": True},
        lambda window: window["share"],
        lambda off, on: off > 0.8 and abs(on - 0.5) < 0.06,
    ),
    "native_priority": Row(
        "nice 0 and 10",
        {},
        {"native_priority": True},
        lambda window: window["share"] / (1 - window["share"]),
        lambda off, on: 1.4 < off < 2.1 and 4.5 < on < 12,
    ),
    "no_wake_sync": Row(
        "ping-pong",
        {"no_wake_sync": False},
        {"no_wake_sync": True},
        _part("nr_sync"),
        lambda off, on: off > 0.2 and on == 0,
        quick=True,
    ),
    "no_builtin_idle": _switch("no_builtin_idle", "light", "nr_own_idle", least=0.1),
    "local_pcpu": _switch("local_pcpu", "pinned", "nr_queued_pinned", least=0.2, whole="nr_enqueue"),
    "local_kthreads": _switch("local_kthreads", "mixed", "nr_kthread_head", whole="nr_enqueue"),
    "timer_kick": Row(
        "mixed",
        {"timer_kick": False},
        {"timer_kick": True},
        _part("nr_idle_kicks", "nr_enqueue"),
        lambda off, on: off > 0 and on == 0,
    ),
    "cpu_util_threshold": Row(
        "mixed",
        {"cpu_util_threshold": 1.0},
        {"cpu_util_threshold": 0.1},
        _part("nr_above_threshold"),
        lambda off, on: off < 0.1 and on > 0.2,
        quick=True,
    ),
    "scheduling_policy": Row(
        "light",
        {"scheduling_policy": "default"},
        {"scheduling_policy": "powersave"},
        _part("nr_packed"),
        lambda off, on: off == 0 and on > 0.5,
        quick=True,
    ),
}

ROWS |= {
    "slice_lag_scaling": Row(
        "credits",
        {},
        {"slice_lag_scaling": True},
        lambda window: (
            window["full_ms"] / window["fifth_ms"] * window["fifth_used"] / window["full_used"] * 5
        ),
        lambda off, on: 0.7 < off < 1.3 and 4 < on < 6,
    ),
    "direct_dispatch": Row(
        "mixed",
        {"cpu_util_threshold": 1.0},
        {"cpu_util_threshold": 1.0, "direct_dispatch": True},
        _part("nr_overtakings"),
        lambda off, on: off == 0 and on > 0.05,
        quick=True,
        holds=lambda window: window["longest_s"] < 1,
    ),
    "sticky_cpu": Row(
        "crowded",
        {},
        {"sticky_cpu": True, "sticky_wait_ns": 10_000_000},
        _part("nr_migrations"),
        lambda off, on: off > 0.05 and on <= off / 2,
        topology=FOUR,
    ),
    "stay_with_kthread": Row(
        "behind kthreads",
        {},
        {"stay_with_kthread": True},
        lambda window: window["stayed"],
        lambda off, on: on >= 2 * off,
        holds=lambda window: window["wait_ms"] < 3,  # not a slice: what is left of the thread's own run
        topology=FOUR,
    ),
    "aggressive_gpu_tasks": Row(
        "feeders",
        {},
        {"aggressive_gpu_tasks": True},
        lambda window: window["others_on_fast"],
        lambda off, on: off > 0.3 and on < 0.1,
        holds=lambda window: window["first_on_fast"] >= 0.9,
        topology=FOUR,
    ),
}


def _alike(off: float, on: float) -> bool:
    return abs(on - off) <= 0.1 * max(on, off)


# Where a parameter must change nothing.
QUIET: dict[str, Row] = {
    "slice_lag_scaling": replace(  # the whole CPU is used
        ROWS["slice_lag_scaling"], figure=lambda window: window["full_ms"], shows=_alike
    ),
    "direct_dispatch": Row(  # no CPU is below the threshold
        "mixed",
        {"cpu_util_threshold": 0.1},
        {"cpu_util_threshold": 0.1, "direct_dispatch": True},
        _part("nr_overtakings"),
        lambda off, on: off == 0 and on < 0.01,
    ),
    "sticky_cpu": Row(  # no wait is short enough
        "crowded",
        {},
        {"sticky_cpu": True, "sticky_wait_ns": 0},
        _part("nr_migrations"),
        lambda off, on: abs(on - off) < 0.25 * off,
        topology=FOUR,
    ),
    "stay_with_kthread": _switch_is_quiet("stay_with_kthread", "light", "nr_with_kthread"),
    "aggressive_gpu_tasks": Row(  # all CPUs are used
        "no feeders",
        {},
        {"aggressive_gpu_tasks": True},
        lambda window: window["used"],
        lambda off, on: _alike(off, on) and on > 0.5,
        topology=FOUR,
    ),
}
# Other ways in which a parameter comes to act.
MORE = {"aggressive_gpu_tasks": replace(ROWS["aggressive_gpu_tasks"], load="opening feeders")}
ALL = {
    **ROWS,
    **{f"{name}, by itself": row for name, row in MORE.items()},
    **{f"{name}, quiet": row for name, row in QUIET.items()},
}


@dataclass(frozen=True)
class Effect:
    """What a row has shown: medians of its windows, and whether they are as they must be."""

    off: float
    on: float
    nr_pairs: int
    shown: bool


def object_without(parameter: str, folder: Path) -> Path:
    """Compile scx_tuna, without the branch of a parameter where one is named.

    Raises:
        LookupError: There is no clang 17 or newer.
    """
    clang = host_clang()
    if clang is None:
        raise LookupError("no clang 17 or newer")
    (folder / "bpf").symlink_to(ROOT / "third_party/libbpf/src")
    file = folder / "scx_tuna.bpf.o"
    options = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", f"-DNO_{parameter.upper()}", "-D__TARGET_ARCH_x86"]
    source = ROOT / "bpf/sched/scx_tuna.bpf.c"
    includes = [f"-I{folder}", f"-I{ROOT / 'include'}"]
    subprocess.run([clang, *options, *includes, "-c", source, "-o", file], check=True)
    return file


def measure(
    program: Path, rows: Sequence[str], *, pairs: int, seconds: float = SECONDS, seed: int = 1
) -> dict[str, Effect]:
    """Run rows of `ALL` under an object, in one guest for each topology; returns what each has shown."""
    found: dict[str, Effect] = {}
    for topology in (TOPOLOGY, FOUR):
        here = [name for name in rows if ALL[name].topology == topology]
        if here:
            plan = {name: [ALL[name].load, dict(ALL[name].off), dict(ALL[name].on)] for name in here}
            text = json.dumps({"rows": plan, "pairs": pairs, "seconds": seconds, "seed": seed})
            windows = _windows(program, topology, text)
            for name in here:
                found[name] = _effect(ALL[name], [one for one in windows if one["row"] == name])
    return found


def _windows(program: Path, topology: str, plan: str) -> list[Window]:
    with tempfile.TemporaryDirectory() as folder:
        share = Path(folder)
        scripts = share / "tests/kernel"
        scripts.mkdir(parents=True)
        for name in ("tuna_loads.py", "tuna_windows.py"):
            shutil.copy(Path(__file__).with_name(name), scripts)
        lab = lab_or_skip()
        # Its clock counts instructions: times are the scheduler's, however busy this machine is.
        qemu = lab.qemu.model_copy(update={"argv": (*lab.qemu.argv, *BY_INSTRUCTIONS)})
        spec = GuestSpec.of(None, topology, programs=(program,), share=share)
        guest, _ = boot(lab.model_copy(update={"qemu": qemu}), spec)
        scheduler = Guest().scheduler(str(program))
        with guest, ScxProcess(guest, scheduler, guest_program(program), cpu_s=guest.cpu_s) as running:
            command = ["sh", "-c", f"PYTHONPATH=/share python3 -m tests.kernel.tuna_windows <<'E'\n{plan}\nE"]
            done = guest.run(command, folder="/", timeout_s=3000)
            if done.exit_code or (ejected := running.ejected()):
                raise RuntimeError(done.stderr or ejected)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _effect(row: Row, windows: Sequence[Window]) -> Effect:
    off, on = (
        statistics.median(row.figure(window) for window in windows if window["on"] == side) for side in (0, 1)
    )
    holds = all(row.holds(window) for window in windows if window["on"])
    return Effect(off, on, len(windows) // 2, row.shows(off, on) and holds)


def main() -> None:
    """Measure all rows, and print or keep what they have shown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", default="", help="leave the branch of this parameter out")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--rows", nargs="*", default=list(ALL))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each window")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        own = own_objects()["scx_tuna"]
        built = object_without(options.without, Path(folder)) if options.without else own
        found = measure(built, options.rows, pairs=options.pairs, seconds=options.seconds)
    content = {
        "without": options.without,
        "effects": {name: vars(effect) for name, effect in found.items()},
    }
    text = json.dumps(content, indent=2)
    if options.output:
        options.output.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
