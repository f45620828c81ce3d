"""`schedtuna demo`: what it is good for, shown on this machine in a few minutes."""

from __future__ import annotations

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
def agent(
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
    blocks: Annotated[
        int | None,
        typer.Option(
            "--blocks", min=2, max=100, help="Runs of each arm. Default: 4, or 3.", show_default=False
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
    import numpy as np

    from schedtuna.agent.demo.figures import results_of
    from schedtuna.agent.demo.running import run_plan
    from schedtuna.cli.progress import RunProgress
    from schedtuna.experiment.campaign import choose_seed

    seed = choose_seed(seed)
    plans, note = _plans(policy, load, blocks, seed)
    rng = np.random.default_rng(seed)
    shown: list[dict[str, Any]] = []
    busy_percent = _busy_before()
    total = sum(len(plan.arms) * plan.nr_blocks for plan in plans)
    with termination_interrupts(), RunProgress("demo", total) as progress:
        progress.say(
            f"{total} runs, about {sum(plan.expected_s for plan in plans) / 60:.1f} minutes; seed {seed}"
        )
        for remark in (note, _tell_busy(busy_percent)):
            if remark:
                progress.say(remark)
        done = 0

        def count(run: DemoRun) -> None:
            nonlocal done
            done += 1
            progress.update(done, total, note=run.arm)

        for plan in plans:
            runs = run_plan(plan, rng, count)
            shown.append(_summary(plan, runs, results_of(runs, plan.load.metric, plan.load.work)))
    if as_json:
        print_json({"seed": seed, "busy_before_percent": busy_percent, "loads": shown})
        return
    print("\n\n".join(_text(one) for one in shown))


def _plans(
    policy: list[str] | None, load: list[str] | None, blocks: int | None, seed: int
) -> tuple[list[DemoPlan], str]:
    """Return what to run, and what to say of a policy that is left out."""
    from schedtuna.agent.demo.loads import LOADS
    from schedtuna.agent.demo.running import DemoPlan, known_policies

    for name in load or ():
        if name not in LOADS:
            raise UsageError(f"there is no load {name!r}: {nearest(name, LOADS)}")
    policies, note = known_policies(policy or ())
    chosen = [LOADS[name] for name in LOADS if not load or name in load]
    return [DemoPlan(one, tuple(policies), blocks or one.nr_blocks, seed) for one in chosen], note


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
            f"{arm['own_cpu_percent']:.2f}%",
        ]
        for arm in shown["arms"]
    ]
    title = f"{shown['load']}: {shown['title']} ({shown['blocks']} blocks, 95% intervals)"
    return "\n".join([wrapped(title), table(headings, rows), *(wrapped(line) for line in shown["verdicts"])])
