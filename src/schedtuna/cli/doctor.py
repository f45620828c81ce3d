"""`schedtuna doctor`: what this machine can do, and whether two results may be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.output import print_json
from schedtuna.cli.streams import console
from schedtuna.printable import printable, printable_lines

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from schedtuna.machine.checks.finding import Finding
    from schedtuna.machine.compare import ManifestDifference

app = typer.Typer(add_completion=False)

_COLOURS = {
    "ok": "green",
    "warning": "yellow",
    "missing": "red",
    "blocks": "red",
    "warns": "yellow",
    "info": "dim",
}


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with all facts.")] = False,
    diff: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="A B",
            help="Say whether two results may be compared, and why not. A, B: manifest.json, or a results "
            "folder. Exit code 0: comparable, 1: not.",
        ),
    ] = None,
) -> None:
    """Show what this machine can do for a tuner, what is missing, what that costs, and how to get it."""
    if diff is None:
        _examine(as_json=as_json)
    else:
        _compare(*diff, as_json=as_json)


def _examine(*, as_json: bool) -> None:
    from schedtuna.machine.checks import ABILITIES, GROUPS, examine
    from schedtuna.machine.checks.finding import Status
    from schedtuna.machine.manifest import build_manifest
    from schedtuna.machine.probe import Probe

    probe = Probe.live()
    found = examine(probe)
    places = _places(found.abilities)
    if as_json:
        told = {name: asdict(finding) for name, finding in places.items()}
        manifest = build_manifest(probe=probe).model_dump(mode="json")
        print_json({**found.to_dict(), "places": told, "manifest": manifest})
        return
    rows: dict[str, list[tuple[str, Finding]]] = {
        "What works here": [(ability.title, found.abilities[ability.name]) for ability in ABILITIES],
        "Where runs can be made": [(f"--backend {name}", finding) for name, finding in places.items()],
    }
    for group, checks in GROUPS.items():
        rows[group] = [(check.title, found.findings[check.name]) for check in checks]
    _print_findings(rows)
    counts = found.counts
    totals = f"{counts[Status.OK]} ok, {counts[Status.WARNING]} warnings, {counts[Status.MISSING]} missing"
    print(f"\n{totals}. `--json` gives every fact.")


def _places(abilities: Mapping[str, Finding]) -> dict[str, Finding]:
    """Whether runs can be made at each kind of place."""
    from schedtuna.backend.places.registry import PLACES

    found = {name: (row, abilities[row.ability]) for name, row in PLACES.items()}
    return {
        name: replace(judged, seen=f"{judged.seen}: {row.summary}") for name, (row, judged) in found.items()
    }


def _print_findings(groups: Mapping[str, list[tuple[str, Finding]]]) -> None:
    from rich.text import Text

    table = _table()
    for index, (group, rows) in enumerate(groups.items()):
        table.add_row("", Text(("\n" if index else "") + group, style="bold"), "")
        for title, finding in rows:
            text = Text(printable_lines(finding.seen))
            if finding.cost:
                text.append(f"\ncosts: {finding.cost}")
            if finding.get:
                text.append(f"\nget: {finding.get}", style="cyan")
            table.add_row(_status(finding.status), title, text)
    console().print(table)


def _compare(a: Path, b: Path, *, as_json: bool) -> None:
    from schedtuna.machine.compare import comparable, compare_manifests
    from schedtuna.machine.manifest import load_manifest

    differences = compare_manifests(load_manifest(a), load_manifest(b))
    may = comparable(differences)
    if as_json:
        print_json(
            {"a": str(a), "b": str(b), "comparable": may, "differences": [asdict(d) for d in differences]}
        )
    else:
        _print_differences(differences)
        print(_verdict(differences))
    if not may:
        raise typer.Exit(1)


def _verdict(differences: list[ManifestDifference]) -> str:
    from schedtuna.machine.compare import Severity

    blocking = [_shown(d.field) for d in differences if d.severity is Severity.BLOCKS]
    if blocking:
        differ = "differs" if len(blocking) == 1 else "differ"
        return f"These results may not be compared: {', '.join(blocking)} {differ}."
    if any(d.severity is Severity.WARNS for d in differences):
        return "These results may be compared, with the reservations above."
    return "These results may be compared: the same machine, kernel, settings and programs."


def _print_differences(differences: list[ManifestDifference]) -> None:
    from rich.text import Text

    table = _table()
    for difference in differences:
        text = Text(f"A: {_shown(difference.a)}\nB: {_shown(difference.b)}\n")
        text.append(difference.why, style="cyan")
        table.add_row(_status(difference.severity), _shown(difference.field), text)
    if differences:
        console().print(table)


def _shown(value: object, limit: int = 400) -> str:
    text = "unknown or none" if value is None else str(value)
    text = printable(text)  # manifests come from anywhere
    return text if len(text) <= limit else f"{text[:limit]} ..."


def _table() -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(max_width=24, overflow="fold")
    table.add_column(overflow="fold")
    return table


def _status(status: str) -> Text:
    from rich.text import Text

    return Text(status, style=_COLOURS[status])
