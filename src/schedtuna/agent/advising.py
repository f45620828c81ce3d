"""What would an agent have changed in a recording, and what would that have brought?"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from schedtuna.agent.contract import (
    SENSED_DTYPE,
    AgentPolicy,
    ExpectedEffect,
    Intent,
    IntentProofs,
    Need,
    RunningScheduler,
    Sensed,
    Standing,
)
from schedtuna.errors import UsageError
from schedtuna.trace.states import TaskState

if TYPE_CHECKING:
    from schedtuna.sim.recorded import RecordedLoad
    from schedtuna.trace.analysis import Analysis
    from schedtuna.trace.trace import Trace

Waits = npt.NDArray[np.int64]  # in nanoseconds

MOST_ADVICE = 3
_INTERVALS = 20  # of the same: more than any policy that ships counts
# Of the threads that are not changed; the first one that gains is told, else the first.
_METRICS: dict[str, Callable[[npt.NDArray[np.integer[Any]]], float]] = {
    "wakeup_latency_p99_us": lambda values_ns: float(np.percentile(values_ns, 99)) / 1e3,
    "wakeup_latency_mean_us": lambda values_ns: float(values_ns.mean()) / 1e3,
}
_POLICIES = {"OTHER": 0, "BATCH": 3, "IDLE": 5, "FIFO": 1, "RR": 2, "DEADLINE": 6, "EXT": 0}


@dataclass(frozen=True)
class Advice:
    """One change that is proposed.

    Attributes:
        id: The same for the same change of the same threads.
        setting: A knob's name.
        new: What to set it to.
        threads: Names, and how many threads have each.
        reason: Why.
        expected: What it brings, by a study to its load, by a replay to the threads that are not changed;
            None: unknown.
        why_unknown: Why that is not known; empty where it is.
        model: What the simulated machine says, certified or not: the ratio's bounds; None where it was not
            asked, or has no answer.
        intents: What it is made of.
    """

    id: str
    setting: str
    new: Any
    threads: dict[str, int]
    reason: str
    expected: ExpectedEffect | None
    why_unknown: str
    model: tuple[float, float] | None
    intents: tuple[Intent, ...]

    def tell(self) -> str:
        """It, for people."""
        names = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in self.threads.items())
        if self.expected is not None:
            low, high = self.expected.ratio_low, self.expected.ratio_high
            whose = "" if self.intents[0].proof else " of the others"
            effect = f"{self.expected.metric}{whose} x{low:.2f} to x{high:.2f} ({self.expected.basis})"
        else:
            effect = f"unknown ({self.why_unknown})"
        change = f"{self.id}: set {self.setting} to {self.new} of {names}"
        return f"{change}, because {self.reason}; expected: {effect}"


@dataclass(frozen=True)
class AdviceOfTrace:
    """What a recording leads to.

    Attributes:
        advice: At most `MOST_ADVICE`, the one that concerns most CPU time first.
        dropped: What the policy would change and the simulated machine sees no gain in, for people.
    """

    advice: Sequence[Advice]
    dropped: Sequence[str]


def advise_on(
    path: Path, policy: AgentPolicy, *, allow_lost: bool = False, proofs: IntentProofs | None = None
) -> AdviceOfTrace:
    """Advise by a recording.

    Args:
        path: A trace of events; it is not changed.
        policy: Decides.
        allow_lost: Accept a trace that lost events.
        proofs: Say what past studies have proven.

    Raises:
        TraceError: It is no trace, or does not tell what tasks did.
        UsageError: The policy needs more than a recording has.
    """
    from schedtuna.errors import TraceError
    from schedtuna.trace.analysis import Analysis
    from schedtuna.trace.store import open_trace

    require_advising(policy)
    trace = open_trace(path)
    analysis = Analysis(trace, allow_lost=allow_lost)
    sensed = sensed_of(analysis)
    wanted = decided(policy, sensed)
    groups = grouped(wanted if proofs is None else proofs.judge(wanted, sensed), analysis)
    load: RecordedLoad | None = None
    problem = ""
    if any(_proven(intents) is None for intents in groups[:MOST_ADVICE]):
        from schedtuna.sim.recorded import RecordedLoad

        try:
            load = RecordedLoad(trace, allow_lost=allow_lost)
        except TraceError as error:
            problem = f"it can't be replayed: {error}"
    advice, dropped = [], []
    for intents in groups[:MOST_ADVICE]:
        one = _judged(intents, load, problem)
        if one.model is not None and one.model[1] >= 1:
            told = f"x{one.model[0]:.2f} to x{one.model[1]:.2f}"
            dropped.append(f"{one.setting} {one.new}: no gain is shown by a replay ({told})")
        else:
            advice.append(one)
    return AdviceOfTrace(advice, dropped)


def sensed_of(analysis: Analysis) -> Sensed:
    """Return a recording as one interval."""
    from schedtuna.trace import metrics

    measured, table = analysis.measured, analysis.trace.tasks
    number = len(measured.tid)
    columns = metrics.table(measured, np.arange(number), number)
    rows = analysis.row_of_task
    known = np.flatnonzero((rows >= 0) & measured.exists)
    cgroups = sorted({name for name in table["cgroup"].to_list() if name})
    ids = {name: place + 1 for place, name in enumerate(cgroups)}
    tasks = np.zeros(len(known), SENSED_DTYPE)
    length_ns = analysis.end_ns - analysis.start_ns
    named = table.rows(named=True)
    for place, task in enumerate(known.tolist()):
        row, out = named[int(rows[task])], tasks[place]
        out["tid"], out["tgid"], out["ppid"] = row["tid"], row["tgid"] or 0, row["ppid"] or 0
        out["start_time_ns"] = max(row["start_time_ns"] or 0, 0)
        out["comm"] = (row["comm"] or "").encode()[:15]
        out["cgroup_id"] = ids.get(row["cgroup"], 0)
        out["nice"] = row["nice"] if row["nice"] is not None and -20 <= row["nice"] <= 19 else 0
        out["policy"] = _POLICIES.get(row["policy"] or "OTHER", 0)
        out["is_kernel_thread"] = bool(row["is_kthread"])
        out["weight"], out["slice_ns"] = row["weight"] or 0, row["slice_ns"] or 0
        out["observed_ns"] = length_ns
    for name in ("cpu_time_ns", "run_delay_ns", "nr_voluntary", "nr_involuntary"):
        tasks[name] = tasks[f"total_{name}"] = np.nan_to_num(np.asarray(columns[name], np.float64))[known]
    order = np.argsort(tasks["tid"], kind="stable")
    return Sensed(
        number=0,
        start_ns=analysis.start_ns,
        end_ns=analysis.end_ns,
        tasks=tasks[order],
        cgroups={id_: name for name, id_ in ids.items()},
        machine={},
        kernel={},
        scheduler=RunningScheduler("eevdf"),
    )


def decided(policy: AgentPolicy, sensed: Sensed) -> list[Intent]:
    """Return what a policy wants once it has seen the same often enough."""
    standing: dict[str, Standing] = {}
    wanted: list[Intent] = []
    for number in range(_INTERVALS):
        wanted = policy.decide(replace(sensed, number=number), standing)
    return wanted


def grouped(intents: Sequence[Intent], analysis: Analysis) -> list[list[Intent]]:
    """Return intents that say the same together, those of most CPU time first."""
    groups: dict[tuple[str, Any, str], list[Intent]] = {}
    for intent in intents:
        groups.setdefault((intent.setting, intent.new, intent.reason), []).append(intent)
    measured = analysis.measured
    spent = dict(zip(measured.tid.tolist(), measured.time_ns[:, TaskState.RUNNING].tolist(), strict=True))

    def weight(group: list[Intent]) -> float:
        return float(sum(spent.get(intent.target.tid, 0) for intent in group))

    return sorted(groups.values(), key=weight, reverse=True)


def _judged(intents: list[Intent], load: RecordedLoad | None, problem: str) -> Advice:
    first = intents[0]
    expected, why, model = _proven(intents), problem, None
    if expected is None and load is not None:
        expected, why, model = _replayed(intents, load)
    names = Counter(intent.target.comm or intent.target.cgroup for intent in intents)
    told = "".join(sorted(intent.id for intent in intents))
    return Advice(
        hashlib.sha256(told.encode()).hexdigest()[:10],
        first.setting,
        first.new,
        dict(names.most_common()),
        first.reason,
        expected,
        why,
        model,
        tuple(intents),
    )


def _proven(intents: Sequence[Intent]) -> ExpectedEffect | None:
    """What studies that hold expect, the same of all; None where one of them has none."""
    effects = {intent.expected for intent in intents}
    return effects.pop() if len(effects) == 1 else None


def _replayed(
    intents: list[Intent], load: RecordedLoad
) -> tuple[ExpectedEffect | None, str, tuple[float, float] | None]:
    """What the simulated machine says of a change: the effect where it is certified, why not, the bounds."""
    from schedtuna.fidelity.envelope import certification
    from schedtuna.sim.changed import SIMULATED_SETTINGS, ChangedLoad
    from schedtuna.sim.recorded import LOOPS
    from schedtuna.sim.replay import scheduler_of
    from schedtuna.sim.traced import simulate

    first = intents[0]
    if first.setting not in SIMULATED_SETTINGS or first.target.kind != "thread":
        return None, f"{first.setting} can't be simulated", None
    facts = load.trace.manifest.get("simulation", {})
    if facts.get("swaps"):
        return None, "the recording is of more than one scheduler", None
    scheduler, costs = scheduler_of(load.trace), facts.get("costs", {}) | {"irq_per_s": 0, "kthread_per_s": 0}
    changes = {(one.target.tid, one.target.start_time_ns): {one.setting: one.new} for one in intents}
    waits = [_recorded_waits(load.analysis, {one.target.tid for one in intents})]
    pairs: list[tuple[Waits, Waits]] = []
    made, own = {}, 0
    for loop in LOOPS:
        same = load if loop == load.loop else load.with_loop(loop)
        before, after = (
            simulate(
                ChangedLoad(same, changes, is_applied=applied),
                scheduler,
                topology=facts.get("topology"),
                costs=costs,
            )
            for applied in (False, True)
        )
        if loop == load.loop:
            made, own = before.manifest["simulation"], len(pairs)
        pairs.append((_simulated_waits(before), _simulated_waits(after)))
    if not all(len(one) for one in (*waits, *(one for pair in pairs for one in pair))):
        return None, "the threads that are not changed have no wakeups", None
    metric, bounds = _told(waits[0], pairs, own)
    certified = certification(made["topology"], made["scheduler"], made["costs"])
    if not certified.is_certified:
        told = f"{metric} x{bounds[0]:.2f} to x{bounds[1]:.2f}"
        return None, f"the simulated machine says {told}, and is {certified.text}", bounds
    basis = f"replayed in the simulated machine, {certified.text}; as wide as it is off the recording itself"
    return ExpectedEffect(metric, *bounds, basis), "", bounds


def _told(recorded: Waits, pairs: Sequence[tuple[Waits, Waits]], own: int) -> tuple[str, tuple[float, float]]:
    """The metric to tell, and bounds of its ratio.

    Args:
        recorded: Waits in the recording.
        pairs: In the model, without and with the change, by loop.
        own: Which loop is the recording's.
    """
    found = {}
    for metric, figure in _METRICS.items():
        ratios = [max(figure(after), 1e-3) / max(figure(before), 1e-3) for before, after in pairs]
        wide = math.exp(abs(math.log(max(figure(pairs[own][0]), 1e-3) / max(figure(recorded), 1e-3))))
        found[metric] = min(ratios) / wide, max(ratios) * wide
    return next(((metric, one) for metric, one in found.items() if one[1] < 1), next(iter(found.items())))


def _simulated_waits(trace: Trace) -> Waits:
    from schedtuna.sim.changed import KEPT
    from schedtuna.trace.analysis import Analysis

    analysis = Analysis(trace)
    return _waits(analysis, np.flatnonzero([name == KEPT for name in analysis.comms]))


def _recorded_waits(analysis: Analysis, changed: set[int]) -> Waits:
    return _waits(analysis, np.flatnonzero(~np.isin(analysis.measured.tid, list(changed))))


def _waits(analysis: Analysis, tasks: npt.NDArray[np.integer[Any]]) -> Waits:
    """Wakeup latencies of some tasks, by number."""
    found = analysis.measured.values["wakeup_latency"]
    return found.value_ns[np.isin(found.task, tasks)]


def require_advising(policy: AgentPolicy) -> None:
    """Refuse a policy that needs more than a recording has.

    Raises:
        UsageError: It needs the scheduler's parameters.
    """
    if not policy.needs <= {Need.TASKS}:
        raise UsageError(
            f"the policy {policy.name} needs more than a recording tells",
            hint="use rules or priority, or `agent run --advise` on the machine",
        )
