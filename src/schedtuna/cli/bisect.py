"""`schedtuna bisect`: which of a list of releases made the difference?"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from schedtuna.cli.bundles import bundled
from schedtuna.cli.common import FolderOptions, SidesOptions, WorkloadOptions, termination_interrupts
from schedtuna.cli.compare import DEFAULT, QuestionOptions, carry_out, posed, write_files
from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.errors import StudyError, UsageError

if TYPE_CHECKING:
    from schedtuna.backend.places.base import Place
    from schedtuna.evidence.result import Verdict
    from schedtuna.experiment.bisection import Bisection
    from schedtuna.experiment.comparison import Comparison
    from schedtuna.scheduler.spec import SchedulerConfig
    from schedtuna.workload.spec import Workload

app = typer.Typer(add_completion=False)

STATE_NAME, REPORT_NAME = "bisect.json", "report.html"
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
    where: SidesOptions,
    as_json: JsonOption = False,
) -> None:
    """Find the release, or kernel, that made COMMAND worse or better, by halves.

    Each step is a comparison with its own verdict, as of `compare`, the ends first and the two neighbours
    last. "As good" excludes a difference of --delta; a step that is too noisy ends the search.
    """
    from schedtuna.experiment.bisection import bisect as search

    length = question.length()
    if question.require:
        raise UsageError("--require is for one candidate", hint="leave it out, and use `compare` with it")
    command: list[str] = context.meta["command"]
    places = where.ready_list()
    workload = run.workload(command, places[0].nr_cpus())
    question = replace(question, metric=run.metrics(question.metric))
    if folder.resume is not None:
        _require_consent(folder.resume, list(workload.argv), trusted=folder.trust_folder)
    listed = _listed(releases or [], places)
    steps = _Steps.opened(listed, workload, question, folder, length)
    with termination_interrupts():
        found = search(len(listed), steps.compare)
    sentence = _sentence(found, steps)
    steps.write({"ended": str(found.ended), "sentence": sentence})
    _write_page(found, steps, sentence)
    if as_json:
        print_json(_summary(found, steps, sentence))
        return
    print(sentence)
    for made in steps.made:
        print(f"  {made.told}")
    print_remark("report", str(steps.folder / REPORT_NAME))


def _require_consent(folder: Path, command: list[str], *, trusted: bool) -> None:
    """Refuse to continue somebody else's search unasked."""
    from schedtuna.experiment.triallog import LOG_NAME
    from schedtuna.files import require_consent

    logs = [str(log.relative_to(folder)) for log in folder.glob(f"*/{LOG_NAME}")]
    require_consent(folder, [STATE_NAME, *logs], command, trusted=trusted)


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
            hint="give paths of binaries, settings as of `compare`, or --kernel repeatedly",
        )
    return [(places[0], places[0].scheduler(text)) for text in texts]


@dataclass
class _Made:
    """A comparison that was made, and what came of it."""

    default: int
    candidate: int
    folder: str
    told: str = ""
    verdict: str = ""


@dataclass
class _Steps:
    """Makes the comparisons of a search, each in a folder of its own, and remembers them."""

    folder: Path
    listed: list[tuple[Place, SchedulerConfig]]
    names: list[str]
    workload: Workload
    question: QuestionOptions
    length: dict[str, Any]
    seed: int
    made: list[_Made] = field(default_factory=list)

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
        from schedtuna.experiment.campaign import Question, choose_seed, new_results_folder

        labels = Question("bisect", listed).labels()
        if len(set(labels)) < len(labels):
            raise UsageError(f"expected different releases, not {', '.join(labels)}")
        if folder.resume is None:
            where = new_results_folder(folder.results, "bisect", workload.argv[0].rpartition("/")[2])
            return cls(where, listed, labels, workload, question, length, choose_seed(folder.seed))
        state = _read(folder.resume / STATE_NAME)
        if state["releases"] != labels:
            raise StudyError(
                f"{folder.resume} bisects {', '.join(state['releases'])}, not {', '.join(labels)}",
                hint="repeat the command that started it, or start anew",
            )
        seed = state["seed"] if folder.seed is None else folder.seed
        made = [_Made(**one) for one in state["comparisons"]]
        return cls(folder.resume, listed, labels, workload, question, length, seed, made)

    def compare(self, default: int, candidate: int) -> Verdict:
        """Compare two of the list, or read what came of it before."""
        from schedtuna.evidence.result import Verdict
        from schedtuna.experiment.campaign import open_campaign

        before = next((m for m in self.made if (m.default, m.candidate) == (default, candidate)), None)
        if before is not None and before.verdict:
            return Verdict(before.verdict)
        sides = [self.listed[default], self.listed[candidate]]
        asked, spec = posed(self.question, sides, self.workload, self.seed)
        resume = None if before is None else self.folder / before.folder
        if resume is not None and not resume.is_dir():
            resume = None
        if before is not None:
            self.made.remove(before)
        spec = spec.model_copy(update={"seed": self.seed + len(self.made)})  # each in an order of its own
        with open_campaign(asked, spec, results=self.folder, resume=resume) as campaign:
            made = _Made(default, candidate, campaign.folder.name)
            self.made.append(made)
            self.write({})
            comparison = carry_out(campaign, self.length, settle_worse=len(self.made) == 1)
            write_files(campaign, comparison)
        if comparison.interrupted:
            print_remark("interrupted", f"to continue, repeat the command with --resume {self.folder}")
            raise typer.Exit(130)
        verdict = _proven(comparison)
        made.verdict, made.told = str(verdict), comparison.sentence()
        self.write({})
        return verdict

    def write(self, more: dict[str, Any]) -> None:
        """Keep where the search stands."""
        from schedtuna.files import write_text

        state = {
            "version": 1,
            "releases": self.names,
            "command": list(self.workload.argv),
            "seed": self.seed,
            "comparisons": [vars(made) for made in self.made],
            **more,
        }
        write_text(self.folder / STATE_NAME, json.dumps(state, indent=2) + "\n")


def _proven(comparison: Comparison) -> Verdict:
    """The verdict; as good only where a difference is excluded, not where slow runs or failures count."""
    from schedtuna.evidence.result import Verdict

    verdict = comparison.verdict
    if verdict is Verdict.NO_EVIDENCE and (comparison.result.guard.blocked or comparison.costs_failures):
        return Verdict.TOO_NOISY
    return verdict


def _read(path: Path) -> dict[str, Any]:
    from schedtuna.configfile import parse_json

    try:
        state = parse_json(path.read_bytes())
        if state["version"] != 1:
            raise StudyError(f"{path} is of a newer version", hint="update Schedtuna")
        return {name: state[name] for name in ("releases", "seed", "comparisons")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{path} can't be read: {error}", hint="name a folder of `schedtuna bisect`"
        ) from None


def _sentence(found: Bisection, steps: _Steps) -> str:
    """Say the result in a sentence, and what it rests on in another."""
    from schedtuna.experiment.bisection import BisectionEnd

    names = steps.names
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
            f"{first} {kind} than {before}: perhaps it came in several steps. {rests}"
        )
    return f"{first} is the first that is {kind}: {before} still is as {names[0]}. {rests}"


def _summary(found: Bisection, steps: _Steps, sentence: str) -> dict[str, Any]:
    return {
        "study": str(steps.folder),
        "releases": steps.names,
        "ended": str(found.ended),
        "newer_is_worse": found.newer_is_worse,
        "before": steps.names[found.before],
        "first": steps.names[found.first],
        "error_bound": found.error_bound,
        "sentence": sentence,
        "comparisons": [vars(made) for made in steps.made],
        "seed": steps.seed,
        "report": str(steps.folder / REPORT_NAME),
    }


def _write_page(found: Bisection, steps: _Steps, sentence: str) -> None:
    from schedtuna.evidence.result import Verdict
    from schedtuna.experiment.bisection import BisectionEnd
    from schedtuna.report.page import Page, Section, Table, write

    tone = Verdict.TOO_NOISY
    if found.ended is BisectionEnd.FOUND:
        tone = Verdict.WORSE if found.newer_is_worse else Verdict.IMPROVED
    elif found.ended is BisectionEnd.NO_CHANGE:
        tone = Verdict.NO_EVIDENCE
    rows = [
        [steps.names[made.default], steps.names[made.candidate], made.verdict, made.told, made.folder]
        for made in steps.made
    ]
    page = Page(
        title=f"Bisection of {len(steps.names)} releases · {shlex.join(steps.workload.argv)}",
        tone=tone,
        verdict=sentence,
        facts=[("oldest", steps.names[0]), ("newest", steps.names[-1]), ("comparisons", str(len(rows)))],
        sections=[
            Section("Steps", table=Table(["default", "candidate", "verdict", "result", "folder"], rows)),
            Section("Releases", notes=steps.names),
        ],
        footer=f"Everything is in {steps.folder.resolve()}: {STATE_NAME}, and a folder per comparison.",
    )
    write(page, steps.folder / REPORT_NAME)
