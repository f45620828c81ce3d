"""What of `schedtuna agent` is about swaps: which schedulers may be chosen, were, and may not be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json
from schedtuna.errors import UsageError
from schedtuna.printable import printable

if TYPE_CHECKING:
    from schedtuna.agent.contract import AgentPolicy


def swapping(policy: str | None, arms: Sequence[str], seed: int | None) -> AgentPolicy:
    """The policy that swaps the schedulers that the command line names."""
    from schedtuna.agent.swap.making import make_swap

    if policy != "swap":
        raise UsageError("--arm names schedulers of the policy swap", hint="--policy swap --arm scx_simple")
    return make_swap(None, arms, seed=seed)


def require_part(policy: AgentPolicy) -> None:
    """Refuse to leave parts of the machine alone where a policy is about all of it.

    Raises:
        UsageError: It is.
    """
    from schedtuna.agent.contract import Need

    if Need.SWAPS in policy.needs:
        raise UsageError("a scheduler is in charge of the whole machine: --only leaves nothing of it to swap")


def quarantine(
    lift: Annotated[
        str | None,
        typer.Option(
            "--lift", metavar="NAME", help="Give this scheduler another chance.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which schedulers were thrown out here.

    The agent does not start them again.
    """
    from schedtuna.agent.swap.quarantine import Quarantine
    from schedtuna.errors import nearest
    from schedtuna.knobs.state import state_directory

    kept = Quarantine(state_directory())
    if lift is not None:
        known = sorted({row.name for row in kept.rows()})
        if not kept.lift(lift):
            raise UsageError(f"{lift} is not in quarantine: {nearest(lift, known)}")
    rows = kept.rows()
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    if lift is not None:
        print(printable(f"{lift} may be started again"))
    for row in rows:
        print(printable(row.tell()))
    if not rows and lift is None:
        print("no scheduler is in quarantine")


def tell_why_swap(*, as_json: bool) -> None:
    """Print the last choices of schedulers, and what came of them."""
    from schedtuna.agent.decisions.rows import decision_fields, outcome_fields
    from schedtuna.agent.swap.explaining import explain_swap

    found = explain_swap()
    if not as_json:
        for line in found.lines():
            print(printable(line))
        return
    print_json(
        {
            "choices": [
                {
                    **decision_fields(story.decision),
                    "time": story.at_s,
                    "outcome": None if story.outcome is None else outcome_fields(story.outcome),
                }
                for story in found.stories
            ],
            "quarantine": [row.model_dump(mode="json") for row in found.quarantine],
        }
    )
