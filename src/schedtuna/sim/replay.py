"""What if this had run under another scheduler? A recording, replayed under two of them.

Each figure is told with how far off the model is of the very trace, and only where it does not depend on
why tasks woke up: in an open and in a closed loop (see `loops`) it must change to the same side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from schedtuna.errors import TraceError, UsageError, nearest
from schedtuna.sim.recorded import Decision, LoopChoice, RecordedLoad
from schedtuna.sim.schedulers import SchedulerSource, scheduler_text
from schedtuna.sim.topology import MachineShape
from schedtuna.sim.traced import simulate
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.labels import LabelRule
from schedtuna.trace.trace import Trace

Figures = Mapping[str, float | None]

METRICS = ("wakeup_latency_mean_ns", "wakeup_latency_p99_ns", "run_delay_ns", "nr_switches")
NEGLIGIBLE = 0.01  # a change below it is none
_OWN_NOISE = ("irq_per_s", "kthread_per_s")  # of a machine; a trace has what it did as its own


@dataclass(frozen=True)
class ReplayedFigure:
    """What becomes of a figure under another scheduler.

    Attributes:
        metric: Its name.
        recorded: In the trace; None: there is none. The same holds for the others.
        model: In the model under the scheduler of the trace.
        other: In the model under the other one.
        changes: Of it in the model, as a share, by loop.
    """

    metric: str
    recorded: float | None
    model: float | None
    other: float | None
    changes: Mapping[str, float | None]

    @property
    def error(self) -> float | None:
        """How far the model is off the trace itself, as a share, signed."""
        return change(self.recorded, self.model)

    @property
    def is_contradicted(self) -> bool:
        """Whether the loops disagree about the side to which it changes."""
        known = [each for each in self.changes.values() if each is not None]
        return bool(known) and min(known) < -NEGLIGIBLE and max(known) > NEGLIGIBLE


@dataclass(frozen=True)
class Replay:
    """A replay's answers.

    Attributes:
        load: What was replayed.
        against: The scheduler that the trace is from, as a manifest has it.
        scheduler: The other one.
        shape: The machine.
        costs: Its constants.
        answers: One per metric.
        decisions: Why the tasks in question are taken to have woken up.
        trace: The replay under the other one.
    """

    load: RecordedLoad
    against: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    shape: MachineShape
    costs: Mapping[str, int]
    answers: Sequence[ReplayedFigure]
    decisions: Sequence[Decision]
    trace: Trace


def replay(
    load: RecordedLoad,
    scheduler: SchedulerSource,
    *,
    against: SchedulerSource | None = None,
    metrics: Sequence[str] = METRICS,
    comm: str | None = None,
    cpus: int | None = None,
    topology: str | None = None,
    costs: Mapping[str, int] | None = None,
    output: Path | None = None,
    force: bool = False,
) -> Replay:
    """Replay a recording under the scheduler that it is from, and under another one.

    Args:
        load: The recording.
        scheduler: The other one.
        against: The one that it is from. Default: as the trace says, else ``fair``.
        metrics: Names of figures of `Analysis.overall()`; the unit at their end may be left out.
        comm: Whose: of tasks with such a name, as a shell pattern. Default: everybody's.
        cpus: As for `Simulation`. Default of these three: what a simulated trace was made with.
        topology: As above.
        costs: As above.
        output: A folder for the replay under the other one.
        force: Replace a trace there.

    Raises:
        UsageError: There is no such scheduler, metric, machine, or the folder holds something.
    """
    facts = load.trace.manifest.get("simulation", {})
    if cpus is None and topology is None:
        topology = facts.get("topology")
    machine: dict[str, Any] = {"cpus": cpus, "topology": topology}
    machine["costs"] = facts.get("costs", {}) | dict.fromkeys(_OWN_NOISE, 0) | dict(costs or {})
    against = against or scheduler_of(load.trace)
    recorded = figures(load.analysis, comm)
    names = [figure_name(metric, recorded) for metric in metrics]
    before, after = (
        simulate(load, against, **machine),
        simulate(load, scheduler, **machine, trace=output, force=force),
    )
    pairs = {load.loop: (_figures(before, comm), _figures(after, comm))}
    others: tuple[LoopChoice, ...] = ("open", "closed")
    for loop in others:
        if loop not in pairs:
            same = load.with_loop(loop)
            pairs[loop] = (
                _figures(simulate(same, against, **machine), comm),
                _figures(simulate(same, scheduler, **machine), comm),
            )
    model, other = pairs[load.loop]
    answers = [
        ReplayedFigure(
            name,
            recorded[name],
            model[name],
            other[name],
            {loop: change(a[name], b[name]) for loop, (a, b) in pairs.items()},
        )
        for name in names
    ]
    made = before.manifest["simulation"], after.manifest["simulation"]
    shape = MachineShape.parse(made[0]["topology"])
    return Replay(
        load,
        made[0]["scheduler"],
        made[1]["scheduler"],
        shape,
        made[0]["costs"],
        answers,
        [each for each in load.decisions if comm is None or fnmatchcase(each.task, comm)],
        after,
    )


def scheduler_of(trace: Trace) -> str:
    """Return the scheduler that a trace is from: ``fair`` unless it says another one of the simulator's."""
    facts = trace.manifest.get("simulation", {})
    if facts.get("swaps"):
        raise TraceError(
            "the trace is of more than one scheduler", hint="name the one to compare with: --against"
        )
    told = facts.get("scheduler", {"name": "fair", "parameters": {}})
    return scheduler_text(str(told["name"]), told["parameters"])


def cross_errors(
    load: RecordedLoad,
    real: Trace,
    scheduler: SchedulerSource,
    metrics: Sequence[str] = METRICS,
    *,
    comm: str | None = None,
    **machine: Any,
) -> dict[str, float | None]:
    """Return how far a replay under another scheduler is off the same load's recording under it.

    Args:
        load: Recorded under one scheduler.
        real: The same load, recorded under another one.
        scheduler: That one, for the model.
        metrics: As for `replay`.
        comm: As for `replay`.
        machine: `cpus`, `topology`, `costs`, as for `simulate`.

    Returns:
        Per metric (replayed - real) / real; None: one of them has no such figure.
    """
    truth, replayed = _figures(real, comm), _figures(simulate(load, scheduler, **machine), comm)
    names = [figure_name(metric, truth) for metric in metrics]
    return {name: change(truth[name], replayed[name]) for name in names}


def figures(analysis: Analysis, comm: str | None = None) -> Figures:
    """Return the figures of all tasks together, or of those with such a name.

    Raises:
        UsageError: No task has such a name.
    """
    if comm is None:
        return analysis.overall()
    analysis.trace.label([LabelRule(label="chosen", comm=comm)])
    chosen = [row for row in analysis.by("label").dicts() if row.pop("name") == "chosen"]
    if not chosen:
        raise UsageError(f"no task is called {comm!r}", hint="`schedtuna stats` shows their names")
    return chosen[0]


def figure_name(metric: str, figures: Figures) -> str:
    """Return the full name of a figure.

    Raises:
        UsageError: There is none of that name.
    """
    for name in (metric, f"{metric}_ns"):
        if name in figures:
            return name
    raise UsageError(f"there is no metric {metric!r}: {nearest(metric, figures)}")


def change(before: float | None, after: float | None) -> float | None:
    """Return by which share a figure changes; None: nobody knows."""
    if before is None or after is None:
        return None
    if before == after:
        return 0.0
    return (after - before) / before if before else None


def _figures(trace: Trace, comm: str | None) -> Figures:
    return figures(Analysis(trace), comm)
