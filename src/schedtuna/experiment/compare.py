"""Is candidate B better than A on this workload? Executes the design of `evidence` on a backend.

Blocks of {A, A again, B} run in random order, each with its own workload seed; the study looks at
its planned blocks and stops where a look decides. Orders and seeds follow from the study's seed
alone, so a comparison that was interrupted anywhere continues exactly as planned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from time import monotonic

import numpy as np

from schedtuna.backend.base import Side, Trial, Validity, foresee
from schedtuna.errors import MetricError, UsageError, nearest
from schedtuna.evidence.design import MAX_RUNS, Arm, BlockPlan, Design, minimum_blocks, plan_campaign
from schedtuna.evidence.requirements import CONFIDENCE, Judgement, Outcome, judge_requirement, least_runs
from schedtuna.evidence.result import tell_verdict
from schedtuna.evidence.sequential import Sequential
from schedtuna.evidence.several import composite
from schedtuna.evidence.shares import FailureShare, compare_shares
from schedtuna.evidence.verdict import DELTA, Block, Result, Verdict, judge
from schedtuna.experiment.block_maker import BlockMaker
from schedtuna.experiment.comparison import Comparison, Ended
from schedtuna.experiment.inforce import require_in_force, require_in_force_for
from schedtuna.experiment.machine_notes import machine_notes
from schedtuna.experiment.run_notes import run_notes
from schedtuna.experiment.sameness import Reference
from schedtuna.experiment.triallog import TrialLog, TrialRecord
from schedtuna.experiment.viability import (
    require_drawn,
    require_viable,
    require_working_arms,
)
from schedtuna.workload.parsers import OutputParser, find_parser
from schedtuna.workload.spec import Direction, RunSpec

__all__ = ["CompareProgress", "Comparison", "Ended", "blocks_within", "compare"]

PHASE = "comparison"
_STREAM = 3  # of the study's seed: the search has others
_TIME_SLACK = 0.9  # the part of a time limit that is planned for: runs may get slower
_MOST_BLOCKS = 400  # beyond, more time buys nothing worth knowing
_JUDGEMENTS = 2  # times that a requirement may be judged: after the verdict, and at the horizon


@dataclass(frozen=True)
class CompareProgress:
    """Where a comparison stands after a run.

    Attributes:
        done: Runs so far.
        total: Runs if no look decides earlier.
        record: The run that ended.
        noise_cv: Spread of single runs, from the two default arms; None at first.
        result: What a look found, if this run completed one; None otherwise.
        is_model: Whether the runs are a model's.
    """

    done: int
    total: int
    record: TrialRecord
    noise_cv: float | None
    result: Result | None
    is_model: bool = False

    @property
    def told_verdict(self) -> str:
        """What the look found, in a word; one of a model says so."""
        return "" if self.result is None else tell_verdict(self.result.verdict, is_model=self.is_model)


def compare(
    spec: RunSpec,
    a: Side,
    b: Side,
    *,
    log: TrialLog,
    budget: int | None = None,
    time_limit_s: float | None = None,
    delta: float = DELTA,
    settle_worse: bool = False,
    phase: str = PHASE,
    on_event: Callable[[CompareProgress], None] = lambda _event: None,
) -> Comparison:
    """Compare B with A, or continue where the log ends.

    Args:
        spec: What runs, what is optimised (several metrics are decided as one composite), the bounds that
            B must keep to count as improved, and the seed of the orders and of the workload's seeds.
        a: The default, on its backend, whose trials must have the metrics.
        b: The candidate, on the same backend or another one.
        log: Where runs are kept; those that it has are not repeated.
        budget: The most runs; default 81, or what the time limit has room for.
        time_limit_s: Start no block after this many seconds. Without a budget the horizon follows
            from the first block's duration, which is the same whichever arm ran when.
        delta: The relative gain that matters.
        settle_worse: Whether to go on until a loss of delta is excluded, too.
        phase: Name of these runs in the log.
        on_event: Told about every run.

    Raises:
        UsageError: The budget or the time can't carry a comparison.
        StudyError: Nothing works: the first runs, or all of one side, failed or were not under
            their settings; or the log has runs of another design.
        EvidenceError: Several metrics are combined and one is zero or negative.
        KeyboardInterrupt: Before the first block was complete; later the last look is reported.
    """
    if not spec.metrics:
        raise UsageError("no metric to compare by", hint="name one with --metric")
    design = Design.PAIRS if a.is_exact else Design.TRIPLES
    horizon = blocks_within(budget, design)
    reference = Reference()
    sides = {arm: b if arm is Arm.B else a for arm in design.arms}
    plans = plan_campaign(np.random.default_rng([spec.seed, _STREAM]), horizon or _MOST_BLOCKS, design)
    blocks = BlockMaker(spec, sides, log, plans, phase=phase, reference=reference)
    study = _Study(
        {arm: side.label() for arm, side in sides.items()},
        reference,
        spec,
        design=design,
        is_model=b.is_model,
        horizon=horizon,
        time_limit_s=time_limit_s,
        delta=delta,
        settle_worse=settle_worse,
        on_event=on_event,
    )
    with closing(blocks):
        ended = _run(blocks, plans, study, time_limit_s)
    if ended is not Ended.INTERRUPTED:
        require_working_arms(study.trials, b.label(), at_end=True)
    result = study.result()
    study.require_in_force(result)
    return Comparison(
        default=a.label(),
        candidate=b.label(),
        metrics=spec.metrics,
        result=result,
        each=study.each(result.blocks),
        requirements=study.judge(),
        records=tuple(study.records),
        ended=ended,
        warnings=(*study.by_machine(result.blocks), *run_notes(a, b, study.records)),
        failing=study.failing(find_parser(spec.workload)),
        is_model=b.is_model,
    )


def _run(blocks: BlockMaker, plans: Sequence[BlockPlan], study: _Study, time_limit_s: float | None) -> Ended:
    """Run block after block until the study is decided, or its runs or its time are used up."""
    clock = monotonic()
    for backend in blocks.backends:
        foresee(backend, blocks.coming(plans, backend))
    try:
        for number, plan in enumerate(plans):
            out_of_time = time_limit_s is not None and monotonic() - clock >= time_limit_s
            if number and out_of_time and not blocks.is_begun(number):
                return Ended.TIME
            for record in blocks.run(number, plan):
                study.add(record, plan)
            if study.should_stop():
                return Ended.BUDGET if study.is_complete() else Ended.DECIDED
    except KeyboardInterrupt:
        if not study.blocks:
            raise
        return Ended.INTERRUPTED
    return Ended.BUDGET


class _Study:
    """What the runs say so far; the horizon may have to wait for the first block's duration."""

    def __init__(
        self,
        labels: Mapping[Arm, str],
        reference: Reference,
        spec: RunSpec,
        *,
        design: Design,
        is_model: bool,
        horizon: int | None,
        time_limit_s: float | None,
        delta: float,
        settle_worse: bool,
        on_event: Callable[[CompareProgress], None],
    ) -> None:
        self.records: list[TrialRecord] = []
        self.blocks: list[Block] = []
        self.trials: list[dict[Arm, Trial]] = []
        self._labels = labels
        self._reference = reference
        self._metrics = spec.metrics
        self._requirements = spec.requirements
        self._confidence = 1 - (1 - CONFIDENCE) / (_JUDGEMENTS * max(1, len(spec.requirements)))
        self._design, self._is_model = design, is_model
        self._horizon = horizon
        self._time_limit_s = time_limit_s
        self._delta = delta
        self._settle_worse = settle_worse
        self._on_event = on_event
        self._direction = spec.metrics[0].direction if len(spec.metrics) == 1 else Direction.MIN
        self._sequential: Sequential | None = None

    def add(self, record: TrialRecord, plan: BlockPlan) -> None:
        """Take a run in; the last of a block completes it."""
        nr_arms = self._design.runs_per_block
        self.records.append(record)
        # A candidate's run before the default's first one could not be held against that yet.
        self.records[-nr_arms:] = map(self._judged, self.records[-nr_arms:])
        runs = [r.trial for r in self.records]
        require_in_force(self.records, self._labels)
        require_viable(runs, len(runs) + 1)
        found = None
        if len(self.records) % nr_arms == 0:
            found = self._complete(dict(zip(plan.order, runs[-nr_arms:], strict=True)), plan)
        total = nr_arms * (self._horizon or MAX_RUNS // nr_arms)
        noise_cv = found.noise_cv if found else _noise_cv(self.blocks)
        self._on_event(CompareProgress(len(runs), total, record, noise_cv, found, self._is_model))

    def _judged(self, record: TrialRecord) -> TrialRecord:
        return record.model_copy(update={"trial": self._reference.judged(record.trial)})

    def _complete(self, trials: dict[Arm, Trial], plan: BlockPlan) -> Result | None:
        """Add a complete block; return what a look found, where this one made one due."""
        if self._sequential is None:
            self._horizon = self._horizon or _horizon_in(self._time_limit_s, trials, self._design)
            self._sequential = Sequential(
                self._direction,
                max_blocks=self._horizon,
                delta=self._delta,
                settle_worse=self._settle_worse,
                design=self._design,
            )
        block = Block(plan.order, {arm: self._value(trial) for arm, trial in trials.items()})
        self.trials.append(trials)
        self.blocks.append(block)
        require_working_arms(self.trials, self._labels[Arm.B])
        if self._design is Design.PAIRS:
            require_drawn([trials[Arm.A] for trials in self.trials])
        if self._sequential.should_stop():
            return None  # decided: this block is for the requirements alone
        before = self._sequential.last_look
        self._sequential.add(block)
        return self._sequential.result() if self._sequential.last_look is not before else None

    def _value(self, trial: Trial) -> float | None:
        if len(self._metrics) > 1 and trial.validity is Validity.OK:
            return composite(self._metrics, trial.metrics)
        return _metric(trial, self._metrics[0].name)

    def should_stop(self) -> bool:
        """Whether a look decided and the requirements are settled, or the horizon is reached."""
        if self._sequential is None or not self._sequential.should_stop():
            return False
        return self.is_complete() or self._requirements_settled(self._sequential)

    def _requirements_settled(self, decided: Sequential) -> bool:
        """Judge an improvement's requirements once there are runs enough, or leave it to the horizon."""
        if not self._requirements or decided.result().verdict is not Verdict.IMPROVED:
            return True
        enough = max(len(decided.blocks), least_runs(self._confidence))
        return len(self.blocks) == enough and all(
            judged.outcome is not Outcome.UNDECIDED for judged in self.judge()
        )

    def is_complete(self) -> bool:
        """Whether the horizon is reached."""
        return len(self.blocks) == self._horizon

    def result(self) -> Result:
        """What the last look found; the first block must be complete."""
        assert self._sequential is not None
        return self._sequential.result()

    def require_in_force(self, result: Result) -> None:
        """End without a verdict where that would rest on runs without their settings."""
        require_in_force_for(result, self.blocks, self.trials, self._labels)

    def each(self, counted: int) -> dict[str, Result]:
        """What each of several metrics says by itself, over the blocks that count."""
        if len(self._metrics) == 1:
            return {}
        results = {}
        for spec in self._metrics:
            blocks = [
                Block(block.order, {arm: _metric(trial, spec.name) for arm, trial in trials.items()})
                for block, trials in zip(self.blocks[:counted], self.trials, strict=False)
            ]
            results[spec.name] = judge(blocks, spec.direction, delta=self._delta)
        return results

    def failing(self, parser: OutputParser | None) -> tuple[FailureShare, ...]:
        """Compare what failed of the work, by the counts that the command's parser has."""
        orders = [block.order for block in self.blocks]
        found = [
            compare_shares(
                row.field,
                row.what,
                orders,
                [{arm: row.share(trial.metrics) for arm, trial in trials.items()} for trials in self.trials],
            )
            for row in (parser.failures if parser else ())
        ]
        return tuple(share for share in found if share is not None)

    def by_machine(self, counted: int) -> list[str]:
        """Say what each of several machines found, over the blocks that count."""
        nr_arms = self._design.runs_per_block
        machines = [record.machine for record in self.records[::nr_arms]]
        return machine_notes(self.blocks[:counted], machines, self._direction, delta=self._delta)

    def judge(self) -> tuple[Judgement, ...]:
        """Judge the requirements on the candidate's runs, so that all hold at once with confidence."""
        runs = [trials[Arm.B] for trials in self.trials]
        return tuple(
            judge_requirement(
                rule, [_metric(trial, rule.metric) for trial in runs], confidence=self._confidence
            )
            for rule in self._requirements
        )


def _metric(trial: Trial, name: str) -> float | None:
    if trial.validity is not Validity.OK:
        return None
    if name not in trial.metrics:
        raise MetricError(f"the runs give no {name}: {nearest(name, trial.metrics)}")
    return trial.metrics[name]


def blocks_within(budget: int | None, design: Design = Design.TRIPLES) -> int | None:
    """Return how many blocks a budget of runs has; None where it is not known yet.

    The least is the same in both designs: 4 blocks of three, 6 of two.

    Raises:
        UsageError: So few that nothing could be decided.
    """
    if budget is None:
        return None
    least = design.runs_per_block * minimum_blocks(design=design)
    if budget < least:
        raise UsageError(
            f"a budget of {budget} runs can't carry a comparison: expected at least {least}",
            hint="81 runs find a gain of 5% on a machine with 5% noise",
        )
    return budget // design.runs_per_block


def _horizon_in(time_limit_s: float | None, first_block: Mapping[Arm, Trial], design: Design) -> int:
    """How many blocks a time limit has room for, by the duration of the first one."""
    if time_limit_s is None:
        return MAX_RUNS // design.runs_per_block
    block_s = sum(trial.duration_s for trial in first_block.values())
    possible = int(_TIME_SLACK * time_limit_s / max(block_s, 1e-3))
    if possible < (least := minimum_blocks(design=design)):
        needed_s = least * block_s / _TIME_SLACK
        raise UsageError(
            f"{time_limit_s:.0f} s can't carry a comparison: {len(first_block)} runs took {block_s:.1f} s",
            hint=f"allow at least {math.ceil(needed_s)} s; four times as long makes sense",
        )
    return min(possible, _MOST_BLOCKS)


def _noise_cv(blocks: Sequence[Block]) -> float | None:
    """Spread of single runs by the default's pairs, on the log scale; None where it can't be told."""
    pairs = [(block.values[Arm.A], block.values.get(Arm.A2)) for block in blocks]
    ratios = [math.log(x / y) for x, y in pairs if x is not None and y is not None and x > 0 and y > 0]
    return math.sqrt(sum(r * r for r in ratios) / (2 * len(ratios))) if len(ratios) > 1 else None
