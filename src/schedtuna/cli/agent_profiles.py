"""`schedtuna agent power-profiles`: desktops choose how the agent acts, as they choose power profiles."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from schedtuna.cli.output import print_remark
from schedtuna.errors import MissingExtraError, UsageError


def power_profiles(
    bus: Annotated[
        str, typer.Option("--bus", metavar="BUS", help="system, session, or the address of one.")
    ] = "system",
    allow_user: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-user",
            metavar="NAME",
            help="Who else may choose profiles, beside root and this user. Repeatable.",
            show_default=False,
        ),
    ] = None,
    print_bus_policy: Annotated[
        bool, typer.Option("--print-bus-policy", help="Print what lets root own the names, and exit.")
    ] = False,
) -> None:
    """Have power profiles choose what the agent does.

    Answers on D-Bus as power-profiles-daemon does, until Ctrl-C.
    Where that daemon runs, or comes later, the names are its own. docs/agent.md says which profile is what.
    """
    from schedtuna.agent.profiles.words import bus_policy

    if print_bus_policy:
        print(bus_policy(), end="")
        return
    from schedtuna.agent.control import ask_agent
    from schedtuna.cli.common import termination_interrupts

    try:
        from schedtuna.agent.profiles.bus import ProfileBus
    except ImportError as error:
        raise MissingExtraError("answering on D-Bus", "dbus") from error
    uids = [_uid(name) for name in allow_user or ()]
    ask_agent("status")  # that there is one
    place = bus.upper() if bus in ("system", "session") else bus
    with termination_interrupts(), ProfileBus(place, _apply, uids) as served:
        print_remark("power profiles", f"answered on {bus}", file=sys.stderr)
        served.serve(until=lambda: False)


def _apply(profile: str) -> object:
    from schedtuna.agent.control import ask_agent

    return ask_agent("profile", {"name": profile})


def _uid(name: str) -> int:
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise UsageError(f"--allow-user {name}: there is no such user") from None
