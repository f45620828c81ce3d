"""Which knob acts where, measured on this kernel and in guests: `python -m tests.kernel.knob_effects`.

    python -m tests.kernel.knob_effects [--kernel VERSION ...] [--no-host] [--only WHERE,...] [--missing]

Each row is stored as soon as it is there, in place of an older one, so that `--missing` goes on where
this was cut short; rows that answer no case any more go at the end.

Guests need the lab (SCHEDTUNA_LAB_DIR), and sched_ext schedulers of SCHEDTUNA_SCX_PATH for the position
under one. The positions, and what is measured, are in `knob_cells.py`, which runs there.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.kernel.guest_python import share_cells, shared_package
from tests.kernel.knob_cells import POSITIONS, Case, cases_of, measure_all

from schedtuna.files import write_text
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

Plan = Mapping[str, Sequence[int]]  # by a position or a scheduler, which of `cases_of` are measured there


def in_guest(lab: Lab, kernel: str, seconds: float, plan: Plan) -> Iterator[dict[str, Any]]:
    """Measure at positions, and under sched_ext schedulers, in a guest of a kernel."""
    programs = {name: Path(installed()[name]) for name in UNDER if name in plan}
    with booted(lab, GuestSpec(kernel, cpus=2, programs=tuple(programs.values()))) as guest:
        if positions := {name: chosen for name, chosen in plan.items() if name in POSITIONS}:
            yield from cells(guest, positions, seconds)
        for name, program in programs.items():
            with ScxProcess(
                guest, SchedulerConfig(name=name), program.name, within_s=START_WITHIN_S, cpu_s=guest.cpu_s
            ) as running:
                yield from ({**row, "under": name} for row in cells(guest, {"ext": plan[name]}, seconds))
                if ejected := running.ejected():
                    raise RuntimeError(f"{name} was ejected: {ejected}")


@contextlib.contextmanager
def booted(lab: Lab, spec: GuestSpec) -> Iterator[BootedGuest]:
    qemu = lab.qemu.model_copy(update={"argv": (*lab.qemu.argv, *BY_INSTRUCTIONS)})
    with tempfile.TemporaryDirectory() as folder:
        share = shared_package(lab, Path(folder))
        share_cells(share)
        guest, _ = boot(lab.model_copy(update={"qemu": qemu}), dataclasses.replace(spec, share=share))
        with guest:
            yield guest


def cells(guest: BootedGuest, plan: Plan, seconds: float) -> Iterator[dict[str, Any]]:
    """Measure at positions in a guest; each row comes as soon as it is there."""
    program = ["python3", "-m", "tests.kernel.knob_cells", str(seconds), json.dumps(plan)]
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
    """Measure, and write what was found, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kernel", action="append", default=[], help="of a guest; repeatable")
    parser.add_argument("--no-host", action="store_true", help="guests alone")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each run")
    parser.add_argument("--only", help="positions and schedulers, with commas, in this order")
    parser.add_argument("--knob", action="append", default=[], help="these alone; repeatable")
    parser.add_argument("--missing", action="store_true", help="what has no row of runs as long as these")
    parser.add_argument("--output", type=Path, default=DATA)
    options = parser.parse_args()
    found = json.loads(options.output.read_text()) if options.output.exists() else {}
    where = options.only.split(",") if options.only else [*POSITIONS, *UNDER]
    for kernel in [*([] if options.no_host else [os.uname().release]), *options.kernel]:
        rows = found.setdefault(kernel, [])
        done = [row for row in rows if row.get("seconds") == options.seconds] if options.missing else []
        plan = planned(where, options.knob, done)
        guest = kernel in options.kernel
        measure = functools.partial(in_guest, read_lab(), kernel) if guest else on_host
        for row in measure(options.seconds, plan) if plan else ():
            sys.stderr.write(f"{kernel}: {json.dumps(row)}\n")
            store(rows, row)
            write_text(options.output, as_text(found))
        rows[:] = [row for row in rows if question(row) in ASKED]
        write_text(options.output, as_text(found))


def planned(where: Sequence[str], knobs: Sequence[str], done: Sequence[dict[str, Any]]) -> Plan:
    """What to measure: these places, of the knobs all or some, without what was done."""
    there = set(map(question, done))
    plan = {
        place: [
            number
            for number, case in enumerate(cases_of(place))
            if (not knobs or case.knob in knobs) and asked(place, case) not in there
        ]
        for place in where
    }
    return {place: numbers for place, numbers in plan.items() if numbers}


def store(rows: list[dict[str, Any]], new: dict[str, Any]) -> None:
    """Put a row in place of the older one of its question, or at the end."""
    questions = list(map(question, rows))
    at = questions.index(question(new)) if question(new) in questions else len(rows)
    rows[at : at + 1] = [new]


def asked(place: str, case: Case) -> str:
    """What a case asks somewhere; which of two values is the other one depends on the kernel."""
    setting = {name: "other" if isinstance(value, bool) else value for name, value in case.setting.items()}
    return json.dumps([place, case.measure, setting, dict(case.beside)])


def question(row: Mapping[str, Any]) -> str:
    """What a row answers."""
    return asked(row.get("under", row["position"]), Case(row["measure"], row["set"], row["beside"]))


ASKED = {asked(place, case) for place in (*POSITIONS, *UNDER) for case in cases_of(place)}


def on_host(seconds: float, plan: Plan) -> Iterator[dict[str, Any]]:
    """Measure at positions on this kernel."""
    for position, numbers in plan.items():
        if position in POSITIONS:
            yield from measure_all(position, seconds, numbers)


if __name__ == "__main__":
    main()
