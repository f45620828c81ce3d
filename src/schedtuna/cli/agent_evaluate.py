"""`schedtuna agent evaluate`: what another policy would have brought, by what this one drew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark

if TYPE_CHECKING:
    from schedtuna.agent.decisions.evaluating import DecisionHistory, PolicyJudgement


def evaluate(  # noqa: PLR0917 - typer's options are a function's parameters
    log: Annotated[
        Path | None,
        typer.Argument(
            metavar="LOG",
            help="An agent's folder, a file of its decisions, or what `agent log --out` wrote.  "
            "[default: this machine's]",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="NAME[:...]",
            help="What is judged: always:ARM, uniform, kernel, migrate[:MODEL], swap:FILE or "
            "module:Class[:FILE]. Repeatable.  "
            "[default: always, for each arm]",
            show_default=False,
        ),
    ] = None,
    logged_by: Annotated[
        str | None,
        typer.Option(
            "--logged-by", metavar="NAME", help="Whose decisions count, where there are several policies'."
        ),
    ] = None,
    carry_over: Annotated[
        int, typer.Option("--carry-over", min=0, help="How many decisions before one still act on its loss.")
    ] = 0,
    unknown_as_worst: Annotated[
        bool,
        typer.Option("--unknown-as-worst", help="Count unknown outcomes as the worst that was seen."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Estimate what other policies would have brought, by draws.

    The agent's own policy has drawn, and the log says with which probabilities. The loss is estimated
    doubly robust: by a model, corrected by the logged probabilities. Nothing is said where fewer than 30
    effective decisions speak for it, or where a probability is missing or was 1.
    """
    from schedtuna.agent.decisions.evaluating import judge, read_history
    from schedtuna.agent.decisions.judged import AlwaysChooser, make_chooser
    from schedtuna.agent.decisions.table import read_decisions
    from schedtuna.errors import EvidenceError

    choosers = [make_chooser(one) for one in policy or ()]
    history = read_history(read_decisions(log), logged_by or "")
    found: list[PolicyJudgement] = []
    refused: dict[str, str] = {}
    for chooser in choosers or [AlwaysChooser(arm) for arm in history.arms]:
        try:
            found.append(judge(history, chooser, carry_over=carry_over, unknown_as_worst=unknown_as_worst))
        except EvidenceError as error:
            if len(choosers) == 1:
                raise
            refused[chooser.name] = str(error)
    if as_json:
        print_json(_plain(history, found, refused))
    else:
        _show(history, found)
        for name, why in refused.items():
            print_remark(f"nothing is said of {name}", why)
    if not found:
        raise typer.Exit(1)


def _plain(history: DecisionHistory, found: list[PolicyJudgement], refused: dict[str, str]) -> dict[str, Any]:
    return {
        "logged_by": history.policy,
        "arms": list(history.arms),
        "nr_drawn": len(history.decisions),
        "nr_certain": history.nr_certain,
        "nr_left_out": history.nr_left_out,
        "unknown": dict(history.unknown),
        "versions": dict(history.versions),
        "hours": history.hours,
        "judged": [
            {
                "policy": one.policy,
                **{name: value for name, value in vars(one.estimate).items() if name != "block_changes"},
                "loss": vars(one.estimate.loss),
                "change": vars(one.estimate.change),
                "block_changes": one.estimate.block_changes.tolist(),
                "features": list(one.features),
                "notes": list(one.notes),
            }
            for one in found
        ],
        "refused": refused,
    }


def _show(history: DecisionHistory, found: list[PolicyJudgement]) -> None:
    from schedtuna.cli.table import table
    from schedtuna.printable import printable

    drawn, hours = len(history.decisions), history.hours
    long = f"{hours:.1f} h" if hours >= 2 else f"{hours * 60:.0f} min"
    print(printable(f"{drawn} decisions drawn by {history.policy} in {long}"))
    if not found:
        return
    rows = []
    for one in found:
        judged = one.estimate
        rows.append(
            [
                one.policy,
                f"{judged.loss.value:.4g}",
                f"{judged.loss.low:.4g} to {judged.loss.high:.4g}",
                f"{judged.change.value:+.3g}",
                f"{judged.change.low:+.3g} to {judged.change.high:+.3g}",
                f"{judged.effective:.0f}",
                *(f"{value:.4g}" for value in (judged.ips, judged.snips, judged.direct)),
            ]
        )
    headings = ["policy", "loss", "95%", "change", "95%", "effective", "IPS", "SNIPS", "model"]
    print(table(headings, rows))
    print(f"loss of what was done: {found[0].estimate.logged:.4g}; a change below 0 is better than it")
    if len(found) > 2:
        print_remark("note", "the best of several needs a run of its own: chance chose it, too")
    for note in dict.fromkeys(note for one in found for note in one.notes):
        print_remark("note", note)
