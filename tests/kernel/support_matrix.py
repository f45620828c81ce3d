"""Which schedulers run on which kernels? Tries them in guests, and writes docs/support-matrix.md.

    python -m tests.kernel.support_matrix [--all] [--output docs/support-matrix.md]

Tries every scheduler of SCHEDTUNA_SCX_PATH, PATH and the kernel's own examples on the oldest and the
newest complete kernel of the host's mirror (--all: on all of them), in the lab of SCHEDTUNA_LAB_DIR.
"""

import argparse
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from schedtuna.errors import SchedtunaError
from schedtuna.kernel.kfuncs import is_refusal
from schedtuna.lab.boot import boot
from schedtuna.lab.build.examples import find_examples, install_examples
from schedtuna.lab.build.setup import mirror_kernels, setup
from schedtuna.lab.errors import GuestError, LabError
from schedtuna.lab.store import Kernel, Lab
from schedtuna.lab.vm import BootedGuest, GuestSpec
from schedtuna.scheduler.probe import installed
from schedtuna.scheduler.scx import SchedulerError, ScxProcess, exit_reason, read_state
from schedtuna.scheduler.spec import SchedulerConfig

LOAD = ["hackbench", "-g", "1", "-l", "30"]
LONGEST_REASON = 160
PRINTED = "; it printed:"  # as SchedulerError says
START_WITHIN_S = 300.0  # whether it starts is asked, not how fast
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# What the verifier says last, before its statistics; what libbpf says of it.
_VERDICT = re.compile(r"^(.+)\nprocessed \d+ insns", re.MULTILINE)
_REFUSED = re.compile(r"prog '(\w+)': failed to load")
HEADER = """\
# Which schedulers run on which kernels

Written by `python -m tests.kernel.support_matrix`, from real runs in the lab. *Started*: within the
time limit the kernel said that the scheduler is enabled, under the name in *loaded*. *Load*: it was in
charge all the time while `{load}` ran to its end. *Stopped*: told to end, it left the kernel's own
scheduler in charge. Each was run with its defaults, on {cpus} CPUs, emulated.
"""


@dataclass(frozen=True)
class Row:
    """What became of one scheduler; `reason` says why not all went well."""

    name: str
    loaded: str = ""
    load: bool = False
    stopped: bool = False
    reason: str = ""

    @property
    def works(self):
        return self.load and self.stopped


def try_schedulers(lab: Lab, kernel: Kernel, cpus: int = 2) -> list[Row]:
    """Start, load and stop every scheduler that is there; after a failure in a fresh guest."""
    programs = {**find_examples(kernel), **installed()}
    spec = GuestSpec(kernel.version, cpus, programs=tuple(Path(program) for program in programs.values()))
    rows: list[Row] = []
    guest = None
    try:
        for name, program in sorted(programs.items()):
            if guest is None:
                guest, _ = boot(lab, spec)
            row = try_scheduler(guest, name, Path(program).name)
            _say(f"{kernel.version}: {name} {'works' if row.works else f'fails: {_short(row.reason)}'}")
            rows.append(row)
            if not row.works:
                guest.close()
                guest = None
    finally:
        if guest is not None:
            guest.close()
    return rows


def try_scheduler(guest: BootedGuest, name: str, program: str) -> Row:
    row = Row(name)
    try:
        with ScxProcess(
            guest, SchedulerConfig(name=name), program, within_s=START_WITHIN_S, cpu_s=guest.cpu_s
        ) as running:
            row = Row(name, loaded=running.started.ops)
            done = guest.run(LOAD, folder="/", timeout_s=120)
            ejected = running.ejected()
        # Only once its program has ended is all in its log.
        reason = (exit_reason(running.log()) or ejected) if ejected else done.failure
        row = replace(row, load=not reason, reason=reason)
        return replace(row, stopped=read_state(guest).state == "disabled")
    except (SchedulerError, GuestError) as error:
        return replace(row, reason=row.reason or str(error))


def markdown(kernel: str, rows: list[Row], note: str = "") -> str:
    """Write a kernel's part of the document."""
    lines = [f"## {kernel}", "", *([note, ""] if note else [])]
    lines += ["| scheduler | started | loaded | load | stopped | why not |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [
            row.name,
            _yes(row.loaded),
            row.loaded,
            _yes(row.load),
            _yes(row.stopped),
            _short(row.reason),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _short(reason: str) -> str:
    """The cause, on one line of a table: the verifier's, else what was said first and printed last."""
    text = _COLOURS.sub("", reason)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if is_refusal(text):
        cause = "the kernel's BTF is wrong about functions that it calls"
    elif (refused := _REFUSED.search(text)) and (verdict := _VERDICT.search(text)):
        cause = f"the verifier refuses its program {refused[1]}: {verdict[1]}"
    elif len(lines) > 1 and lines[0].endswith(PRINTED):
        cause = f"{lines[0].removesuffix(PRINTED)}: {lines[-1]}"
    else:
        cause = lines[0] if lines else ""
    cause = cause.replace("|", "/")
    return cause if len(cause) <= LONGEST_REASON else cause[: LONGEST_REASON - 3] + "..."


def examples_note(lab: Lab, kernel: Kernel) -> str:
    """Build the kernel's examples; returns why there are none, or where they are from."""
    try:
        built = install_examples(lab, kernel.version)
    except (LabError, SchedtunaError) as error:
        return f"Without the kernel's own examples: {error}."
    failed = f"; {', '.join(built.failed)} did not compile" if built.failed else ""
    return f"The kernel's own examples are from {built.source}, built with clang {built.clang}{failed}."


def main() -> None:
    """Try everything and write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="all kernels of the mirror")
    parser.add_argument("--output", type=Path, default=Path("docs/support-matrix.md"))
    options = parser.parse_args()
    versions = mirror_kernels()
    parts = []
    before = setup().default_kernel
    try:
        for version in versions if options.all else [versions[-1], versions[0]]:
            lab = setup(version, say=_say)
            kernel = lab.kernel(version)
            note = examples_note(lab, kernel)
            rows = try_schedulers(lab, kernel)
            _say(f"{version}: {sum(row.works for row in rows)} of {len(rows)} work")
            parts.append(markdown(version, rows, note))
            options.output.write_text("\n".join([HEADER.format(load=" ".join(LOAD), cpus=2), *parts]))
    finally:
        setup(before)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
