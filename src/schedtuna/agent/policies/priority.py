"""The policy `priority`: a learned model says which threads deserve the CPU first, cut-offs do the rest.

A thread's score is the model's logit, an integer: above 0 the thread is of the label that deserves more. What
a model was trained on is not this machine, so scores count by their rank among the threads that want a CPU:
where two neighbours lie a margin apart, those below step back, only while somebody above has to wait. `STEPS`
says how far. Who is above 0 never steps back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.agent.contract import ChangeTarget, Intent, Need, Sensed, SensedTasks, Standing
from schedtuna.agent.limits import FAIR_POLICIES
from schedtuna.agent.policies.behaviour import BehaviourRates, rates
from schedtuna.agent.policies.grouping import GroupSteps
from schedtuna.agent.policies.returning import (
    LEAST_CPU_PERCENT,
    Glance,
    Returning,
    Thread,
    keys_of,
    threads_of,
)
from schedtuna.agent.policies.thread_features import THREAD_FEATURES
from schedtuna.errors import ModelError, UsageError
from schedtuna.model.model import DecisionModel
from schedtuna.model.shipped import SHIPPED, find_model
from schedtuna.trace.tasks import clean_name

DEFAULT_MODEL = "default"
DESERVING = ("short", "interactive", "run")  # labels that deserve the CPU before the other one
IN_A_ROW = 3  # intervals that say the same before anything is changed, and before it goes again
LONG_IN_A_ROW = 8  # before anybody is set to the first of `STEPS`; until then it is set to the last of them
RETURN_BURST_MS = 5.0  # of CPU time per sleep: who runs as shortly returns at once, whatever the model says
KEPT_MARGIN = 0.5  # of the margin at which somebody steps back: at less than that all return
_LEAST_DEMAND_PERMILLE = 10  # who uses less is in nobody's way
_KEPT_DEMAND_PERMILLE = 1  # while some have stepped back: who waits less asks for less
BURSTS_APART = 8  # who steps back runs so many times as long as those who go first: less gains nothing
_WAITING_NS_PER_S = 1e6
_WAITING_NS_PER_WAKEUP = 1e5  # waking up takes some microseconds on an idle CPU, too


@dataclass(frozen=True)
class PriorityStep:
    """What threads are set to.

    Attributes:
        apart: From how far on, in the model's sure score (the median size of the scores of its own rows):
            below the lowest of those who go first; of `SURELY_MORE`, above 0.
        settings: Knob -> value.
        word: For people.
    """

    apart: float
    settings: Mapping[str, int | str]
    word: str


# The first that holds counts. Nobody is raised: that would take from threads outside the model's view.
STEPS = (
    PriorityStep(1.5, {"nice": 10, "policy": "batch"}, "surely deserves less"),
    PriorityStep(1.0, {"nice": 5}, "deserves less"),
)
_STEPS_BACK_BY = frozenset(setting for step in STEPS for setting in step.settings)
# A short slice gives a thread an earlier deadline, and takes no share from others.
SURELY_MORE = PriorityStep(1.0, {"slice_us": 1000}, "surely deserves more")
# A control group in which all that runs surely deserves less.
GROUP_STEP = PriorityStep(STEPS[0].apart, {"cpu_weight": 50}, f"holds only what {STEPS[0].word}")


class PriorityPolicy:
    """Decides by a model.

    Args:
        model: Its labels are two, the second of `DESERVING`; its inputs are of `THREAD_FEATURES`.

    Attributes:
        notes: What stands in for what, for people.

    Raises:
        ModelError: It decides something else, or looks at what the agent does not see.
    """

    name = "priority"
    needs = frozenset({Need.TASKS})

    def __init__(self, model: DecisionModel) -> None:
        _require_usable(model)
        self.model = model
        self._sure = _sure_score(model)
        self._columns = [THREAD_FEATURES[one.name].compute for one in model.inputs]
        self._said: dict[tuple[int, int], tuple[str, int]] = {}  # thread -> (word, intervals in a row)
        self._held: dict[tuple[int, int], PriorityStep] = {}
        self._groups = GroupSteps()
        self._returning = Returning(RETURN_BURST_MS)
        stands_in = {
            one.name: THREAD_FEATURES[one.name].stands_in
            for one in model.inputs
            if THREAD_FEATURES[one.name].stands_in
        }
        self.notes = [f"{name} stands in for {what}" for name, what in stands_in.items()]

    def scores(self, tasks: SensedTasks) -> npt.NDArray[np.int64]:
        """Return each thread's score, of those that an interval saw."""
        if not len(tasks):
            return np.zeros(0, np.int64)
        values = np.stack([np.asarray(column(tasks), np.int64) for column in self._columns], axis=1)
        logits = self.model.core.logits(self.model.quantise(values))
        one = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
        return np.asarray(one, np.int64)

    def decide(self, sensed: Sensed, standing: Mapping[str, Standing]) -> list[Intent]:
        """Return what is to be set, of threads that were scored alike some intervals in a row."""
        standing = self._groups.unfold(standing)
        self._let_return(sensed.tasks, standing, rates(sensed.tasks))
        self._returning.forget_all_but(set(_threads(sensed.tasks)))
        tasks = as_found(sensed.tasks, standing)
        tasks = tasks[(tasks["observed_ns"] > 0) & ~tasks["is_kernel_thread"]]
        tasks = tasks[np.isin(tasks["policy"], list(FAIR_POLICIES))]
        asked_ns = tasks["cpu_time_ns"] + tasks["run_delay_ns"]
        least = _KEPT_DEMAND_PERMILLE if self._held else _LEAST_DEMAND_PERMILLE
        busy = 1000 * asked_ns / np.maximum(tasks["observed_ns"], 1) >= least
        scores = self.scores(tasks)
        first = self.first_score(scores[busy])
        found = rates(tasks)
        differs = busy & _differs(found.burst_ms, scores, busy, first)
        held = [key in self._held for key in _threads(tasks)]
        differs &= (scores >= (first or 0)) | (found.cpu_percent >= LEAST_CPU_PERCENT) | np.array(held, bool)
        self._follow(
            tasks,
            [self._step(score, first) if one else None for score, one in zip(scores, differs, strict=True)],
        )
        waits = tasks["run_delay_ns"] / np.maximum(tasks["observed_ns"] / 1e9, 1e-9) >= _WAITING_NS_PER_S
        waits &= tasks["run_delay_ns"] / np.maximum(tasks["nr_voluntary"], 1) >= _WAITING_NS_PER_WAKEUP
        # Once others have stepped back nobody waits any more, which is no reason for them to return.
        if not standing and (first is None or not (busy & waits & (scores >= first)).any()):
            return []
        intents = [
            *self._of_threads(sensed, tasks, scores, first),
            *self._of_groups(sensed, tasks[busy], scores[busy]),
        ]
        stepping_back = {key for key, step in self._held.items() if step in STEPS}
        return self._groups.fold(intents, tasks, sensed.cgroups, stepping_back=stepping_back)

    def reconsider(self, glance: Glance, standing: Mapping[str, Standing]) -> list[str]:
        """Return the changes of those that have stepped back, and turn out to run shortly."""
        standing = self._groups.unfold(standing)
        returned = self._let_return(glance.tasks, standing)
        # Its control group holds what deserves more, too.
        groups = {standing[key].intent.target.cgroup for key in keys_of(returned, standing)}
        of_groups = [
            key
            for key, one in standing.items()
            if one.intent.target.kind == "cgroup" and one.intent.target.cgroup in groups
        ]
        return [*self._groups.keys(keys_of(returned, standing)), *of_groups]

    def _let_return(
        self, tasks: SensedTasks, standing: Mapping[str, Standing], found: BehaviourRates | None = None
    ) -> set[Thread]:
        """Those that stepped back, and run shortly or starve; they are scored anew, and for longer."""
        in_force = (one.intent for one in standing.values())
        stepped_back = threads_of(one for one in in_force if one.setting in _STEPS_BACK_BY)
        returned = self._returning.found(tasks, stepped_back)
        if found is not None:
            returned |= self._returning.starved(tasks, found, stepped_back)
        for thread in returned:
            self._held.pop(thread, None)
            self._said.pop(thread, None)
        return returned

    def first_score(self, scores: npt.NDArray[np.int64]) -> int | None:
        """Return the lowest score of those who go first; None where nobody is a margin below anybody.

        Of several gaps that are wide enough the lowest counts: who is between two of them stays as it is.

        Args:
            scores: Of all threads that want a CPU.
        """
        ranked = np.unique(scores)
        lower, upper = ranked[:-1], ranked[1:]
        for margin in (STEPS[-1].apart, *((STEPS[-1].apart * KEPT_MARGIN,) if self._held else ())):
            wide = np.flatnonzero((upper - lower >= margin * self._sure) & (lower <= 0))
            if len(wide):
                return int(upper[wide[0]])
        return None

    def _step(self, score: float, first: int | None) -> PriorityStep | None:
        """What a score gets, where those who go first have `first` or more."""
        if first is None:
            return None
        if score >= first:
            return SURELY_MORE if score >= SURELY_MORE.apart * self._sure else None
        return next((step for step in STEPS if first - score >= step.apart * self._sure), STEPS[-1])

    def _follow(self, tasks: SensedTasks, steps: list[PriorityStep | None]) -> None:
        """Count intervals that say the same of a thread; what they say holds after `IN_A_ROW`."""
        said: dict[tuple[int, int], tuple[str, int]] = {}
        held: dict[tuple[int, int], PriorityStep] = {}
        for task, step in zip(tasks, steps, strict=True):
            key = int(task["tid"]), int(task["start_time_ns"])
            word = step.word if step else ""
            before = self._said.get(key, ("", 0))
            said[key] = (word, before[1] + 1 if before[0] == word else 1)
            longer = self._returning.times_longer(key) if step in STEPS and key not in self._held else 1
            if said[key][1] >= IN_A_ROW * longer:
                if step:
                    held[key] = self._as_far_as(step, said[key][1], self._held.get(key))
            elif key in self._held:
                held[key] = self._held[key]
        self._said, self._held = said, held
        self._returning.follow(tasks, {key for key, step in held.items() if step in STEPS})

    @staticmethod
    def _as_far_as(step: PriorityStep, in_a_row: int, before: PriorityStep | None) -> PriorityStep:
        """Who deserves less steps back soon, but far only after long, as it may change its ways."""
        if step is not STEPS[0] or before is STEPS[0] or in_a_row >= LONG_IN_A_ROW:
            return step
        return STEPS[-1]

    def _of_threads(
        self, sensed: Sensed, tasks: SensedTasks, scores: npt.NDArray[np.int64], first: int | None
    ) -> list[Intent]:
        intents = []
        ranked = {} if first is None else {"first_score": float(first)}
        for task, score in zip(tasks, scores.tolist(), strict=True):
            step = self._held.get((int(task["tid"]), int(task["start_time_ns"])))
            if step is None:
                continue
            target = ChangeTarget(
                kind="thread",
                tid=int(task["tid"]),
                tgid=int(task["tgid"]),
                start_time_ns=int(task["start_time_ns"]),
                comm=clean_name(task["comm"]),
                cgroup=sensed.cgroups.get(int(task["cgroup_id"]), ""),
            )
            old: dict[str, int | str | None] = {
                "nice": int(task["nice"]),
                "policy": FAIR_POLICIES.get(int(task["policy"]), ""),
                "slice_us": int(task["slice_ns"]) // 1000 or None,
            }
            seen = {
                one.name: float(column(task[None])[0])
                for one, column in zip(self.model.inputs, self._columns, strict=True)
            }
            intents += self._intents(target, step, old, {"score": score, **ranked, **seen})
        return intents

    def _of_groups(self, sensed: Sensed, tasks: SensedTasks, scores: npt.NDArray[np.int64]) -> list[Intent]:
        """Of groups in which all that runs surely deserves less."""
        intents = []
        for group in np.unique(tasks["cgroup_id"]).tolist():
            path = sensed.cgroups.get(int(group), "")
            inside = tasks["cgroup_id"] == group
            keys = zip(tasks["tid"][inside].tolist(), tasks["start_time_ns"][inside].tolist(), strict=True)
            if not path.strip("/") or not all(self._held.get(key) is STEPS[0] for key in keys):
                continue
            seen = {"most_score": float(scores[inside].max()), "nr_threads": float(inside.sum())}
            intents += self._intents(ChangeTarget(kind="cgroup", cgroup=path), GROUP_STEP, {}, seen)
        return intents

    def _intents(
        self,
        target: ChangeTarget,
        step: PriorityStep,
        old: Mapping[str, int | str | None],
        features: Mapping[str, float],
    ) -> list[Intent]:
        reason = f"it {step.word}, says the model {self.model.name}"
        version = f"priority/{self.model.name}-{self.model.version[:8]}"
        return [
            Intent(target, setting, old.get(setting), value, reason, features, version)
            for setting, value in step.settings.items()
        ]


def _threads(tasks: SensedTasks) -> list[Thread]:
    return list(zip(tasks["tid"].tolist(), tasks["start_time_ns"].tolist(), strict=True))


def _differs(
    bursts_ms: npt.NDArray[np.float64],
    scores: npt.NDArray[np.int64],
    busy: npt.NDArray[np.bool_],
    first: int | None,
) -> npt.NDArray[np.bool_]:
    """Who goes first, or runs for so much longer than those that it is worth while to step back."""
    if first is None:
        return np.zeros(len(scores), bool)
    goes_first = scores >= first
    return goes_first | (bursts_ms >= BURSTS_APART * np.median(bursts_ms[busy & goes_first]))


def as_found(tasks: SensedTasks, standing: Mapping[str, Standing]) -> SensedTasks:
    """Return threads as they were before this agent changed them, so that a policy does not follow itself."""
    found = tasks.copy()
    for one in standing.values():
        target = one.intent.target
        column = _COLUMNS.get(one.intent.setting)
        if target.kind != "thread" or column is None:
            continue
        mine = (found["tid"] == target.tid) & (found["start_time_ns"] == target.start_time_ns)
        found[column[0]][mine] = column[1](one.found)
        if one.intent.setting == "nice":
            found["weight"][mine] = 0  # as of nice: unknown
    return found


def _number_of_policy(value: object) -> int:
    return next((number for number, name in FAIR_POLICIES.items() if name == value), 0)


# Setting -> the column that it shows in, and what a value of the setting is there.
_COLUMNS: dict[str, tuple[str, Callable[[Any], int]]] = {
    "nice": ("nice", lambda value: int(value or 0)),
    "slice_us": ("slice_ns", lambda value: 1000 * int(value or 0)),
    "policy": ("policy", _number_of_policy),
}


def _require_usable(model: DecisionModel) -> None:
    if len(model.labels) != 2 or model.labels[1] not in DESERVING:
        raise ModelError(
            f"{model.name} decides {' or '.join(model.labels)}: the second of two labels has to be one of "
            f"{', '.join(DESERVING)}, for whoever deserves the CPU first",
            hint="train one on bursts: `schedtuna train DATASET`",
        )
    unseen = [one.name for one in model.inputs if one.name not in THREAD_FEATURES]
    if unseen:
        raise ModelError(
            f"{model.name} looks at {', '.join(unseen)}, which the agent does not see of a thread",
            hint=f"it sees {', '.join(THREAD_FEATURES)}: train with --feature for each that is to be used",
        )


def _sure_score(model: DecisionModel) -> int:
    """The median size of the scores of its own rows; 1 at least."""
    if model.rows is None or not len(model.rows):
        return 1
    logits = model.core.logits(model.rows.bins)
    score = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
    return max(1, int(np.median(np.abs(score))))


def make_priority(file: Path | None) -> PriorityPolicy:
    """Return the policy of a model's file; None: of the model that ships.

    Raises:
        UsageError: No file was named, and none ships.
        ModelError: The model is damaged, or of another kind.
    """
    if file is None and DEFAULT_MODEL not in SHIPPED:
        raise UsageError(
            "no model for priorities ships with this version",
            hint="name one: --policy priority:FILE, made by `schedtuna train`; or use --policy rules",
        )
    return PriorityPolicy(find_model(DEFAULT_MODEL if file is None else file))
