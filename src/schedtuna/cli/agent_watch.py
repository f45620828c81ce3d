"""What `schedtuna agent` tells without changing anything: advice, metrics, files for monitoring."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark

if TYPE_CHECKING:
    from schedtuna.agent.contract import IntentProofs

HistoryOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--history",
        metavar="DIR",
        help="A folder of past studies, which say what is proven. Repeatable.",
        show_default=False,
    ),
]


def read_history(places: Sequence[Path], valid_days: float = 90) -> IntentProofs | None:
    """What studies in some folders say; None where none is named. Why one says nothing goes to stderr."""
    if not places:
        return None
    from schedtuna.agent.proof import ProofBook, read_proofs

    proofs, without = read_proofs(places, valid_days=valid_days)
    for folder, why in without.items():
        print_remark("no proof", f"{folder}: {why}", file=sys.stderr)
    return ProofBook(proofs)


def advise(
    on: Annotated[Path, typer.Option("--on", metavar="TRACE", help="A recording of events: its folder.")],
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            metavar="NAME[:FILE]",
            help="What decides: rules, priority, affinity, params:FILE, migrate or module:Class.",
        ),
    ] = "rules",
    history: HistoryOption = None,
    allow_lost: Annotated[
        bool, typer.Option("--allow-lost", help="Accept a trace that lost events.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what would have been changed in a recording.

    At most three changes, why, and what each is expected to bring: by a past study of just that (--history),
    else to the threads that are not changed, by a replay in the simulated machine, where the certificate
    covers it. Nothing is changed; no privilege is needed.
    """
    from schedtuna.agent.advising import advise_on
    from schedtuna.agent.policies.registry import make_policy
    from schedtuna.cli.common import termination_interrupts
    from schedtuna.cli.table import wrapped
    from schedtuna.errors import naming

    decides = make_policy(policy)
    with termination_interrupts(), naming(on):
        found = advise_on(on, decides, allow_lost=allow_lost, proofs=read_history(history or ()))
    if as_json:
        told = [
            {
                "id": one.id,
                "setting": one.setting,
                "value": one.new,
                "threads": one.threads,
                "reason": one.reason,
                "expected": None if one.expected is None else vars(one.expected),
                "why_unknown": one.why_unknown,
                "model": one.model,
            }
            for one in found.advice
        ]
        print_json({"advice": told, "dropped": list(found.dropped)})
        return
    for one in found.advice:
        print(wrapped(one.tell()))
    if not found.advice:
        print("nothing is advised")
    for why in found.dropped:
        print_remark("not advised", why)


def metrics(
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="ADDRESS:PORT|SOCKET",
            help="Serve them at /metrics until Ctrl-C, such as at 127.0.0.1:9798.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print the agent's metrics for Prometheus, or serve them.

    Whoever serves needs no privilege but to ask the agent. Other machines can't reach it.
    """
    from schedtuna.agent.exporter import metrics_text, serve_at

    if listen is None:
        print(metrics_text(), end="")
        return
    from schedtuna.cli.common import termination_interrupts

    with termination_interrupts(), serve_at(listen) as server:
        print_remark("metrics", f"served at {listen}", file=sys.stderr)
        server.serve_forever()


def page(
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="ADDRESS:PORT",
            help="Where to serve it, on this machine's own addresses; port 0: any that is free.",
        ),
    ] = "127.0.0.1:9799",
    as_json: JsonOption = False,
) -> None:
    """Serve a page that shows live what the agent does.

    Until Ctrl-C. Open the address that it prints, in which a token is. A change is undone there by a click.
    Other machines can't reach it: ssh -L 9799:127.0.0.1:9799 HOST.
    """
    from schedtuna.agent.page.serving import serve_page
    from schedtuna.cli.common import termination_interrupts

    def ready(url: str, token: str) -> None:
        opened = f"{url}#token={token}"
        if as_json:
            print_json({"url": url, "token": token, "open": opened})
        else:
            print(opened, flush=True)
        print_remark("page", "served until Ctrl-C; whoever has the address may undo", file=sys.stderr)

    with termination_interrupts():
        serve_page(listen, ready)


def monitoring(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files go.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace the files that are there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write alert rules for Prometheus and a Grafana dashboard."""
    from schedtuna.agent.monitoring import DATA_FILES
    from schedtuna.cli.output import refuse_existing, writing
    from schedtuna.files import make_folder
    from schedtuna.resources import resource_path

    paths = [folder / name for name in DATA_FILES]
    make_folder(folder)
    for path in paths:
        refuse_existing(path, force=force)
    for path in paths:
        with writing(path, force=force) as file:
            file.write(resource_path(f"agent/data/{path.name}").read_bytes())
    if as_json:
        print_json({"files": [str(path) for path in paths]})
        return
    for path in paths:
        print_remark("written", str(path))
