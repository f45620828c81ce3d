"""`schedtuna knobs`: what can be changed here, what is set, and why the rest can't be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from schedtuna.cli.options import CgroupOption, JsonOption, PidOption, ScopeOption
from schedtuna.cli.output import print_json
from schedtuna.errors import UsageError

if TYPE_CHECKING:
    from schedtuna.knobs.base import Scope, Target
    from schedtuna.scheduler.fair import SurveyedKnob
    from schedtuna.space import ParameterSpec

app = typer.Typer(add_completion=False)


@app.command()
def knobs(
    pid: PidOption = None,
    cgroup: CgroupOption = None,
    scope: ScopeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what can be changed here, what is set now, and why the rest can't be.

    Without --pid or --cgroup: for a command that is about to start.
    """
    from schedtuna.scheduler.fair import survey

    target = _target(scope, pid, cgroup)
    rows = survey(target)
    if as_json:
        entries = [row.to_dict(target.scope) for row in rows]
        print_json({"scope": str(target.scope), "pid": pid, "cgroup": cgroup, "knobs": entries})
        return
    _print_rows(target, rows)


def _target(scope: Scope | None, pid: int | None, cgroup: Path | None) -> Target:
    from schedtuna.knobs.base import Scope, Target

    if pid is not None and cgroup is not None:
        raise UsageError("--pid and --cgroup are mutually exclusive")
    implied = Scope.PID if pid is not None else Scope.CGROUP if cgroup is not None else Scope.TREE
    if scope is not None and scope != implied and implied is not Scope.TREE:
        raise UsageError(f"--scope {scope} does not go with --{implied}")
    return Target(scope or implied, pid=pid, cgroup=cgroup)


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
