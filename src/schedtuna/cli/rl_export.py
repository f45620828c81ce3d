"""`schedtuna rl export`: a trained policy for other programs."""

from __future__ import annotations

from typing import Annotated

import typer

from schedtuna.cli.exported import (
    ExportFolderOption,
    ExportNameOption,
    ReplaceFilesOption,
    write_exported,
)
from schedtuna.cli.options import JsonOption
from schedtuna.errors import UsageError, nearest


def export(  # noqa: PLR0917 - typer's options are a function's parameters
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A policy's file, the folder of its training, or one that comes along: `pretrained`.",
            show_default=False,
        ),
    ],
    to: Annotated[str, typer.Option("--to", metavar="FORM", help="c or onnx.", show_default=False)],
    output: ExportFolderOption,
    name: ExportNameOption = None,
    force: ReplaceFilesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a policy in a form that other programs run.

    --to c: C99, with rows that check it. --to onnx: compared with onnxruntime before it is written (extra
    onnx). Both are in floats, from an observation to the best action that its mask allows. The kernel has no
    floats: what goes there is made by `train` and `model export`.
    """
    from schedtuna.export.c_text import require_identifier
    from schedtuna.rl.exported import TARGETS, default_name
    from schedtuna.rl.pretrained import find_policy

    if to not in TARGETS:
        raise UsageError(f"--to {to}: no such form", hint=nearest(to, TARGETS))
    policy = find_policy(model)
    name = default_name(policy) if name is None else require_identifier(name)
    files = TARGETS[to].files(policy, name)
    write_exported(output, files, TARGETS[to].advice.format(name=name), force=force, as_json=as_json)
