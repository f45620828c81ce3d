"""`schedtuna report`: one page over all studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark, require_writable, writing
from schedtuna.errors import UsageError

app = typer.Typer(add_completion=False)

INDEX_NAME = "index.html"


@app.command()
def report(
    index: Annotated[
        list[Path],
        typer.Option(
            "--index",
            metavar="DIR",
            help="Studies, or a folder of studies such as results/. Repeatable.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.html",
            help="Where the page goes; replaced if it is one of these. Default: DIR/index.html.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write one page over all studies and comparisons: verdicts with their intervals, over time.

    Self-contained, to be opened as a file: filtered by workload, scheduler, verdict, machine and kernel,
    with links to the studies' own reports.
    """
    from schedtuna.history.verdicts import find_verdicts
    from schedtuna.report.index import render_index

    page = output or index[0] / INDEX_NAME
    if index[0].is_dir():  # else it is that which is said to be wrong
        require_writable(page, option="--output", suffixes=(".html",))
    verdicts, without = find_verdicts(index)
    if not verdicts and not without:
        raise UsageError(
            f"there is no study in {', '.join(map(str, index))}",
            hint="name a folder of results that `schedtuna tune` or `compare` wrote",
        )
    title = f"Studies in {', '.join(str(place.resolve()) for place in index)}"
    text = render_index(verdicts, without, where=page.parent, title=title)
    with writing(page, force=True) as file:
        file.write(text.encode())
    if as_json:
        reasons = {str(folder): reason for folder, reason in without.items()}
        print_json({"index": str(page), "studies": [one.to_dict() for one in verdicts], "without": reasons})
        return
    print(f"with a verdict: {len(verdicts)}, without: {len(without)}")
    print_remark("index", str(page))
