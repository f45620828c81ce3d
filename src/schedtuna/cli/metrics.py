"""`schedtuna metrics`: which numbers can be asked for, and which of them this machine has."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json
from schedtuna.errors import UnavailableError

if TYPE_CHECKING:
    from schedtuna.workload.catalog import Group
    from schedtuna.workload.parsers.base import Field

app = typer.Typer(add_completion=False)

_OUTPUT = (
    "Whatever a command prints: 'NAME:min=regex:PATTERN', json:PATH, csv:COLUMN; `throughput` and `latency`"
    " are the parser's main ones."
)


@app.command()
def metrics(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="A metric, a tool, or run, perf, sched, system.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the metrics that --metric takes and what is sampled, and say what is missing here."""
    from schedtuna.record.procfs import SYSTEM_METRICS
    from schedtuna.workload.catalog import find, groups
    from schedtuna.workload.parsers.base import Field

    known = groups(Field(one, "", None, row.help) for one, row in SYSTEM_METRICS.items())
    chosen = known if name is None else find(name, known)
    missing = {group.name: missing_here(group) for group in chosen}
    if as_json:
        rows = [
            _row(group, field, missing[group.name].get(field.name))
            for group in chosen
            for field in group.fields
        ]
        print_json({"metrics": rows})
        return
    print("\n\n".join(_text(group, missing[group.name]) for group in chosen))
    if name is None:
        from schedtuna.cli.table import wrapped

        print("\n" + wrapped(_OUTPUT))


def _row(group: Group, field: Field, missing: str | None) -> dict[str, object]:
    return {
        "name": field.name,
        "from": group.name,
        "is_metric": group.is_metric,
        "better": field.direction,
        "unit": field.unit,
        "description": field.description,
        "available": missing is None,
        "missing": missing,
    }


def _text(group: Group, missing: dict[str, str]) -> str:
    from schedtuna.cli.table import wrapped

    lines = [f"{group.name}: {group.title}"]
    reasons: dict[str, list[str]] = {}
    for name, reason in missing.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        which = "" if len(names) == len(group.fields) else f" {', '.join(names)}"
        lines.append(wrapped(f"not here{which}: {reason}", indent=2))
    lines += [
        wrapped(f"{field.name:31} {field.direction or '-':3}  {field.description}", indent=2)
        for field in group.fields
    ]
    return "\n".join(lines)


def missing_here(group: Group) -> dict[str, str]:
    """Return why this machine or user has not some of a group's metrics: name -> reason."""
    from schedtuna.workload import catalog
    from schedtuna.workload.parsers import PARSERS

    if group.name == catalog.PERF:
        return {field.name: why for field in group.fields if (why := _no_counter(field.name))}
    why = ""
    if group.name == catalog.SCHED:
        why = _no_bpf()
    elif group.name in PARSERS:
        programs = sorted({command[0] for command in PARSERS[group.name].commands})
        if programs and not any(map(shutil.which, programs)):
            why = f"{' or '.join(programs)} is not installed"
    return dict.fromkeys((field.name for field in group.fields), why) if why else {}


def _no_counter(name: str) -> str:
    from schedtuna.workload.counters import Counters

    try:
        Counters(os.getpid(), [name]).close()  # of what this process becomes: it counts nothing
    except UnavailableError as error:
        return _told(error)
    return ""


def _no_bpf() -> str:
    from schedtuna.record.aggregate import Aggregator

    try:
        Aggregator().close()
    except UnavailableError as error:
        return _told(error)
    return ""


def _told(error: UnavailableError) -> str:
    return f"{error} ({error.hint.splitlines()[0]})" if error.hint else str(error)
