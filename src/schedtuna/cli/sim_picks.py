"""`schedtuna sim verify-picks`: does the simulator choose whom the kernel chose?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json
from schedtuna.cli.table import table, wrapped
from schedtuna.errors import SchedtunaError, TraceError, naming

if TYPE_CHECKING:
    from schedtuna.sim.picks import LevelReport


def verify_picks(
    trace: Annotated[
        Path,
        typer.Argument(metavar="TRACE", help="Recorded with `record --picks`.", show_default=False),
    ],
    as_json: JsonOption = False,
) -> None:
    """Do both simulated EEVDFs choose as the kernel did?

    Each is set to what the kernel chose from, and names whom it would choose.
    """
    from schedtuna.sim import picks
    from schedtuna.trace.store import open_trace

    with naming(trace):
        report = picks.verify_picks(open_trace(trace).picks())
    flat, groups = report.flat, report.groups
    if not flat.nr_picks + groups.nr_picks:
        raise TraceError(f"{trace} has no picks", hint="record them: schedtuna record --picks -o DIR")
    if as_json:
        print_json({"agrees": flat.agrees, "flat": _figures(flat), "groups": _figures(groups)})
    else:
        for what, level in (("tasks' own queues", flat), ("queues that groups are on", groups)):
            if level.nr_picks:
                _show(what, level)
    if not flat.nr_judged:
        raise SchedtunaError(
            "no pick of a task's own queue can be judged",
            hint="does this version know the kernel's queues? `record --picks` prints the share that passes",
        )
    if not flat.agrees:
        raise SchedtunaError(
            "the rules and the kernel disagree about a queue without groups",
            hint="the trace is of a kernel with other rules, or they are wrong: docs/recording.md",
        )


def _figures(level: LevelReport) -> dict[str, Any]:
    return {**vars(level), "agrees": level.agrees}


def _percent(part: float, whole: int) -> str:
    """Rounded down, so that 100 means all."""
    return f"{part * 10_000 // whole / 100:.2f}%" if whole else "-"


def _show(what: str, level: LevelReport) -> None:
    from schedtuna.sim.picks import MISSES

    print(wrapped(f"picks from {what}: {level.nr_picks:,}, of which {level.nr_judged:,} can be judged"))
    rows = [
        [name, f"{count:,}", _percent(count, level.nr_judged)]
        for name, count in (("native rule", level.nr_native), ("Python rule", level.nr_python))
    ]
    rows += [
        [f"wrong: {name}", f"{count:,}", _percent(count, level.nr_judged)]
        for name, count in level.mutants.items()
    ]
    print(table(["rule", "agrees", "share"], rows))
    chance = _percent(level.nr_by_chance, level.nr_choices)
    print(wrapped(f"{level.nr_choices:,} had two or more eligible candidates: by chance, {chance} of these"))
    if level.nr_ties:
        print(wrapped(f"{level.nr_ties:,} had equal deadlines, among which the order is not recorded"))
    for kind, count in level.misses.items():
        if count:
            print(wrapped(f"missed, {kind}: {count:,} ({MISSES[kind]})"))
    print()
