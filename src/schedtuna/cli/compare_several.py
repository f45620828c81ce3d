"""`schedtuna compare A B C ...` on a simulated machine: which of several schedulers for this load?"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from schedtuna.cli.output import print_json, print_remark
from schedtuna.cli.table import table, wrapped
from schedtuna.errors import StudyError, UsageError, naming
from schedtuna.files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schedtuna.backend.places.base import Place
    from schedtuna.cli.common import FolderOptions
    from schedtuna.cli.compare_options import QuestionOptions
    from schedtuna.experiment.campaign import Campaign
    from schedtuna.experiment.comparison import Comparison
    from schedtuna.scheduler.spec import SchedulerConfig
    from schedtuna.workload.spec import RunSpec

RESULT_NAME = "comparisons.json"


@dataclass(frozen=True)
class ComparedScheduler:
    """What was found of one.

    Attributes:
        scheduler: It.
        comparison: With the default; None: it works in no run.
        why_not: Then, why.
        ran: Of a sched_ext object: how many of its instructions ran in one more run of the load, and how many
            it has.
    """

    scheduler: SchedulerConfig
    comparison: Comparison | None
    why_not: str
    ran: tuple[int, int] | None

    @property
    def verdict(self) -> str:
        """The verdict's word."""
        return "failed" if self.comparison is None else self.comparison.told_verdict

    @property
    def rank(self) -> tuple[bool, float]:
        """The better, the less."""
        from schedtuna.workload.spec import Direction

        if self.comparison is None:
            return True, 0.0
        ratio, is_less = self.comparison.result.effect.ratio, self.comparison.direction is Direction.MIN
        return False, ratio if is_less else -ratio


def compare_each(campaign: Campaign, length: Mapping[str, Any]) -> list[ComparedScheduler]:
    """Compare every side of an open campaign but the first with the first; the best comes first.

    One that the modelled kernel ends, or that needs what there is not, is no reason to stop.
    """
    from schedtuna.cli.progress import CampaignProgress
    from schedtuna.experiment.compare import PHASE
    from schedtuna.experiment.compare import compare as run_comparison

    found, default = [], campaign.sides[0]
    with CampaignProgress(campaign, "compare") as progress:
        for side in campaign.sides[1:]:
            name = side.scheduler.label()
            comparison, why_not = None, ""
            try:
                comparison = run_comparison(
                    campaign.spec,
                    default,
                    side,
                    log=campaign.log,
                    phase=f"{PHASE} of {name}",
                    on_event=progress.show,
                    **length,
                )
            except StudyError as error:
                why_not = str(error)
            found.append(
                ComparedScheduler(side.scheduler, comparison, why_not, _ran(campaign, side.scheduler))
            )
            if comparison is not None and comparison.interrupted:
                raise KeyboardInterrupt
    return sorted(found, key=lambda one: one.rank)


def _ran(campaign: Campaign, scheduler: SchedulerConfig) -> tuple[int, int] | None:
    """How much of an object's code one run of the load reaches."""
    from schedtuna.backend.places.simulated import Simulated
    from schedtuna.backend.simulated import load_of
    from schedtuna.errors import SchedtunaError
    from schedtuna.sim.simulation import Simulation

    place = campaign.asked.sides[0][0]
    if scheduler.binary_path is None or not isinstance(place, Simulated):
        return None
    try:
        simulation = Simulation(
            load_of(campaign.spec.workload),
            scheduler,
            topology=place.shape,
            costs=dict(place.costs),
            seed=campaign.spec.seed,
            coverage=True,
        )
        simulation.run()
    except SchedtunaError:
        return None
    rows = simulation.executed().values()
    return sum(ran for ran, _ in rows), sum(count for _, count in rows)


def _begins_with(campaign: Campaign, scheduler: SchedulerConfig) -> str:
    """Whose values an object begins with; of others nothing."""
    from schedtuna.backend.places.simulated import Simulated
    from schedtuna.sim.objects import object_facts

    place = campaign.asked.sides[0][0]
    if scheduler.binary_path is None or not isinstance(place, Simulated):
        return "-"
    return (
        "its own values"
        if object_facts(scheduler.binary_path, place.shape)["settings"] is None
        else "its loader's"
    )


def show(campaign: Campaign, found: list[ComparedScheduler]) -> None:
    """Print one table, and how to confirm the best."""
    from schedtuna.experiment.comparison import tell_effect

    rows = []
    for one in found:
        code = "-" if one.ran is None else f"{one.ran[0] / max(one.ran[1], 1):.0%} of {one.ran[1]:,}"
        effect = "-" if one.comparison is None else tell_effect(one.comparison.result.effect)
        pairs = "-" if one.comparison is None else str(one.comparison.result.pairs)
        begins = _begins_with(campaign, one.scheduler)
        rows.append([one.scheduler.label(), one.verdict, effect, pairs, begins, code])
    metric = next((one.comparison.metric for one in found if one.comparison is not None), "effect")
    default = campaign.sides[0].label()
    print(
        table(
            ["scheduler", "verdict", f"{metric} against {default}", "pairs", "begins with", "code that ran"],
            rows,
        ),
        end="\n\n",
    )
    for one in found:
        if one.why_not:
            print_remark("note", one.why_not)
    print_remark("note", f"all of this is {campaign.asked.sides[0][0].caveat}")
    print(
        wrapped(
            f"{len(found)} verdicts, each by itself at 5%: of several, the best looks better than it is. "
            "What did not run was not tried."
        )
    )
    for line in confirmations(campaign, found):
        print_remark("confirm", line)


def confirmations(campaign: Campaign, found: list[ComparedScheduler]) -> list[str]:
    """Return the commands that confirm the best on a machine, and in a guest of the lab."""
    from schedtuna.evidence.result import Verdict

    place = campaign.asked.sides[0][0]
    improved = [
        one for one in found if one.comparison is not None and one.comparison.verdict is Verdict.IMPROVED
    ]
    if not improved:
        return []
    command = place.confirmation(campaign.sides[0].scheduler, improved[0].scheduler, campaign.spec)
    start = "schedtuna compare "
    in_guest = [f"{start}--backend vm {command.removeprefix(start)}"] if command.startswith(start) else []
    return [command, *in_guest]


def document(campaign: Campaign, found: list[ComparedScheduler]) -> dict[str, Any]:
    """Return all that was found, for programs."""
    return {
        "study": str(campaign.folder),
        "workload": campaign.spec.workload.title,
        "default": campaign.sides[0].label(),
        "seed": campaign.spec.seed,
        "candidates": [
            {
                "scheduler": one.scheduler.label(),
                "verdict": one.verdict,
                "why_not": one.why_not or None,
                "instructions_ran": None if one.ran is None else {"ran": one.ran[0], "of": one.ran[1]},
                "comparison": None if one.comparison is None else one.comparison.summary(),
            }
            for one in found
        ],
        "warnings": list(campaign.sides[0].backend.warnings),
        "confirm": confirmations(campaign, found),
    }


def compare_several(
    sides: Sequence[tuple[Place, SchedulerConfig]],
    spec: RunSpec,
    question: QuestionOptions,
    folder: FolderOptions,
    *,
    as_json: bool,
) -> None:
    """Compare each side but the first with the first, and print what was found.

    Raises:
        UsageError: A scheduler is named twice.
    """
    from schedtuna.experiment.campaign import Question, how_to_continue, open_campaign

    labels = [scheduler.label() for _, scheduler in sides]
    if len(set(labels)) < len(labels):
        raise UsageError("a scheduler is named twice", hint="name each once")
    identity = {"schedulers": " ".join(labels), **question.identity(spec)}
    names = ("compare", f"{len(labels) - 1}-schedulers", spec.workload.title)
    asked, length = Question("compare several", sides, identity, names), question.length()
    with open_campaign(asked, spec, results=folder.results, resume=folder.resume) as campaign:
        try:
            found = compare_each(campaign, length)
        except KeyboardInterrupt:
            print_remark("interrupted", how_to_continue(campaign.folder), file=sys.stderr)
            raise typer.Exit(130) from None
        told = document(campaign, found)
        with naming(campaign.folder):
            write_text(campaign.folder / RESULT_NAME, json.dumps(told, indent=2) + "\n")
        if as_json:
            print_json(told)
        else:
            show(campaign, found)
