"""`schedtuna agent learn` and `versions`: models from what was drawn, and which of them is in charge."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.errors import UsageError

_POLICY, _SHIPPED, _SWAP = "migrate", "migration", "swap"


def learn(
    log: Annotated[
        Path | None,
        typer.Argument(
            metavar="LOG",
            help="As for `agent evaluate`.  [default: this machine's]",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            metavar="migrate|swap:FILE",
            help='What learns; FILE is the table of a policy swap with learn = "gated".',
        ),
    ] = _POLICY,
    as_json: JsonOption = False,
) -> None:
    """Learn a new model of migrate, or state of swap, by draws.

    It is fitted on earlier decisions, and judged on later ones: only where its gain is shown, it replaces the
    one in charge. Else it is kept aside, with the reason. A running agent takes a model up on SIGHUP, and a
    state when it is started anew.
    """
    from schedtuna.agent.decisions.evaluating import read_history
    from schedtuna.agent.decisions.table import read_decisions

    name, _, file = policy.partition(":")
    if (name, bool(file)) not in {(_POLICY, False), (_SWAP, True)}:
        raise UsageError(f"--policy {policy}: it learns nothing by itself", hint="migrate, or swap:FILE")
    history = read_history(read_decisions(log), name)
    if name == _SWAP:
        from schedtuna.agent.decisions.versions import VersionList
        from schedtuna.agent.swap.learning import learn_swap

        row = learn_swap(history, Path(file), VersionList(_SWAP))
    else:
        from schedtuna.agent.decisions.learning import learn as learn_model
        from schedtuna.agent.decisions.versions import ModelVersions

        versions = ModelVersions(_POLICY, _SHIPPED)
        in_charge = versions.in_charge()
        learned = learn_model(history, in_charge, versions.judged_until_s())
        row = versions.add(learned, in_charge, time.time())
    if as_json:
        print_json(asdict(row))
        return
    print(f"fitted on {row.nr_fitted} decisions, judged on {row.nr_judged} later ones")
    did = f"replaces {row.replaces}" if row.passed else f"is kept aside, and {row.replaces} stays"
    print_remark(f"version {row.version} {did}", row.why)


def versions(as_json: JsonOption = False) -> None:
    """List the models that the policy migrate has learned."""
    from schedtuna.agent.decisions.versions import ModelVersions

    known = ModelVersions(_POLICY, _SHIPPED)
    rows, in_charge = known.all(), known.in_charge().version
    if as_json:
        print_json({"in_charge": in_charge, "versions": [asdict(one) for one in rows]})
        return
    for one in rows:
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.time_s))
        print_remark(f"{at} {one.version} {'passed' if one.passed else 'kept aside'}", one.why)
    print_remark("in charge", in_charge if rows else f"{in_charge}, which comes along")
