"""`schedtuna schedulers model`: the model inside scx_tuna."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.common import termination_interrupts
from schedtuna.cli.options import InOption, JsonOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schedtuna.scheduler.live_model import ModelStatus


class Action(StrEnum):
    """What is done with the model inside."""

    load = "load"
    shadow = "shadow"
    act = "act"
    off = "off"
    status = "status"


LeadOption = Annotated[
    int | None,
    typer.Option(
        "--lead-us", metavar="US", help="How much earlier or later in order, at most.", show_default="20000"
    ),
]
PeriodOption = Annotated[
    int | None,
    typer.Option(
        "--period", metavar="N", help="In shadow, look at one task of N, a power of two.", show_default="16"
    ),
]
BudgetOption = Annotated[
    int | None,
    typer.Option(
        "--budget-ns",
        metavar="NS",
        help="Give it up where most decisions take longer; 0: never.",
        show_default="20000",
    ),
]
OutOption = Annotated[
    int | None,
    typer.Option(
        "--most-out-permille",
        metavar="N",
        help="Give it up where more tasks than that are outside of its inputs' bins; 0: never.",
        show_default="250",
    ),
]
WorseOption = Annotated[
    int | None,
    typer.Option(
        "--worse-permille",
        metavar="N",
        help="Give it up where it is right that much less often than the scheduler itself; 0: never.",
        show_default="100",
    ),
]
PickOption = Annotated[
    int | None,
    typer.Option(
        "--pick",
        metavar="K",
        help="Acting, ask about the first K in order when a CPU takes one, up to 8; 1: when they are queued.",
        show_default="1",
    ),
]


def model(  # noqa: PLR0917 - typer's options are a function's parameters
    action: Annotated[Action, typer.Argument(metavar="ACTION", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    file: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="Of load: a file, or short_tasks.", show_default=False),
    ] = None,
    lead_us: LeadOption = None,
    period: PeriodOption = None,
    budget_ns: BudgetOption = None,
    most_out_permille: OutOption = None,
    worse_permille: WorseOption = None,
    pick: PickOption = None,
    named: InOption = None,
    as_json: JsonOption = False,
) -> None:
    """Load and switch the model inside scx_tuna.

    A model that was loaded has given what it should for each of its own rows, on the scheduler's kernel; it
    decides nothing yet. In shadow it predicts for some tasks and changes nothing; acting, it moves tasks
    in order. The scheduler goes on without it where it is slow, wrong or far from what it was made for,
    and says so. Needs root, or --in.
    """
    from schedtuna.scheduler.live_model import on_this_machine

    settings = {
        "lead_us": lead_us,
        "period": period,
        "budget_ns": budget_ns,
        "most_out_permille": most_out_permille,
        "worse_permille": worse_permille,
        "pick": pick,
    }
    given = {key: value for key, value in settings.items() if value is not None}
    if given and action not in (Action.shadow, Action.act):
        raise UsageError(f"{', '.join(given)}: for shadow and act, not for {action}")
    if (file is None) == (action is Action.load):
        raise UsageError(
            "load takes a model, and nothing else does", hint="schedtuna schedulers model load scx_tuna MODEL"
        )
    found = None
    if file is not None:
        from schedtuna.model.shipped import find_model

        found = find_model(file)
    with termination_interrupts():
        if named is None:
            status = on_this_machine(name, action.value, found, given)
        else:
            from schedtuna.backend import in_guest
            from schedtuna.lab.named.guest import NamedGuest

            with NamedGuest(named) as guest:
                status = in_guest.model_inside(guest, name, action.value, found, given)
    if as_json:
        print_json(status.to_dict())
    else:
        _print_status(status)


def _print_status(status: ModelStatus) -> None:
    if not status.name:
        print("no model is loaded")
        return
    print_remark("model", f"{status.name}, version {status.model_version}, family {status.family}")
    if status.nr_rows is not None:
        print_remark("checked", f"{status.nr_rows:,} of its own rows give what they should on this kernel")
    print_remark("mode", f"given up: {status.given_up}" if status.given_up else status.mode)
    counted = status.counted
    if not counted.get("nr_seen"):
        return
    shares = [
        ("of them as the scheduler expects", status.agreement),
        ("bursts as it said", status.accuracy),
        ("bursts as the scheduler expects", status.scheduler_accuracy),
    ]
    for title, value in (
        ("tasks queued", f"{counted['nr_seen']:,}"),
        ("decided", f"{counted['nr_decided']:,}, acted on {counted['nr_acted']:,}"),
        (
            "said",
            ", ".join(f"{counted[f'nr_{kind}']:,} {kind}" for kind in ("batch", "normal", "interactive")),
        ),
        *((title, f"{100 * share:.1f}%") for title, share in shares if share is not None),
        ("picks", _picks(counted) if counted["nr_picks"] else ""),
        ("outside of its range", f"{counted['nr_out_of_range']:,}" if counted["nr_out_of_range"] else ""),
        ("without its table", f"{counted['nr_no_table']:,}" if counted["nr_no_table"] else ""),
        ("takes", "" if status.mean_ns is None else f"{status.mean_ns:,.0f} ns a decision"),
    ):
        if value:
            print_remark(title, value)


def _picks(counted: Mapping[str, int]) -> str:
    picks, walked, picked = (f"{counted[name]:,}" for name in ("nr_picks", "nr_walked", "nr_picked"))
    return f"{picks} among {walked} tasks, {picked} of others than the first"
