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
from dataclasses import dataclass
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
    """

    load: str
    off: Mapping[str, Any]
    on: Mapping[str, Any]
    figure: Callable[[Window], float]
    shows: Callable[[float, float], bool]
    quick: bool = False


def _part(counter: str, whole: str = "nr_select_cpu") -> Callable[[Window], float]:
    return lambda window: window[counter] / max(window[whole], 1)


def _switch(name: str, load: str, counter: str, *, least: float = 0.0, whole: str = "nr_select_cpu") -> Row:
    """A switch whose branch counts: never while it is off, more than this part of `whole` while it is on."""

    def shows(off: float, on: float) -> bool:
        return off == 0 and on > least

    return Row(load, {name: False}, {name: True}, _part(counter, whole), shows, quick=True)


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
        lambda off, on: 1.4 < off < 2.1 and 6.5 < on < 12,
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
    """Run rows in one guest under an object; returns what each has shown."""
    with tempfile.TemporaryDirectory() as folder:
        share = Path(folder)
        scripts = share / "tests/kernel"
        scripts.mkdir(parents=True)
        for name in ("tuna_loads.py", "tuna_windows.py"):
            shutil.copy(Path(__file__).with_name(name), scripts)
        plan = {name: [ROWS[name].load, dict(ROWS[name].off), dict(ROWS[name].on)] for name in rows}
        text = json.dumps({"rows": plan, "pairs": pairs, "seconds": seconds, "seed": seed})
        lab = lab_or_skip()
        # Its clock counts instructions: times are the scheduler's, however busy this machine is.
        qemu = lab.qemu.model_copy(update={"argv": (*lab.qemu.argv, *BY_INSTRUCTIONS)})
        spec = GuestSpec.of(None, TOPOLOGY, programs=(program,), share=share)
        guest, _ = boot(lab.model_copy(update={"qemu": qemu}), spec)
        scheduler = Guest().scheduler(str(program))
        with guest, ScxProcess(guest, scheduler, guest_program(program), cpu_s=guest.cpu_s) as running:
            command = ["sh", "-c", f"PYTHONPATH=/share python3 -m tests.kernel.tuna_windows <<'E'\n{text}\nE"]
            done = guest.run(command, folder="/", timeout_s=3000)
            if done.exit_code or (ejected := running.ejected()):
                raise RuntimeError(done.stderr or ejected)
    windows = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: _effect(ROWS[name], [one for one in windows if one["row"] == name]) for name in rows}


def _effect(row: Row, windows: Sequence[Window]) -> Effect:
    off, on = (
        statistics.median(row.figure(window) for window in windows if window["on"] == side) for side in (0, 1)
    )
    return Effect(off, on, len(windows) // 2, row.shows(off, on))


def main() -> None:
    """Measure all rows, and print or keep what they have shown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", default="", help="leave the branch of this parameter out")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--rows", nargs="*", default=list(ROWS))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        own = own_objects()["scx_tuna"]
        built = object_without(options.without, Path(folder)) if options.without else own
        found = measure(built, options.rows, pairs=options.pairs)
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
