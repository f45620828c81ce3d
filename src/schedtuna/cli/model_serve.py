"""`schedtuna model serve`: decisions for other programs, by lines of JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from schedtuna.cli.common import termination_interrupts
from schedtuna.cli.output import print_remark
from schedtuna.errors import naming


def serve(
    model_path: Annotated[
        str,
        typer.Option(
            "--model-path",
            metavar="MODEL",
            help="A model's file, or `migration`, which comes along.",
            show_default=False,
        ),
    ],
    socket: Annotated[
        Path | None,
        typer.Option(
            "--socket",
            metavar="PATH",
            help="Answer clients of this Unix socket; default: stdin.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, max=4096, help="Requests of a full batch.")] = 32,
    wait_ms: Annotated[
        float, typer.Option("--wait-ms", min=0, max=1000, help="How long a request waits for others.")
    ] = 1.0,
) -> None:
    """Decide for other programs, by lines of JSON.

    {"id": 1, "values": {...}} names the model's inputs; of a model that decides about migrations,
    {"id": 1, "features": {...}} has those of MigrationFeatures. {"id": 1, "decision": "stay"} answers.
    """
    from schedtuna.model.answering import ModelAnswers
    from schedtuna.model.shipped import find_model
    from schedtuna.server.decision_lines import DecisionLines, listening

    found = find_model(model_path)
    answers = ModelAnswers(found)
    lines = DecisionLines(answers.answer, largest=batch, wait_s=wait_ms / 1000)
    try:
        with termination_interrupts():
            if socket is None:
                lines.serve_stdin(sys.stdin.fileno(), sys.stdout.fileno())
                return
            with naming(socket), listening(socket) as listener:
                print_remark(
                    "note", f"{found.name}, version {found.version}, answers at {socket}", file=sys.stderr
                )
                lines.serve_socket(listener)
    finally:
        told = f"{answers.nr_requests} requests in {lines.nr_batches} batches, {answers.nr_refused} refused"
        print_remark("note", told, file=sys.stderr)
