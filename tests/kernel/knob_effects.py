"""Which knob acts where, measured on this kernel and in guests: `python -m tests.kernel.knob_effects`.

    python -m tests.kernel.knob_effects [--kernel VERSION ...] [--no-host] [--seconds 5] [--output FILE]

Guests need the lab (SCHEDTUNA_LAB_DIR), and a sched_ext scheduler of SCHEDTUNA_SCX_PATH for the position
under one. The positions, and what is measured, are in `knob_cells.py`, which runs there.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.kernel.guest_python import shared_package
from tests.kernel.knob_cells import POSITIONS, measure_all

from schedtuna.knobs.effects import CANCELS, EFFECTS
from schedtuna.knobs.position import Position
from schedtuna.lab.boot import boot
from schedtuna.lab.store import Lab, read_lab
from schedtuna.lab.vm import BootedGuest, GuestSpec
from schedtuna.scheduler.probe import installed
from schedtuna.scheduler.scx import ScxProcess
from schedtuna.scheduler.spec import SchedulerConfig

DATA = Path(__file__).parents[2] / "benchmarks/data/knob_effects.json"
UNDER = "scx_cosmos"
START_WITHIN_S = 300.0


def in_guest(lab: Lab, kernel: str, seconds: float) -> Iterator[dict[str, Any]]:
    """Measure every position in a guest of a kernel."""
    program = installed()[UNDER]
    with tempfile.TemporaryDirectory() as folder:
        share = shared_package(lab, Path(folder))
        shutil.copy(Path(__file__).with_name("knob_cells.py"), share / "lib")
        guest, _ = boot(lab, GuestSpec(kernel, cpus=2, share=share, programs=(Path(program),)))
        with guest:
            for position in POSITIONS:
                yield from cells(guest, position, seconds)
            with ScxProcess(
                guest,
                SchedulerConfig(name=UNDER),
                Path(program).name,
                within_s=START_WITHIN_S,
                cpu_s=guest.cpu_s,
            ):
                yield from cells(guest, "ext", seconds)


def cells(guest: BootedGuest, position: str, seconds: float) -> Iterator[dict[str, Any]]:
    raw = guest.run(
        ["python3", "/share/lib/knob_cells.py", str(seconds), position],
        environment={"PYTHONPATH": "/share/lib"},
        folder="/root",
        timeout_s=3600,
    )
    if raw.exit_code != 0:
        raise RuntimeError(raw.stderr)
    yield from map(json.loads, raw.stdout.splitlines())


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
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--output", type=Path, default=DATA)
    options = parser.parse_args()
    found = json.loads(options.output.read_text()) if options.output.exists() else {}
    kernels = {} if options.no_host else {os.uname().release: None}
    for kernel in [*kernels, *options.kernel]:
        rows = (
            (row for position in POSITIONS for row in measure_all(position, options.seconds))
            if kernel in kernels
            else in_guest(read_lab(), kernel, options.seconds)
        )
        found[kernel] = []
        for row in rows:
            sys.stderr.write(f"{kernel}: {json.dumps(row)}\n")
            found[kernel].append(row)
        options.output.write_text(as_text(found))


if __name__ == "__main__":
    main()
