"""Where do a comparison's runs come from? From the log, from the one machine, or from several at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from schedtuna.backend.base import Backend, PlannedRun, Side, Trial
from schedtuna.backend.machines import MachinesBackend
from schedtuna.errors import StudyError, UsageError
from schedtuna.evidence.design import Arm, BlockPlan
from schedtuna.experiment.sameness import Reference
from schedtuna.experiment.spread import BlockRest, BlockSpread
from schedtuna.experiment.triallog import TrialLog, TrialRecord
from schedtuna.experiment.viability import require_repeated
from schedtuna.workload.spec import RunSpec


class BlockMaker:
    """Runs the blocks' trials, or finds them in the log.

    Args:
        spec: What the runs have in common.
        sides: What each arm runs under, and where.
        log: Where runs are kept.
        plans: Of all blocks.
        phase: Name of these runs in the log.
        reference: What a run is held against to be of the same work.

    Raises:
        UsageError: One side is on several machines, and the other one elsewhere.
    """

    def __init__(
        self,
        spec: RunSpec,
        sides: Mapping[Arm, Side],
        log: TrialLog,
        plans: Sequence[BlockPlan],
        *,
        phase: str,
        reference: Reference,
    ) -> None:
        self._reference = reference
        self._spec = spec
        self._sides = sides
        self._may_differ = sides[Arm.A].is_exact  # whether that has yet to be seen
        self._log = log
        self._phase = phase
        self._spread = self._spread_over(plans)

    def _spread_over(self, plans: Sequence[BlockPlan]) -> BlockSpread | None:
        """What makes blocks on several machines; None where there is one.

        Raises:
            UsageError: One side is on several machines, and the other one elsewhere.
        """
        backend = self._sides[Arm.B].backend
        several = [side for side in self._sides.values() if isinstance(side.backend, MachinesBackend)]
        if not several:
            return None
        if not isinstance(backend, MachinesBackend) or any(
            side.backend is not backend for side in self._sides.values()
        ):
            raise UsageError(
                "several machines are one place, which is not compared with another one",
                hint="name them in one --backend, for both sides; or compare one machine with another one",
            )
        return BlockSpread(
            backend.machines, plans, rest=self._rest, run_one=self._run_one, tell=backend.lost.append
        )

    def _rest(self, number: int) -> BlockRest | None:
        """What is still to be run of a block; None: nothing."""
        nr_arms = len(self._sides)
        found = [self._log.find(self._phase, nr_arms * number + place) for place in range(nr_arms)]
        made = [record for record in found if record is not None]
        return None if len(made) == nr_arms else BlockRest(len(made), made[0].machine if made else "")

    def _run_one(self, backend: Backend, arm: Arm, plan: BlockPlan, place: int) -> Trial:
        scheduler = self._sides[arm].scheduler
        return backend.run(self._spec.workload, scheduler, seed=plan.seed, nth=place)

    def _made(self, number: int, plan: BlockPlan) -> Iterator[tuple[Trial, str]]:
        """Give the runs that a block lacks, one after the other, each with the name of its machine."""
        rest = self._rest(number)
        if rest is None:
            return
        if self._spread is not None:
            runs = self._spread.block(number)
            yield from ((trial, runs.machine) for trial in runs.trials)
            return
        for place, arm in enumerate(plan.order[rest.nr_made :], start=rest.nr_made):
            yield self._run_one(self._sides[arm].backend, arm, plan, place), ""

    def close(self) -> None:
        """End what is under way on other machines beyond the blocks that were asked for."""
        if self._spread is not None:
            self._spread.close()

    def is_begun(self, number: int) -> bool:
        """Whether this block was begun: by an earlier session, or ahead of its turn."""
        if self._spread is not None and self._spread.is_begun(number):
            return True
        return (self._phase, len(self._sides) * number) in self._log

    @property
    def backends(self) -> list[Backend]:
        """Where runs are made, each once."""
        return list({id(side.backend): side.backend for side in self._sides.values()}.values())

    def coming(self, plans: Sequence[BlockPlan], backend: Backend) -> Iterator[PlannedRun]:
        """Yield what a backend has yet to run, in order."""
        nr_arms = len(self._sides)
        for number, plan in enumerate(plans):
            for nth, arm in enumerate(plan.order):
                side = self._sides[arm]
                if side.backend is backend and (self._phase, nr_arms * number + nth) not in self._log:
                    yield side.planned(self._spec.workload, seed=plan.seed, nth=nth)

    def run(self, number: int, plan: BlockPlan) -> Iterator[TrialRecord]:
        """Yield the block's runs, each once it is in the log.

        Raises:
            StudyError: The log has another design's run in this place.
        """
        first = len(self._sides) * number
        made = self._made(number, plan)
        for index, arm in enumerate(plan.order, start=first):
            record = self._log.find(self._phase, index)
            if record is None:
                trial, machine = next(made)
                trial = self._reference.judged(trial)
                record = TrialRecord(
                    phase=self._phase, index=index, block=number, arm=arm, machine=machine, trial=trial
                )
                self._log.append(record)
            elif record.arm != arm or record.trial.seed != plan.seed:
                raise StudyError(
                    f"{self._log.folder}: run {index} of {self._phase} was planned with another seed",
                    hint="continue with the --seed that it was started with",
                )
            elif record.trial.values != self._sides[arm].scheduler.values:
                raise StudyError(
                    f"{self._log.folder}: run {index} of {self._phase} is of other settings, "
                    f"{record.trial.values}, than {self._sides[arm].label()}",
                    hint="continue as it was started, or start anew in another folder",
                )
            if arm is not Arm.B:
                self._reference.learn(record.trial)
                self._require_repeated(record.trial)
            yield record

    def _require_repeated(self, trial: Trial) -> None:
        """Run the default once more, in vain, where equal seeds are to be equal runs; once per command."""
        if self._may_differ:
            self._may_differ = False
            again = self._sides[Arm.A].run(self._spec.workload, seed=trial.seed)
            names = [spec.name for spec in self._spec.metrics]
            require_repeated(trial, again, [*names, *self._spec.required])
