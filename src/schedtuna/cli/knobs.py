"""`schedtuna knobs`: what can be changed here, what is set, and why the rest can't be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.options import CgroupOption, JsonOption, PidOption, ScopeOption, UnitOption
from schedtuna.cli.output import print_json
from schedtuna.errors import UsageError

if TYPE_CHECKING:
    from schedtuna.knobs.base import Target
    from schedtuna.scheduler.fair import SurveyedKnob
    from schedtuna.space import ParameterSpec

app = typer.Typer(add_completion=False)


@app.command()
def knobs(  # noqa: PLR0917 - typer's options are a function's parameters
    what: Annotated[
        str, typer.Argument(metavar="[list]", help="It is what is done in any case.", show_default=False)
    ] = "list",
    pid: PidOption = None,
    cgroup: CgroupOption = None,
    unit: UnitOption = None,
    scope: ScopeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what can be changed here, what is set now, and why the rest can't be.

    Without --pid, --cgroup or --unit: for a command that is about to start.
    """
    from schedtuna.knobs.services import target_of
    from schedtuna.scheduler.fair import survey

    if what != "list":
        raise UsageError(f"knobs does not know {what!r}", hint="`schedtuna knobs` or `schedtuna knobs list`")
    target = target_of(scope, pid, cgroup, unit, force=True)  # it is only looked at
    rows = survey(target)
    if as_json:
        entries = [row.to_dict(target.scope) for row in rows]
        print_json({"scope": str(target.scope), "pid": pid, "cgroup": target.cgroup, "knobs": entries})
        return
    _print_rows(target, rows)


def _print_rows(target: Target, rows: Sequence[SurveyedKnob]) -> None:
    from schedtuna.cli.table import wrapped
    from schedtuna.space import spell_value

    print(f"{'knob':23} {'now':>9}  values")
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.spec is None:
            key = (row.availability.reason, row.availability.hint)
            reasons.setdefault(key, []).append(row.knob.name)
            continue
        asked = "" if row.searched(target.scope) else ", searched only on request"
        print(f"{row.knob.name:23} {spell_value(row.spec.default):>9}  {_values(row.spec)}{asked}")
        print(wrapped(row.knob.description, indent=4))
        if row.availability.hint:
            print(wrapped(f"note: {row.availability.hint}", indent=4))
    for (reason, hint), names in reasons.items():
        print("\n" + wrapped(f"not here: {', '.join(names)}"))
        print(wrapped(f"{reason} ({hint})" if hint else reason, indent=4))


def _values(spec: ParameterSpec) -> str:
    if spec.choices:
        return ", ".join(spec.choices)
    if spec.min_value is None:
        return "true, false"
    return f"{spec.min_value} to {spec.max_value} {spec.unit}".rstrip()
