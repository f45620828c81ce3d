"""Which knob acts where, measured on this kernel and in guests: `python -m tests.kernel.knob_effects`.

    python -m tests.kernel.knob_effects [--kernel VERSION ...] [--no-host] [--only WHERE,...] [--output FILE]

Guests need the lab (SCHEDTUNA_LAB_DIR), and sched_ext schedulers of SCHEDTUNA_SCX_PATH for the position
under one. The positions, and what is measured, are in `knob_cells.py`, which runs there.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.kernel.guest_python import shared_package
from tests.kernel.knob_cells import CANCELLING, POSITIONS, cases_of, measure_all

from schedtuna.knobs.effects import CANCELS, EFFECTS
from schedtuna.knobs.position import Position
from schedtuna.lab.boot import boot
from schedtuna.lab.store import Lab, read_lab
from schedtuna.lab.vm import BootedGuest, GuestSpec
from schedtuna.scheduler.probe import installed
from schedtuna.scheduler.scx import ScxProcess
from schedtuna.scheduler.spec import SchedulerConfig

DATA = Path(__file__).parents[2] / "benchmarks/data/knob_effects.json"
UNDER = ("scx_cosmos", "scx_bpfland", "scx_flash")
# Time goes on with the guest's instructions, 32 ns each, and not with this machine's: how busy this is, and
# how much of it the guest gets, changes nothing that is measured.
BY_INSTRUCTIONS = ("-icount", "shift=5,sleep=off")
START_WITHIN_S = 300.0
SECONDS = 5.0


def in_guest(
    lab: Lab, kernel: str, seconds: float, where: Sequence[str], knobs: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Measure positions, and under sched_ext schedulers, in a guest of a kernel."""
    programs = {name: Path(installed()[name]) for name in UNDER if name in where}
    with booted(lab, GuestSpec(kernel, cpus=2, programs=tuple(programs.values()))) as guest:
        if positions := [position for position in POSITIONS if position in where]:
            yield from cells(guest, positions, seconds, knobs)
        for name, program in programs.items():
            with ScxProcess(
                guest, SchedulerConfig(name=name), program.name, within_s=START_WITHIN_S, cpu_s=guest.cpu_s
            ) as running:
                yield from ({**row, "under": name} for row in cells(guest, ["ext"], seconds, knobs))
                if ejected := running.ejected():
                    raise RuntimeError(f"{name} was ejected: {ejected}")


@contextlib.contextmanager
def booted(lab: Lab, spec: GuestSpec) -> Iterator[BootedGuest]:
    qemu = lab.qemu.model_copy(update={"argv": (*lab.qemu.argv, *BY_INSTRUCTIONS)})
    with tempfile.TemporaryDirectory() as folder:
        share = shared_package(lab, Path(folder))
        shutil.copy(Path(__file__).with_name("knob_cells.py"), share / "lib")
        guest, _ = boot(lab.model_copy(update={"qemu": qemu}), dataclasses.replace(spec, share=share))
        with guest:
            yield guest


def cells(
    guest: BootedGuest, positions: Sequence[str], seconds: float, knobs: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Measure positions in a guest; each row comes as soon as it is there."""
    program = ["python3", "/share/lib/knob_cells.py", str(seconds), ",".join(knobs), *positions]
    argv = ["env", "PYTHONPATH=/share/lib", *program]
    pid, read = guest.spawn(argv), 0
    while True:
        status = guest.status(pid)
        lines = guest.log(pid).splitlines()
        for line in lines[read : None if status is not None else -1]:
            if line.startswith("{"):
                yield json.loads(line)
        if status == 0:
            return
        if status is not None:
            raise RuntimeError(f"exit code {status}: {lines[-1:]}")
        read = max(read, len(lines) - 1)
        time.sleep(2)


def effects_table() -> list[str]:
    """Write the table of what acts where, for docs/knobs.md."""
    head = ["setting", *Position]
    rows = [[f"`{name}`", *cells] for name, cells in EFFECTS.items()]
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def cancels_table() -> list[str]:
    """Write the table of what undoes what, for docs/knobs.md."""
    rows = [
        [f"`{row.setting}`", ", ".join(f"`{name}`" for name in row.cancelled), row.reason] for row in CANCELS
    ]
    return [f"| {' | '.join(cells)} |" for cells in (["setting", "undoes", "because"], ["---"] * 3, *rows)]


def as_text(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return what is stored: a line per measurement."""
    parts = ",\n".join(
        f"{json.dumps(kernel)}: [\n" + ",\n".join(map(json.dumps, rows)) + "\n]"
        for kernel, rows in found.items()
    )
    return f"{{\n{parts}\n}}\n"


def main() -> None:
    """Measure, and write what was found, kernel by kernel."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", action="append", default=[], help="of a guest; repeatable")
    parser.add_argument("--no-host", action="store_true", help="guests alone")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each run")
    parser.add_argument("--only", help="positions and schedulers, with commas; the others' rows stay")
    parser.add_argument("--knob", action="append", default=[], help="these alone, in guests; repeatable")
    parser.add_argument("--output", type=Path, default=DATA)
    options = parser.parse_args()
    found = json.loads(options.output.read_text()) if options.output.exists() else {}
    where = options.only.split(",") if options.only else [*POSITIONS, *UNDER]
    for kernel in [*([] if options.no_host else [os.uname().release]), *options.kernel]:
        known = found.get(kernel, [])
        found[kernel] = [
            row
            for row in known
            if place_of(row) not in where or (options.knob and row["knob"] not in options.knob)
        ]
        for row in (
            in_guest(read_lab(), kernel, options.seconds, where, options.knob)
            if kernel in options.kernel
            else on_host(options.seconds, where)
        ):
            sys.stderr.write(f"{kernel}: {json.dumps(row)}\n")
            found[kernel].append(row)
        options.output.write_text(as_text(found))


def on_host(seconds: float, where: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Measure positions on this kernel."""
    for position in POSITIONS:
        if position in where:
            yield from measure_all(position, seconds, cases_of(position, CANCELLING))


def place_of(row: dict[str, Any]) -> str:
    """What of `--only` a row belongs to."""
    return str(row.get("under", row["position"]))


if __name__ == "__main__":
    main()
