"""`schedtuna bisect`: which of a list of releases made the difference?"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from schedtuna.cli.bundles import bundled
from schedtuna.cli.common import FolderOptions, WorkloadOptions, termination_interrupts
from schedtuna.cli.compare import DEFAULT, REPORT_NAME, carry_out, posed, write_files
from schedtuna.cli.compare_options import QuestionOptions
from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.cli.places import ListOptions
from schedtuna.errors import UsageError

if TYPE_CHECKING:
    from schedtuna.backend.places.base import Place
    from schedtuna.evidence.result import Verdict
    from schedtuna.experiment.bisection import Bisection
    from schedtuna.experiment.bisection_file import BisectionFile, Made
    from schedtuna.experiment.campaign import Question
    from schedtuna.experiment.comparison import Comparison
    from schedtuna.scheduler.spec import SchedulerConfig
    from schedtuna.workload.spec import RunSpec, Workload

app = typer.Typer(add_completion=False)

FEWEST = 2


class _ListCommand(TyperCommand):
    """Takes what stands after ``--`` as the command, and all before as the list."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["command"] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])


@app.command(cls=_ListCommand)
@bundled
def bisect(
    context: typer.Context,
    releases: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RELEASE...",
            help="Oldest first, each as A of `compare`; then `-- COMMAND`. Beside several --kernel: one.",
            show_default=False,
        ),
    ] = None,
    *,
    question: QuestionOptions,
    folder: FolderOptions,
    run: WorkloadOptions,
    where: ListOptions,
    as_json: JsonOption = False,
) -> None:
    """Find the release, or kernel, that made COMMAND worse or better, by halves.

    Each step is a comparison with its own verdict, as of `compare`, the ends first and the two neighbours
    last; --budget and --time are for each of them. "As good" excludes a difference of --delta; a step that
    is too noisy ends the search.
    """
    from schedtuna.experiment.bisection import bisect as search

    length = question.length()
    command: list[str] = context.meta["command"]
    places = [place.fitting(run.named) for place in where.ready_places()]
    workload = run.workload(command, places[0])
    question = replace(question, metric=run.metrics(question.metric, places[0]))
    if folder.resume is not None:
        _require_consent(folder.resume, list(workload.argv), trusted=folder.trust_folder)
    listed = _listed(releases or [], places)
    steps = _Steps.opened(listed, workload, question, folder, length)
    try:
        with termination_interrupts():
            found = search(len(listed), steps.compare)
    finally:
        steps.forget_if_empty(fresh=folder.resume is None)
    steps.keep_only(found)
    sentence = _sentence(found, steps)
    steps.state.ended, steps.state.sentence = str(found.ended), sentence
    steps.state.write(steps.folder)
    _write_page(found, steps, sentence)
    if as_json:
        print_json(_summary(found, steps, sentence))
        return
    print(sentence)
    for made in steps.state.comparisons:
        print(f"  {made.told}")
    print_remark("report", str(steps.folder / REPORT_NAME))


def _require_consent(folder: Path, command: list[str], *, trusted: bool) -> None:
    """Refuse to continue somebody else's search unasked."""
    from schedtuna.experiment.bisection_file import FILE_NAME
    from schedtuna.experiment.triallog import LOG_NAME
    from schedtuna.files import require_consent

    logs = [str(log.relative_to(folder)) for log in folder.glob(f"*/{LOG_NAME}")]
    require_consent(folder, [FILE_NAME, *logs], command, trusted=trusted)


def _listed(texts: list[str], places: list[Place]) -> list[tuple[Place, SchedulerConfig]]:
    """What is searched: schedulers at one place, or one at several."""
    if len(places) > 1:
        if len(texts) > 1:
            raise UsageError(
                "several releases and several kernels: what differs would have two causes",
                hint="name one release, or one --kernel",
            )
        return [(place, place.scheduler(texts[0] if texts else DEFAULT)) for place in places]
    if len(texts) < FEWEST:
        raise UsageError(
            f"expected {FEWEST} or more releases, oldest first: bisect OLD ... NEW -- COMMAND",
            hint="give files that define them, settings as of `compare`, or --kernel repeatedly",
        )
    return [(places[0], places[0].scheduler(text)) for text in texts]


@dataclass
class _Steps:
    """Makes the comparisons of a search, each in a folder of its own, and remembers them."""

    folder: Path
    listed: list[tuple[Place, SchedulerConfig]]
    workload: Workload
    question: QuestionOptions
    length: dict[str, Any]
    state: BisectionFile

    @classmethod
    def opened(
        cls,
        listed: list[tuple[Place, SchedulerConfig]],
        workload: Workload,
        question: QuestionOptions,
        folder: FolderOptions,
        length: dict[str, Any],
    ) -> _Steps:
        """Begin a search, or continue the one in a folder."""
        from schedtuna.experiment.bisection_file import BisectionFile, read_bisection
        from schedtuna.experiment.campaign import Question, choose_seed, new_results_folder

        labels = Question("bisect", listed).labels()
        if len(set(labels)) < len(labels):
            raise UsageError(f"expected different releases, not {', '.join(labels)}")
        spec = question.spec(workload, 0)
        asked = question.identity(spec) | {
            "workload": workload.model_dump_json(exclude_defaults=True),
            "limits": json.dumps(spec.limits),
        }
        where = folder.resume
        if where is None:
            where = new_results_folder(folder.results, "bisect", workload.argv[0].rpartition("/")[2])
            state = BisectionFile(releases=labels, asked=asked, seed=choose_seed(folder.seed))
        else:
            state = read_bisection(where, releases=labels, asked=asked)
            if folder.seed is not None:
                state.seed = folder.seed
        return cls(where, listed, workload, question, length, state)

    def compare(self, default: int, candidate: int) -> Verdict:
        """Compare two of the list, or read what came of it before."""
        from schedtuna.experiment.bisection_file import Made
        from schedtuna.experiment.campaign import open_campaign

        begun = self.state.comparisons
        number = next(
            (n for n, m in enumerate(begun) if (m.default, m.candidate) == (default, candidate)), len(begun)
        )
        sides = [self.listed[default], self.listed[candidate]]
        asked, spec = posed(self.question, sides, self.workload, self.state.seed)
        spec = spec.model_copy(update={"seed": self.state.seed + number})  # each in an order of its own
        before = (
            begun[number] if number < len(begun) and self._still_holds(begun[number], asked, spec) else None
        )
        if before is not None and before.verdict is not None:
            return before.verdict
        resume = None if before is None else self.folder / before.folder
        is_first = number == 0
        with open_campaign(asked, spec, results=self.folder, resume=resume) as campaign:
            made = Made(default=default, candidate=candidate, folder=campaign.folder.name)
            begun[number:] = [made, *begun[number + 1 :]]
            self.state.write(self.folder)
            comparison = carry_out(campaign, self.length, settle_worse=is_first, to_continue=self.folder)
            write_files(campaign, comparison)
        if comparison.interrupted:
            raise typer.Exit(130)
        made.verdict, made.told = _proven(comparison, both_ways=is_first), comparison.sentence()
        self.state.write(self.folder)
        return made.verdict

    def _still_holds(self, made: Made, asked: Question, spec: RunSpec) -> bool:
        """Whether a step's runs are of what it would run now; says so where not."""
        from schedtuna.experiment.campaign import changed_since

        folder = self.folder / made.folder
        if not folder.is_dir():
            why = f"{folder} is gone"
        elif changed := changed_since(folder, asked, spec):
            why = f"changed since: {', '.join(changed)}"
        else:
            return True
        default, candidate = (self.state.releases[place] for place in (made.default, made.candidate))
        text = f"{candidate} against {default} is measured again, {why}"
        print_remark("note", text, file=sys.stderr)
        return False

    def keep_only(self, found: Bisection) -> None:
        """Forget what other programs than today's have led to."""
        steps = {(step.default, step.candidate) for step in found.steps}
        made = self.state.comparisons
        self.state.comparisons = [one for one in made if (one.default, one.candidate) in steps]

    def forget_if_empty(self, *, fresh: bool) -> None:
        """Remove a fresh folder of which nothing came, as each comparison does with its own."""
        from schedtuna.errors import UntrustedError
        from schedtuna.files import remove_folder

        if fresh and not any((self.folder / made.folder).is_dir() for made in self.state.comparisons):
            with suppress(OSError, UntrustedError):
                remove_folder(self.folder)


def _proven(comparison: Comparison, *, both_ways: bool) -> Verdict:
    """The verdict; as good only where a difference is excluded, not where slow runs or failures count.

    Args:
        comparison: What was found.
        both_ways: Whether as good excludes a loss, too.
    """
    from schedtuna.evidence.result import Verdict
    from schedtuna.evidence.verdict import excludes_loss

    verdict, result = comparison.verdict, comparison.result
    if verdict is not Verdict.NO_EVIDENCE:
        return verdict
    differs = result.guard.blocked or comparison.costs_failures or (both_ways and not excludes_loss(result))
    return Verdict.TOO_NOISY if differs else verdict


def _sentence(found: Bisection, steps: _Steps) -> str:
    """Say the result in a sentence, and what it rests on in another."""
    from schedtuna.experiment.bisection import BisectionEnd

    names = steps.state.releases
    delta = f"{steps.question.delta:.0%}"
    before, first = names[found.before], names[found.first]
    kind = "worse" if found.newer_is_worse else "better"
    if found.ended is BisectionEnd.NO_CHANGE:
        return f"{names[-1]} is as good as {names[0]}: a difference of {delta} or more is excluded."
    if found.newer_is_worse is None:
        return f"Too noisy to tell {names[-1]} from {names[0]}, so there is nothing to search for."
    rests = (
        f"{len(found.steps)} verdicts led here: wrong with a probability of {found.error_bound:.0%} at most, "
        "if the figure changed but once."
    )
    if found.ended is BisectionEnd.UNDECIDED:
        return (
            f"{names[-1]} is {kind} than {names[0]}; since which release after {before}, up to {first}, "
            "is too noisy to tell."
        )
    if found.ended is BisectionEnd.UNCONFIRMED:
        return (
            f"{names[-1]} is {kind} than {names[0]}; the search points to {first}, but the runs don't prove "
            f"{first} {kind} than {before}: perhaps it came in several steps, or is of less than {delta}. "
            f"{rests}"
        )
    if not found.before:
        return f"{first} is the first that is {kind} than {before}, the oldest. {rests}"
    still = f"{before} is not {kind} than {names[0]} by {delta} or more"
    return f"{first} is the first that is {kind}: {still}. {rests}"


def _summary(found: Bisection, steps: _Steps, sentence: str) -> dict[str, Any]:
    names = steps.state.releases
    return {
        "study": str(steps.folder),
        "releases": names,
        "ended": str(found.ended),
        "newer_is_worse": found.newer_is_worse,
        "before": names[found.before],
        "first": names[found.first],
        "error_bound": found.error_bound,
        "sentence": sentence,
        "comparisons": [made.model_dump(mode="json") for made in steps.state.comparisons],
        "seed": steps.state.seed,
        "report": str(steps.folder / REPORT_NAME),
    }


def _write_page(found: Bisection, steps: _Steps, sentence: str) -> None:
    from schedtuna.evidence.result import Verdict
    from schedtuna.experiment.bisection import BisectionEnd
    from schedtuna.experiment.bisection_file import FILE_NAME
    from schedtuna.report.page import Page, Section, Table, write

    names = steps.state.releases
    tone = Verdict.TOO_NOISY
    if found.ended is BisectionEnd.FOUND:
        tone = Verdict.WORSE if found.newer_is_worse else Verdict.IMPROVED
    elif found.ended is BisectionEnd.NO_CHANGE:
        tone = Verdict.NO_EVIDENCE
    rows = [
        [names[made.default], names[made.candidate], str(made.verdict), made.told, made.folder]
        for made in steps.state.comparisons
    ]
    page = Page(
        title=f"Bisection of {len(names)} releases · {steps.workload.title}",
        tone=tone,
        verdict=sentence,
        facts=[("oldest", names[0]), ("newest", names[-1]), ("comparisons", str(len(rows)))],
        sections=[
            Section("Steps", table=Table(["default", "candidate", "verdict", "result", "folder"], rows)),
            Section("Releases", notes=names),
        ],
        footer=f"Everything is in {steps.folder.resolve()}: {FILE_NAME}, and a folder per comparison.",
    )
    write(page, steps.folder / REPORT_NAME)
