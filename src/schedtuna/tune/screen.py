"""What would the model try? Settings by the thousand, in a minute, before the first run.

What it finds steers the search: its best is tried first, and its answers are a prior of which runs teach the
sampler how far to trust it. It never enters the claim.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from schedtuna.errors import SimulationError, UsageError
from schedtuna.history.objective import Objective
from schedtuna.history.plan import PastRun, Screen
from schedtuna.space import ParameterSpace, ParameterValue
from schedtuna.trace.aggregates.metrics import SCHED_METRICS
from schedtuna.tune.replica import FINISH, Replica
from schedtuna.workload.spec import Direction, MetricSpec

Values = dict[str, ParameterValue]

MOST_SETTINGS = 1000
MOST_S = 60.0
KEPT = 300  # settings that steer the search
NR_SEEDS = 2  # of a load that draws
_LEAST_SETTINGS = 200  # that fit into the time, of a load that is cut
_DRAWN = 0.4  # of the settings are drawn from the whole space, the others near the best
_BEST = 10
_LEAST_SPREAD = 0.005  # of costs, below which the model knows no difference
_TRIES = 20
_OWN = {
    "wall_time_s": FINISH,
    "cpu_time_s": "cpu_time_ns",
    "nr_voluntary_switches": "nr_voluntary",
    "nr_involuntary_switches": "nr_involuntary",
}
_LATENCIES = ("latency", "delay", "late", "p50", "p90", "p95", "p99", "max", "wait")
_STATISTICS = {"p50": "p50", "p90": "p90", "p95": "p90", "p999": "p999", "mean": "mean", "avg": "mean"}


@dataclass(frozen=True)
class Figure:
    """What stands for a metric in the model.

    Attributes:
        name: Of `Analysis.overall()`, or `FINISH`.
        direction: Which way it is better.
        is_same: Whether it is that metric.
    """

    name: str
    direction: Direction
    is_same: bool


def figure_for(spec: MetricSpec) -> Figure:
    """Return what stands for a metric: the same figure, or one that moves as it mostly does.

    A tail or a delay is the tasks' wakeup latency; other times are until the command's last task exits; what
    is better when it is more is better where tasks wait less for a CPU.
    """
    if spec.name in SCHED_METRICS:
        return Figure(SCHED_METRICS[spec.name].column, spec.direction, is_same=True)
    if spec.name in _OWN:
        return Figure(_OWN[spec.name], spec.direction, is_same=True)
    if spec.direction is Direction.MAX:
        return Figure("run_delay_ns", Direction.MIN, is_same=False)
    if any(word in spec.name.lower() for word in _LATENCIES):
        statistic = next((s for word, s in _STATISTICS.items() if word in spec.name.lower()), "p99")
        return Figure(f"wakeup_latency_{statistic}_ns", Direction.MIN, is_same=False)
    return Figure(FINISH, Direction.MIN, is_same=False)


def screen(
    replica: Replica,
    space: ParameterSpace,
    metrics: Sequence[MetricSpec],
    *,
    load: str,
    seed: int,
    most: int = MOST_SETTINGS,
    most_s: float = MOST_S,
    progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> tuple[Screen, list[str]]:
    """Try settings in the model.

    Args:
        replica: The model of what runs.
        space: What is searched.
        metrics: What is optimised.
        load: What the load is called.
        seed: Of the settings, and of what the load draws.
        most: Settings that are tried at most.
        most_s: Seconds after which no more are.
        progress: Told how many settings were tried, and of how many.

    Returns:
        What the model said, and what to know of it: sentences.

    Raises:
        UsageError: The model knows none of the parameters, or the load can't be simulated.
        SimulationError: Not even with the default settings.
    """
    if not replica.parameters:
        raise UsageError(
            f"the model knows none of what is tuned: {', '.join(space.names)}",
            hint="leave --screen out; docs/tuning.md lists what it knows",
        )
    if not replica.has_tasks:
        raise UsageError("no task of the command is in the recording", hint="name another one: --load TRACE")
    judge = _Judge.of(replica, space, metrics, seed, most_s / _LEAST_SETTINGS)
    tried: dict[tuple[ParameterValue, ...], tuple[float, Values]] = {}
    end_s = time.monotonic() + most_s
    rng = np.random.default_rng([seed, 4])
    for nr, values in enumerate(_settings(space, replica.parameters, tried, rng, most)):
        cost = judge.cost(values)
        if cost is not None:
            tried[space.key(values)] = cost, values
        progress(nr + 1, most)
        if time.monotonic() > end_s:
            break
    ranked = sorted(tried.values(), key=lambda row: row[0])
    found = Screen(
        load=load,
        figures={spec.name: figure.name for spec, figure in judge.figures.items()},
        parameters=replica.parameters,
        nr_settings=len(tried),
        runs=tuple(_kept(space, ranked)),
    )
    return found, [*judge.notes, *_told(space, found, ranked)]


class _Judge:
    """Puts settings on the scale of the default, by figures of the model."""

    def __init__(
        self, replica: Replica, figures: Mapping[MetricSpec, Figure], seeds: Sequence[int], notes: list[str]
    ) -> None:
        self.figures, self.notes = figures, notes
        self._replica, self._seeds = replica, seeds
        self._specs = [
            spec.model_copy(update={"direction": figure.direction}) for spec, figure in figures.items()
        ]
        self._objectives: list[Objective] = []

    @classmethod
    def of(
        cls,
        replica: Replica,
        space: ParameterSpace,
        metrics: Sequence[MetricSpec],
        seed: int,
        longest_s: float,
    ) -> _Judge:
        """Return one that has seen the default; a load of which a run takes longer is cut."""
        default, notes = space.default(), list[str]()
        figures = {spec: figure_for(spec) for spec in metrics}
        if any(each.name == FINISH for each in figures.values()):
            replica.go_on_to_its_end()
        seeds = [seed + k for k in range(NR_SEEDS)] if replica.is_drawn else [seed]
        begun = time.monotonic()
        reference = replica.run(default, seed=seeds[0])
        took_s = (time.monotonic() - begun) * len(seeds)
        if took_s > longest_s and replica.end_ns is not None:
            replica.end_ns = max(1, int(replica.end_ns * longest_s / took_s))
            notes.append(f"the model takes the first {replica.end_ns / 1e9:.3g} s of the recording")
            reference = replica.run(default, seed=seeds[0])
        for spec, figure in figures.items():
            if reference.get(figure.name) is None:
                figures[spec] = Figure("run_delay_ns", Direction.MIN, is_same=False)
        judge = cls(replica, figures, seeds, notes)
        for each in seeds:
            judge._objectives.append(Objective.from_baseline(judge._specs, [judge._values(default, each)]))
        notes += [
            f"in the model {figure.name.removesuffix('_ns')} stands for {spec.name}"
            for spec, figure in figures.items()
            if not figure.is_same
        ]
        return judge

    def cost(self, values: Values) -> float | None:
        """Return what a setting costs, in the mean over seeds; None: it can't be simulated."""
        try:
            return float(
                np.mean(
                    [
                        objective.cost(self._values(values, seed))
                        for objective, seed in zip(self._objectives, self._seeds, strict=True)
                    ]
                )
            )
        except SimulationError:
            return None

    def _values(self, values: Values, seed: int) -> dict[str, float]:
        found = self._replica.run(values, seed=seed)
        # What has not come to its end takes longer than all that was simulated.
        missing = float(self._replica.end_ns or 0)
        told = {spec: found[figure.name] for spec, figure in self.figures.items()}
        return {spec.name: missing if value is None else float(value) for spec, value in told.items()}


def _settings(
    space: ParameterSpace,
    known: Sequence[str],
    tried: Mapping[tuple[ParameterValue, ...], tuple[float, Values]],
    rng: np.random.Generator,
    most: int,
) -> Iterator[Values]:
    """Yield settings of what the model knows: draws, then changes of those that were best so far."""
    fixed = {spec.name: spec.default for spec in space.specs if spec.name not in known}
    yielded = set()
    default = space.default()
    yield default
    for nr in range(1, most):
        for _ in range(_TRIES):
            if nr < _DRAWN * most or not tried:
                values = space.sample(rng)
            else:
                best = sorted(tried.values(), key=lambda row: row[0])[:_BEST]
                values = _changed(space, best[int(rng.integers(len(best)))][1], rng)
            values = space.repair(values | fixed)
            if space.key(values) not in yielded and values != default:
                break
        else:
            return
        yielded.add(space.key(values))
        yield values


def _changed(space: ParameterSpace, values: Values, rng: np.random.Generator) -> Values:
    """Return an assignment with one or two coordinates moved, near or far."""
    point = space.to_unit(values)
    moved = rng.permutation(len(point))[: 1 + int(rng.integers(2))]
    point[moved] = np.clip(point[moved] + 10.0 ** rng.uniform(-2, 0) * rng.standard_normal(len(moved)), 0, 1)
    return space.from_unit(point)


def _kept(space: ParameterSpace, ranked: Sequence[tuple[float, Values]]) -> Iterator[PastRun]:
    """Yield the better half of what steers the search, and others evenly; nothing where all are alike."""
    costs = [cost for cost, _ in ranked]
    if not costs or max(costs) - min(costs) < _LEAST_SPREAD:
        return
    others = ranked[KEPT // 2 :]
    for cost, values in [*ranked[: KEPT // 2], *others[:: max(1, -(-2 * len(others) // KEPT))]]:
        yield PastRun(study="sim", values=space.changed(values), cost=cost)


def _told(space: ParameterSpace, found: Screen, ranked: Sequence[tuple[float, Values]]) -> Iterator[str]:
    which = f"{found.nr_settings:,} settings of {', '.join(found.parameters)}"
    if not found.runs:
        yield f"{which} were tried in the model, where they make no difference: the search goes on without it"
    else:
        cost, values = ranked[0]
        best = ", ".join(f"{name}={value}" for name, value in space.changed(values).items())
        told = f"the best is {np.expm1(cost):+.1%}: {best}" if best else "nothing is better than the default"
        yield f"{which} were tried in the model, where {told}; runs tell how far that is right"
    unknown = [name for name in space.names if name not in found.parameters]
    if unknown:
        yield f"the model knows nothing of {', '.join(unknown)}: they are searched as without it"
