"""What the commands of `schedtuna sim` say of the machine that they simulate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from schedtuna.cli.places import parse_costs

TopologyOption = Annotated[
    str | None,
    typer.Option(
        "--topology",
        metavar="LLCSxCORESxTHREADS",
        help="Instead: how many last-level caches, cores of each, and threads of a core.",
        show_default=False,
    ),
]
CostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cost",
        metavar="NAME=NUMBER",
        help="A constant of the machine: `sim list` shows them. Repeatable.",
        show_default=False,
    ),
]
SettingsOption = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        help="What the sched_ext scheduler's loader prepared, of `sim settings -o`. Default: what is kept.",
        show_default=False,
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a trace in DIR.")]


def constants_of(
    machine: str | None, costs: Sequence[str] | None, *, of_recording: bool = False
) -> dict[str, int]:
    """Return the constants that `--machine` and `--cost` set; what `--cost` says goes before.

    Args:
        machine: The machine file.
        costs: Texts.
        of_recording: Whether they are for a recording. That has the machine's noise: the file's is left out.

    Raises:
        UsageError: There is no such machine file, or a text sets nothing.
        ConfigFileError: The file is none.
    """
    from schedtuna.fidelity.envelope import NOISE
    from schedtuna.fidelity.machine_file import read_machine

    fitted = {} if machine is None else read_machine(machine).costs
    kept = {name: value for name, value in fitted.items() if not (of_recording and name in NOISE)}
    return kept | parse_costs(costs or [])
