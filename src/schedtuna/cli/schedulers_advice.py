"""`schedtuna schedulers advise` and `hint`: what user space tells scx_tuna about tasks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from schedtuna.cli.common import parse_positive_duration, termination_interrupts
from schedtuna.cli.options import InOption, JsonOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.errors import UsageError


class HintClass(StrEnum):
    """What a hint says."""

    none = "none"
    gpu = "gpu"
    batch = "batch"
    normal = "normal"
    interactive = "interactive"


def advise(  # noqa: PLR0917 - typer's options are a function's parameters
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="MODEL", help="A file, migration or short_tasks.", show_default=False
        ),
    ],
    for_: Annotated[str, typer.Option("--for", metavar="60s", help="For how long.")] = "60s",
    period: Annotated[
        str, typer.Option("--period", metavar="10ms", help="Ask about a task no more often than that.")
    ] = "10ms",
    valid: Annotated[
        str, typer.Option("--valid", metavar="100ms", help="How long an answer holds.")
    ] = "100ms",
    as_json: JsonOption = False,
) -> None:
    """Answer what scx_tuna asks about tasks.

    It asks about those that fall asleep. A model of migrations says where a task goes next, one of kinds of
    tasks how it stands in order. The scheduler never waits for an answer, and goes on alone when this ends.
    Needs root.
    """
    from schedtuna.model.shipped import find_model
    from schedtuna.scheduler.advisers import advise_scheduler
    from schedtuna.scheduler.live_model import require_in_charge_here

    for_s = parse_positive_duration(for_, option="--for")
    period_s = parse_positive_duration(period, option="--period")
    valid_s = parse_positive_duration(valid, option="--valid")
    found = find_model(model)
    require_in_charge_here(name)
    with termination_interrupts():
        counted = advise_scheduler(
            found, for_s=for_s, period_ns=int(period_s * 1e9), valid_ns=int(valid_s * 1e9)
        )
    if as_json:
        print_json({"model": found.name, "model_version": found.version, "counted": counted})
        return
    print_remark("model", f"{found.name}, version {found.version}")
    for key, number in counted.items():
        if number or key in ("nr_requests", "nr_answers", "nr_taken"):
            print_remark(key.removeprefix("nr_").replace("_", " "), f"{number:,}")


def hint(  # noqa: PLR0917 - typer's options are a function's parameters
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    kind: Annotated[HintClass, typer.Argument(metavar="CLASS", show_default=False)],
    tid: Annotated[int | None, typer.Option("--tid", min=1, help="Of this task.", show_default=False)] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group", metavar="DIR", help="Of all tasks of this control group.", show_default=False
        ),
    ] = None,
    named: InOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell scx_tuna of which class a task or a control group is.

    CLASS is batch, normal, interactive, for a task gpu, or none, which takes a hint away. A hint holds until
    then, or until the scheduler ends; it is by number, so that a later task of the same tid has it, too.
    Needs root, or --in.
    """
    from schedtuna.scheduler.live_model import hint_here

    if (tid is None) == (group is None):
        raise UsageError("a hint is for a task or for a control group", hint="give --tid or --group")
    arguments: dict[str, Any] = {
        "class": kind.value,
        **({"tid": tid} if tid is not None else {"group": group}),
    }
    with termination_interrupts():
        if named is None:
            hint_here(name, arguments)
        else:
            from schedtuna.backend import in_guest
            from schedtuna.lab.named.guest import NamedGuest

            with NamedGuest(named) as guest:
                in_guest.hint(guest, name, arguments)
    if as_json:
        print_json(arguments)
    else:
        print_remark(f"tid {tid}" if tid is not None else str(group), kind.value)
