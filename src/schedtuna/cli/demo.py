"""`schedtuna demo`: what it is good for, shown on this machine in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.common import termination_interrupts
from schedtuna.cli.options import JsonOption, SeedOption
from schedtuna.cli.output import print_json
from schedtuna.errors import UsageError, nearest
from schedtuna.printable import printable

if TYPE_CHECKING:
    from schedtuna.agent.demo.figures import ArmResult, DemoRun
    from schedtuna.agent.demo.running import DemoPlan

app = typer.Typer(no_args_is_help=True, add_completion=False)

_BUSY_PERCENT = 10.0


@app.callback()
def _demo() -> None:
    """Show on this machine what it is good for."""


@app.command()
def agent(  # noqa: PLR0917 - typer's options are a function's parameters
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="NAME[:FILE]",
            help="What is compared, as `agent run` takes it. Default: rules, and priority where its model"
            " ships. Repeatable.",
            show_default=False,
        ),
    ] = None,
    load: Annotated[
        list[str] | None,
        typer.Option(
            "--load",
            metavar="NAME",
            help="beside, swapped, nothing. Default: all. Repeatable.",
            show_default=False,
        ),
    ] = None,
    families: Annotated[
        list[str] | None,
        typer.Option(
            "--families",
            metavar="all|NAME",
            help="Families of loads, named before any was run (requests, compiles, audio, chain, bursts,"
            " users, turns), and those in which nothing can be gained (equal, idle, alike). Repeatable.",
            show_default=False,
        ),
    ] = None,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="On a simulated machine of as many CPUs, in seconds.")
    ] = False,
    blocks: Annotated[
        int | None,
        typer.Option(
            "--blocks", min=2, max=100, help="Runs of each arm. Default: 3 to 6, by load.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Keep each run in this file; given again with the same --seed, it goes on.",
            show_default=False,
        ),
    ] = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tune a load whose parts it is not told, beside an oracle that is.

    Tasks that answer requests run beside tasks that compute; all have the same name and control group.
    Compared are doing nothing, as many changes at random (placebo), `nice -n 10` for what computes, typed by
    somebody who knows (one-liner), the agent's policies, and an oracle that is always told who computes.
    """
    from schedtuna.agent.demo.figures import results_of
    from schedtuna.agent.demo.kept import KeptRuns
    from schedtuna.agent.demo.running import run_plan
    from schedtuna.cli.progress import RunProgress
    from schedtuna.experiment.campaign import choose_seed

    seed = choose_seed(seed)
    plans, note = _plans(policy, load, families, blocks, seed, simulated=simulated)
    kept = KeptRuns(out, _facts(seed, simulated=simulated)) if out else None
    shown: list[dict[str, Any]] = []
    busy_percent = 0.0 if simulated else _busy_before()
    total = sum(len(plan.arms) * plan.nr_blocks for plan in plans)
    with termination_interrupts(), RunProgress("demo", total) as progress:
        progress.say(_tell_plans(plans, total, seed, simulated=simulated))
        for remark in (note, _tell_busy(busy_percent)):
            if remark:
                progress.say(remark)
        done = 0

        def count(run: DemoRun) -> None:
            nonlocal done
            done += 1
            progress.update(done, total, note=run.arm)

        for plan in plans:
            runs = run_plan(plan, count, kept=kept)
            shown.append(_summary(plan, runs, results_of(runs, plan.load.metric, plan.load.work)))
    if as_json:
        busy = None if simulated else busy_percent
        print_json({"seed": seed, "simulated": simulated, "busy_before_percent": busy, "loads": shown})
        return
    print("\n\n".join(_text(one) for one in shown))


def _plans(
    policy: list[str] | None,
    load: list[str] | None,
    families: list[str] | None,
    blocks: int | None,
    seed: int,
    *,
    simulated: bool,
) -> tuple[list[DemoPlan], str]:
    """Return what to run, and what to say of a policy that is left out."""
    from schedtuna.agent.demo.loads import FAMILIES, LOADS
    from schedtuna.agent.demo.running import DemoPlan, known_policies

    for names, known, what in ((load, LOADS, "load"), (families, ("all", *FAMILIES), "family")):
        for name in names or ():
            if name not in known:
                raise UsageError(f"there is no {what} {name!r}: {nearest(name, known)}")
    policies, note = known_policies(policy or ())
    chosen = [one for one in FAMILIES.values() if families and (one.name in families or "all" in families)]
    chosen += [one for one in LOADS.values() if (one.name in load if load else not families)]
    return [
        DemoPlan(one, tuple(policies), blocks or one.nr_blocks, seed, simulated=simulated) for one in chosen
    ], note


def _facts(seed: int, *, simulated: bool) -> dict[str, Any]:
    """What runs have to have in common, to be compared."""
    import platform

    from schedtuna import __version__
    from schedtuna.agent.demo.running import nr_cpus

    return {
        "seed": seed,
        "simulated": simulated,
        "cpus": nr_cpus(),
        "kernel": "" if simulated else platform.release(),
        "version": __version__,
    }


def _tell_plans(plans: list[DemoPlan], total: int, seed: int, *, simulated: bool) -> str:
    if simulated:
        return f"{total} runs on a simulated machine; seed {seed}"
    minutes = sum(plan.expected_s for plan in plans) / 60
    return f"{total} runs, about {minutes:.1f} minutes; seed {seed}"


def _busy_before() -> float:
    """How much of the CPUs others use, before anything is started."""
    import time

    from schedtuna.record.procfs import SystemSampler

    sampler = SystemSampler(threads=False)
    time.sleep(1)
    return sampler.sample()[1]["cpu_percent"]


def _tell_busy(percent: float) -> str:
    if percent < _BUSY_PERCENT:
        return ""
    return f"other programs use {percent:.0f}% of the CPUs: the figures are noisier than on an idle machine"


def _summary(plan: DemoPlan, runs: list[DemoRun], results: list[ArmResult]) -> dict[str, Any]:
    from schedtuna.agent.demo.figures import verdicts

    return {
        "load": plan.load.name,
        "title": plan.load.title,
        "metric": plan.load.metric,
        "blocks": plan.nr_blocks,
        "arms": [_row(result) for result in sorted(results, key=lambda one: plan.arms.index(one.arm))],
        "verdicts": verdicts(runs, plan.load.metric, plan.load.work, plan.policies),
        "runs": [{**vars(run), "figures": dict(run.figures)} for run in runs],
    }


def _row(result: ArmResult) -> dict[str, Any]:
    import math

    return {
        name: {
            end: bound if math.isfinite(bound) else None
            for end, bound in (("value", value.value), ("low", value.low), ("high", value.high))
        }
        if hasattr(value, "low")
        else value
        for name, value in vars(result).items()
    }


def _text(shown: dict[str, Any]) -> str:
    from schedtuna.agent.demo.figures import Interval
    from schedtuna.cli.table import table, wrapped

    def interval(told: dict[str, float | None], *, percent: bool = False) -> str:
        if told["value"] is None:
            return "-"
        low = -float("inf") if told["low"] is None else told["low"]
        high = float("inf") if told["high"] is None else told["high"]
        return Interval(told["value"], low, high).tell(percent=percent)

    metric = shown["metric"]
    headings = ["ARM", *([f"{metric} to none's"] if metric else []), "work to none's"]
    headings += [*(["of the oracle's gain"] if metric else []), "changed", "loop's CPU"]
    rows = [
        [
            printable(arm["arm"]),
            *([interval(arm["latency"])] if metric else []),
            interval(arm["work"]),
            *([interval(arm["share"], percent=True)] if metric else []),
            f"{100 * arm['acted_on']:.0f}%",
            "-" if arm["own_cpu_percent"] is None else f"{arm['own_cpu_percent']:.2f}%",
        ]
        for arm in shown["arms"]
    ]
    title = f"{shown['load']}: {shown['title']} ({shown['blocks']} blocks, 95% intervals)"
    return "\n".join([wrapped(title), table(headings, rows), *(wrapped(line) for line in shown["verdicts"])])
