"""`schedtuna undo`: put back what runs that were killed have left changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json
from schedtuna.printable import printable

if TYPE_CHECKING:
    from schedtuna.knobs.undo import Outcome

app = typer.Typer(add_completion=False)


@app.command()
def undo(
    force: Annotated[
        bool, typer.Option("--force", help="Also revert what runs that are still going have changed.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be put back.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Put back what runs that were killed have left changed, newest first.

    Exit code 1 where something could not be put back; it stays in the journal.
    """
    from schedtuna.knobs.journal import Journal
    from schedtuna.knobs.undo import Result
    from schedtuna.knobs.undo import undo as undo_journal

    journal = Journal()
    outcomes = undo_journal(journal, force=force, dry_run=dry_run)
    failed = any(outcome.result is Result.FAILED for outcome in outcomes)
    if as_json:
        changes = [_as_dict(outcome) for outcome in outcomes]
        print_json({"journal": str(journal.directory), "changes": changes, "failed": failed})
    elif not outcomes:
        print("nothing to undo")
    else:
        for outcome in outcomes:
            print(printable(_line(outcome)))
        if any(outcome.result is Result.RUNNING for outcome in outcomes):
            print("what running processes have changed they put back themselves; --force does it now")
    if failed:
        raise typer.Exit(1)


def _line(outcome: Outcome) -> str:
    record = outcome.record
    verb = {"would_restore": "would restore", "other_boot": "skipped", "running": "skipped"}.get(
        outcome.result, str(outcome.result)
    )
    reason = f" ({outcome.reason})" if outcome.reason else ""
    return f"{verb:13} {record.knob} of {_what(outcome)}{reason}"


def _what(outcome: Outcome) -> str:
    record, subject = outcome.record, outcome.record.subject
    if subject.kind == "new_group":
        return f"the control group {subject.path}: removed"
    if subject.kind == "process":
        return f"{record.new['scheduler']}, process {subject.pid}: stopped"
    if subject.kind == "scx_loader":
        return f"scx_loader: {record.new['scheduler']} -> {record.old['scheduler']}"
    if subject.kind == "unit":
        return f"{subject.path}: {'removed' if record.old is None else 'as it was'}"
    change = f"{record.new} -> {record.old}"
    if subject.kind == "task":
        return f"{'thread' if subject.reach == 'thread' else 'process'} {subject.tid}: {change}"
    return f"{subject.path}: {change}"


def _as_dict(outcome: Outcome) -> dict[str, Any]:
    record = outcome.record
    return {
        "result": str(outcome.result),
        "reason": outcome.reason,
        "knob": record.knob,
        "subject": record.subject.model_dump(mode="json"),
        "old": record.old,
        "new": record.new,
        "owner_pid": record.owner.pid,
        "time": record.time,
        "id": record.id,
    }
