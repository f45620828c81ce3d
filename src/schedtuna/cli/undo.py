"""`schedtuna undo`: put back what runs that were killed have left changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json
from schedtuna.errors import UsageError
from schedtuna.printable import printable

if TYPE_CHECKING:
    from schedtuna.knobs.undo import UndoOutcome

app = typer.Typer(add_completion=False)


@app.command()
def undo(  # noqa: PLR0917 - typer's options are a function's parameters
    what: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Only this change, of a running agent too.", show_default=False),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also revert what runs that are still going have changed.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be put back.")] = False,
    owner: Annotated[
        int | None,
        typer.Option(
            "--owner", metavar="PID", help="Only what this process has changed.", show_default=False
        ),
    ] = None,
    killed: Annotated[
        bool, typer.Option("--killed", help="Only what killed runs have left, and not what is to stay.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Put back what killed runs have left changed, and what `apply` keeps, newest first.

    Exit code 1 where something could not be put back; it stays in the journal.
    """
    from schedtuna.knobs.journal import Journal
    from schedtuna.knobs.undo import UndoResult
    from schedtuna.knobs.undo import undo as undo_journal
    from schedtuna.lab.named.guests import find_all

    journal = Journal()
    if what is not None and not dry_run and _agent_undoes(what):
        return
    outcomes = undo_journal(
        journal, force=force, dry_run=dry_run, lasting=not killed, owner=owner, only=what or ""
    )
    if what is not None and not outcomes:
        raise UsageError(f"nothing that is in force is called {what!r}", hint="schedtuna undo --dry-run")
    failed = any(outcome.failed for outcome in outcomes)
    guests = [one.record.name for one in find_all() if not one.gone]
    unwritten = next((outcome.unwritten for outcome in outcomes if outcome.unwritten), "")
    if as_json:
        changes = [outcome.to_dict() for outcome in outcomes]
        about = {"journal": str(journal.directory), "changes": changes, "guests": guests}
        print_json({**about, "failed": failed})
        guests = []
    elif not outcomes:
        print(printable(f"nothing to undo in {journal.directory}"))
    else:
        for outcome in outcomes:
            print(printable(_line(outcome)))
        if any(outcome.result is UndoResult.RUNNING for outcome in outcomes):
            print("what running processes have changed they put back themselves; --force does it now")
        if unwritten:
            print(printable(f"the records stay open, and will be undone again: {unwritten}"))
    for guest in guests:
        print(f"guest {guest} is up, and stays: `schedtuna lab stop {guest}` ends it")
    if failed:
        raise typer.Exit(1)


def _agent_undoes(what: str) -> bool:
    """Have a running agent put back what is its own; False where none runs, or it knows nothing of it."""
    from schedtuna.agent.control import ask_agent
    from schedtuna.errors import SchedtunaError

    try:
        said = ask_agent("undo", {"id": what})
    except SchedtunaError:
        return False
    for one in said["undone"]:
        print(printable(f"{one['result']} {one['what']}; the agent leaves it alone from now on"))
    return True


def _line(outcome: UndoOutcome) -> str:
    from schedtuna.knobs.undo import UndoResult

    verbs = {
        UndoResult.WOULD_RESTORE: "would restore",
        UndoResult.OTHER_BOOT: "skipped",
        UndoResult.RUNNING: "skipped",
        UndoResult.ELSEWHERE: "kept",
    }
    verb = verbs.get(outcome.result, str(outcome.result))
    reason = f" ({outcome.reason})" if outcome.reason else ""
    return f"{verb:13} {outcome.record.knob} of {outcome.record.tell()}{reason}"
