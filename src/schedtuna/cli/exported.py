"""How are the files of an export written, and told?"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.output import print_json, print_remark, refuse_existing
from schedtuna.cli.table import spelled_size
from schedtuna.errors import naming
from schedtuna.printable import printable

if TYPE_CHECKING:
    from schedtuna.export.limits import ExportLimits
    from schedtuna.model.model import DecisionModel

ExportFolderOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="Write into this folder.", show_default=False)
]
ExportNameOption = Annotated[
    str | None, typer.Option("--name", help="What files and functions begin with.", show_default=False)
]
ReplaceFilesOption = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]


def write_exported(
    output: Path, files: Mapping[str, bytes], advice: str, *, force: bool, as_json: bool
) -> None:
    """Write files into a folder that is made, all or none of them where some are there; and tell of them.

    Args:
        output: The folder.
        files: By name.
        advice: What to do with them.
        force: Whether files that are there are replaced.
        as_json: Whether they are told as JSON.

    Raises:
        UsageError: One is there, and not to be replaced.
    """
    from schedtuna.files import make_folder, removing_empty, write_bytes

    with naming(output), removing_empty(output):
        make_folder(output)
        for file in files:
            refuse_existing(output / file, force=force)
        for file, content in files.items():
            write_bytes(output / file, content)
    if as_json:
        print_json({"folder": str(output), "files": {file: len(content) for file, content in files.items()}})
        return
    for file, content in files.items():
        print(f"{printable(str(output / file))}  {spelled_size(len(content))}")
    print_remark("note", advice)


def limited(
    model: DecisionModel, limits: ExportLimits, rows: Path | None, *, shrinks: bool
) -> tuple[DecisionModel, dict[str, bytes]]:
    """Return what may be exported, and the files that come with a model that was made smaller for it.

    Args:
        model: What is asked for.
        limits: What it may take.
        rows: A CSV of rows such as it meets; None: bins drawn evenly.
        shrinks: Whether a larger model is made smaller, not refused.

    Raises:
        ModelError: It takes more, or can't be made so small; or the rows lack an input.
    """
    from schedtuna.errors import ModelError
    from schedtuna.export.limits import even_rows, shrink, shrunk_card
    from schedtuna.learn.net_rows import read_model_rows
    from schedtuna.model.file import dump_model

    if not shrinks:
        limits.require(model)
        return model, {}
    try:
        before = limits.cost(model)
    except ModelError:
        before = None  # too large for the form itself: it is made smaller
    if before is not None and limits.allow(before):
        return model, {}
    if rows is None:
        bins, rows_from = even_rows(model), "bins drawn evenly: it may never meet such rows"
    else:
        with naming(rows):
            bins, rows_from = model.quantise(read_model_rows(rows, model)), rows.name
    found = shrink(model, limits, bins, before)
    print_remark(
        "note", f"{found.how}: {100 * found.share_changed:.2f}% of decisions changed", file=sys.stderr
    )
    card = shrunk_card(found, model, limits, rows_from)
    return found.model, {"shrunk.model": dump_model(found.model), "shrunk.md": card.encode()}
