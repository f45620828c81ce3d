"""Makes runs on the workers of a Ray cluster, ahead of whoever asks for them; Ray is nowhere else.

A worker is an actor with a CPU of its own; it opens the place and makes runs one after the other. Simulated
runs follow from their seeds, so those of a worker that died are made anew, and nobody could tell. Another
machine makes its runs one at a time and in the order asked for, through one worker: a run whose worker died
is over, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from schedtuna.backend.agent_client import error_of
from schedtuna.backend.base import Backend, PlannedRun, Trial, Validity
from schedtuna.backend.places.base import Place
from schedtuna.errors import SchedtunaError, StudyError, UnavailableError, UsageError
from schedtuna.experiment.campaign import OpenPlace
from schedtuna.fleet.dispatch import Batch, Dispatch, LostRun, Pace
from schedtuna.fleet.sameness import Facts, differences, facts_here
from schedtuna.fleet.worker import FleetWorker, Greeting, WorkerAnswer
from schedtuna.rl.ray_cluster import connected, nr_cpus, require_ray
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import RunSpec, Workload

FEATURE, EXTRA = "spreading runs over Ray", "fleet"
KINDS = ("sim", "http")
MOST_WORKERS = 256
PATIENCE_S = 120.0  # without any worker
MOST_STILLBORN = 3  # workers in a row that died before they had said anything
_BATCHES_EACH = 2  # one is made, and one waits, so that no worker does
_LOOK_S = 1.0


def spread_over(address: str, places: Iterable[Place]) -> OpenPlace:
    """Return what opens places so that a Ray cluster makes their runs.

    Args:
        address: Of the cluster: see `connected`.
        places: What will be opened.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: Runs of a place can't be made elsewhere.
    """
    require_ray(FEATURE, EXTRA)
    for place in places:
        if place.kind not in KINDS:
            raise UsageError(
                f"--ray spreads simulated runs, or has another machine asked: {place.label} is neither",
                hint="leave --ray out: several machines make their runs at once without it"
                if place.is_several
                else "--backend sim, or --backend http://HOST:8787",
            )

    @contextmanager
    def open_place(
        place: Place, spec: RunSpec, schedulers: Sequence[SchedulerConfig], turned: Iterable[str], /
    ) -> Iterator[Backend]:
        with (
            place.open(spec, schedulers, turned) as here,
            connected(address, FEATURE, EXTRA),
            FleetBackend(here, place, spec, schedulers, tuple(turned)) as backend,
        ):
            yield backend

    return open_place


@dataclass
class _Hired:
    actor: Any
    node: str = ""


class FleetBackend:
    """The workers of the cluster that this process is connected to.

    Args:
        here: The place, opened in this process.
        place: What each worker opens.
        spec: What the runs have in common.
        schedulers: What they are under.
        turned: Names of what a search will vary.

    Attributes:
        name: Of the kind of place.
        identity: What the runs' numbers depend on: not on who makes them.
        warnings: What to know; also of workers that died meanwhile.

    Raises:
        UnavailableError: No worker begins, or one would not make the same runs as this process.
    """

    def __init__(
        self,
        here: Backend,
        place: Place,
        spec: RunSpec,
        schedulers: Sequence[SchedulerConfig],
        turned: Sequence[str],
    ) -> None:
        self.name = here.name
        self.identity: Mapping[str, str] = here.identity
        self.warnings: list[str] = list(here.warnings)
        self._is_spread = place.is_model
        self._facts: Facts = facts_here(place, spec, here)
        self._greeted_with = (place, spec, list(schedulers), list(turned))
        self._dispatch: Dispatch[PlannedRun, WorkerAnswer] = Dispatch(may_repeat=place.is_model)
        self._pace = Pace()
        self._hired: dict[int, _Hired] = {}
        self._greetings: dict[Any, int] = {}  # what Ray will answer -> worker
        self._batches: dict[Any, tuple[int, Batch[PlannedRun]]] = {}
        self._nr_hired = self._nr_stillborn = 0
        self._has_measured = False
        self._last_seen_s = time.monotonic()

    def __enter__(self) -> Self:
        for _ in range(min(nr_cpus(), MOST_WORKERS) if self._is_spread else 1):
            self._hire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import ray

        for hired in self._hired.values():
            with suppress(Exception):  # the cluster may be gone, and them with it
                ray.kill(hired.actor)
        self._hired.clear()

    def foresee(self, runs: Iterable[PlannedRun]) -> None:
        """Make these runs ahead, where nothing is lost if nobody asks for them."""
        if self._is_spread:
            self._dispatch.foresee(runs)

    def run(self, workload: Workload, scheduler: SchedulerConfig, *, seed: int, nth: int = 0) -> Trial:
        """Return the run's trial, as soon as a worker has made it.

        Raises:
            UnavailableError: There is no worker any more.
            StudyError: Workers die of this run.
            SchedtunaError: What the run ended in, on its worker.
        """
        asked = PlannedRun(workload, scheduler, seed, nth)
        ticket = self._dispatch.want(asked)
        while (answer := self._dispatch.take(ticket)) is None:
            self._keep_busy()
            self._look()
        return self._trial(answer, asked)

    def _trial(self, answer: WorkerAnswer | LostRun, asked: PlannedRun) -> Trial:
        if isinstance(answer, LostRun):
            return self._lost_trial(answer, asked)
        self.warnings += [text for text in answer.warnings if text not in self.warnings]
        trial = answer.trial
        if trial is None and self._has_measured:
            trial = answer.if_measured
        if trial is None:
            assert answer.problem is not None
            raise error_of(answer.problem.kind, answer.problem.message, answer.problem.hint)
        self._has_measured |= trial.validity is Validity.OK
        return trial

    def _lost_trial(self, lost: LostRun, asked: PlannedRun) -> Trial:
        if self._is_spread:
            raise StudyError(
                f"{lost.nr_deaths} workers died, one after the other, over the run of seed {asked.seed} "
                f"under {asked.scheduler.label()}",
                hint="is there memory enough for it on every node? Ray's log says what ended them",
            )
        return Trial(
            scheduler=asked.scheduler.name,
            values=asked.scheduler.values,
            seed=asked.seed,
            validity=Validity.FAILED,
            reason="interrupted: the worker that waited for it died, and how it ended is not known",
            started_at=time.time(),
            exit_code=None,
        )

    def _hire(self) -> None:
        import ray

        self._nr_hired += 1
        actor = ray.remote(FleetWorker).options(num_cpus=1, max_restarts=0, max_task_retries=0).remote()
        self._hired[self._nr_hired] = _Hired(actor)
        self._greetings[actor.greet.remote(*self._greeted_with)] = self._nr_hired

    def _keep_busy(self) -> None:
        """Hand runs out: first to those who have none."""
        idle = [number for number, hired in self._hired.items() if hired.node]
        nr_runs = self._pace.nr_runs
        self._dispatch.fill(_BATCHES_EACH * nr_runs * max(1, len(idle)))
        for depth in range(_BATCHES_EACH):
            for number in idle:
                if self._dispatch.nr_out(number) == depth and (
                    batch := self._dispatch.hand_out(number, nr_runs)
                ):
                    answer = self._hired[number].actor.run.remote(list(batch.runs))
                    self._batches[answer] = number, batch

    def _look(self) -> None:
        """Wait until a worker says something, but not for ever."""
        import ray

        awaited = [*self._greetings, *self._batches]
        ready, _ = ray.wait(awaited, num_returns=1, timeout=_LOOK_S) if awaited else ([], [])
        for answer in ready:
            number = self._greetings.pop(answer, None)
            if number is not None:
                self._greet(number, answer)
            else:
                self._take_back(answer)
        if ready or any(hired.node for hired in self._hired.values()):
            self._last_seen_s = time.monotonic()
        elif time.monotonic() - self._last_seen_s > PATIENCE_S:
            raise UnavailableError(
                f"no worker of the Ray cluster has begun for {PATIENCE_S:.0f} s: {nr_cpus()} CPUs are "
                "there, and none is free",
                hint="`ray status` says who has them; what was found so far is kept: --resume goes on",
            )

    def _greet(self, number: int, answer: Any) -> None:
        greeting = self._said(answer)
        if not isinstance(greeting, Greeting):
            self._nr_stillborn += 1
            if self._nr_stillborn >= MOST_STILLBORN:
                raise UnavailableError(
                    f"Ray's workers die as they begin: {greeting}",
                    hint="is Schedtuna installed on every node, in the Python that Ray runs?",
                )
            self._replace(number)
            return
        if greeting.problem is not None:
            problem = greeting.problem
            raise error_of(problem.kind, f"on {greeting.node}: {problem.message}", problem.hint)
        assert greeting.facts is not None
        if told := differences(self._facts, greeting.facts):
            raise UnavailableError(
                f"a worker on {greeting.node} would not make the same runs: {'; '.join(told)}",
                hint="install the same versions on every node, and put the load's file there, by the same "
                "path",
            )
        self._nr_stillborn = 0
        self._hired[number].node = greeting.node

    def _take_back(self, answer: Any) -> None:
        number, batch = self._batches.pop(answer)
        if number not in self._hired:
            return  # it died, which was noticed by another of its batches
        found = self._said(answer)
        if not isinstance(found, list):
            self._bury(number)
            return
        for one in found:
            if one.trial is not None:
                self._pace.learn(one.trial.duration_s)
        self._dispatch.returned(batch.number, found)

    def _bury(self, number: int) -> None:
        """Note that a worker died, and hire another one: on what node is Ray's to find."""
        node = self._hired[number].node
        nr_lost = self._dispatch.lost(number)
        then = "made anew" if self._is_spread else "interrupted"
        self.warnings.append(f"a worker on {node} died; {nr_lost} of its runs are {then}")
        self._replace(number)

    def _replace(self, number: int) -> None:
        import ray

        with suppress(Exception):  # it is dead already, or can't be reached
            ray.kill(self._hired[number].actor)
        del self._hired[number]
        self._hire()

    def _said(self, answer: Any) -> Any:
        """Return what a worker answered; the reason, as a text, where it died instead.

        Raises:
            SchedtunaError: What went wrong there is a mistake in Schedtuna.
        """
        import ray

        try:
            return ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            raise SchedtunaError(f"a worker failed: {str(error).strip().splitlines()[-1]}") from error
        except ray.exceptions.RayError as error:
            return " ".join(str(error).split())
