"""The policy `rules`: a plain table of what is set where, which learning must match or beat."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schedtuna.agent.contract import ChangeTarget, Intent, Need, Sensed, SensedTasks, Standing
from schedtuna.agent.ownership import values_of
from schedtuna.agent.policies.behaviour import Behaviour, BehaviourLimits, BehaviourRates, behaviours, rates
from schedtuna.agent.policies.grouping import GroupSteps
from schedtuna.agent.policies.returning import (
    LEAST_CPU_PERCENT,
    Glance,
    Returning,
    Thread,
    keys_of,
    threads_of,
)
from schedtuna.configfile import first_fault, load_config
from schedtuna.errors import ConfigFileError
from schedtuna.resources import resource_path
from schedtuna.trace.tasks import clean_name

DEFAULT_FILE = "agent/data/rules.toml"
AFFINITY_FILE = "agent/data/affinity.toml"
BehaviourWord = Literal["interactive", "batch", "other"]
_LEAVE_AFTER = 5  # intervals in a row in which a rule does not match any more, before its change goes


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BehaviourTable(_Data):
    """Where behaviours end, as a table says it; see `behaviour.BehaviourLimits`."""

    interactive_wakeups_per_s: Annotated[float, Field(gt=0)] = 4.0
    interactive_burst_ms: Annotated[float, Field(gt=0)] = 5.0
    interactive_cpu_percent: Annotated[float, Field(gt=0, le=100)] = 40.0
    batch_demand_percent: Annotated[float, Field(gt=0, le=100)] = 60.0
    batch_burst_ms: Annotated[float, Field(gt=0)] = 20.0
    waiting_ms_per_s: Annotated[float, Field(ge=0)] = 1.0
    waiting_us_per_wakeup: Annotated[float, Field(ge=0)] = 100.0


class AgentRuleMatch(_Data):
    """What must hold for a rule."""

    behaviour: BehaviourWord | None = None
    cgroup: str | None = None
    comm: str | None = None
    beside: BehaviourWord | None = None


class RuleSettings(_Data):
    """What a rule sets."""

    nice: Annotated[int, Field(ge=-20, le=19)] | None = None
    slice_us: Annotated[int, Field(ge=100, le=100_000)] | None = None
    policy: Literal["other", "batch", "idle"] | None = None
    cpu_weight: Annotated[int, Field(ge=1, le=10_000)] | None = None
    affinity: Literal["all_but_one_core"] | None = None


class AgentRule(_Data):
    """One rule."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    match: AgentRuleMatch
    set: RuleSettings
    reason: str = ""
    intervals: Annotated[int, Field(ge=1, le=1000)] = 3


class RulesTable(_Data):
    """A file of rules."""

    version: Literal[1] = 1
    behaviour: BehaviourTable = BehaviourTable()
    rule: tuple[AgentRule, ...] = ()


def load_rules(path: Path | None = None, *, default: str = DEFAULT_FILE) -> RulesTable:
    """Read a file of rules; None: one that ships.

    Raises:
        ConfigFileError: It can't be read, or says what no rule can.
    """
    place = path or resource_path(default)
    try:
        table = RulesTable.model_validate(load_config(place))
    except ValidationError as error:
        raise ConfigFileError(f"{place}: {first_fault(error)}", hint="see docs/agent.md") from error
    for rule in table.rule:
        if all(value is None for value in rule.set.model_dump().values()):
            raise ConfigFileError(f"{place}: rule {rule.name!r} sets nothing")
        if all(value is None for value in rule.match.model_dump().values()):
            raise ConfigFileError(
                f"{place}: rule {rule.name!r} matches every thread",
                hint="say what it is for: behaviour, cgroup, comm",
            )
    return table


class RulesPolicy:
    """Decides by a table of rules; `affinity` is one of them under a name of its own.

    A rule has to match some intervals in a row before it acts, and to miss some before its change goes. What
    was set because a thread computes goes at once where it turns out to run shortly.
    """

    def __init__(self, table: RulesTable | None = None, *, name: str = "rules") -> None:
        self.name = name
        self._table = load_rules() if table is None else table
        by_cpus = any(rule.set.affinity is not None for rule in self._table.rule)
        self.needs = frozenset({Need.TASKS, Need.KERNEL} if by_cpus else {Need.TASKS})  # /proc tells no CPUs
        self._limits = BehaviourLimits(**self._table.behaviour.model_dump())
        self._matched: dict[tuple[int, int, str], int] = {}  # (tid, start, rule) -> intervals in a row
        self._missed: dict[str, int] = {}  # Intent.key -> intervals in a row
        self._groups = GroupSteps()
        self._returning = Returning(self._limits.interactive_burst_ms)
        self._for_batch = {rule.name for rule in self._table.rule if rule.match.behaviour == "batch"}

    def decide(self, sensed: Sensed, standing: Mapping[str, Standing]) -> list[Intent]:
        """Return what the rules want to be in force."""
        tasks, standing = sensed.tasks, self._groups.unfold(standing)
        living = set(zip(tasks["tid"].tolist(), tasks["start_time_ns"].tolist(), strict=True))
        found = rates(tasks)
        stepped_back = self._stepping_back(one.intent for one in standing.values())
        returned = self._returned(tasks, standing) | self._returning.starved(tasks, found, stepped_back)
        self._returning.forget_all_but(living)
        kinds = behaviours(found, self._limits)
        waits, present = self._waiting(tasks, kinds)
        acted = _acted_on(standing)
        wanted: dict[str, Intent] = {}
        matched: dict[tuple[int, int, str], int] = {}
        for rule in self._table.rule:
            beside = rule.match.beside
            if beside is not None and beside not in present:
                continue
            for row in np.flatnonzero(self._candidates(rule, tasks, found, kinds)):
                task = tasks[row]
                if _thread(task) in returned or not _fits(rule, task, sensed):
                    continue
                if self._would_starve(rule, found.cpu_percent[row], _thread(task) in stepped_back):
                    continue
                # Once it has stepped back, the others need not wait any more, which is no reason to return.
                if beside is not None and beside not in waits and _identity(task, rule) not in acted:
                    continue
                identity = _identity(task, rule)
                matched[identity] = self._matched.get(identity, 0) + 1
                if matched[identity] >= rule.intervals * self._times_longer(identity, acted):
                    for intent in self._intents(rule, task, sensed, found.of(int(row))):
                        if (
                            intent.setting != "affinity"
                            or intent.key in standing
                            or _may_run_anywhere(task, tasks)
                        ):
                            wanted.setdefault(intent.key, intent)
        self._matched = matched
        gone = frozenset(keys_of(returned, standing))
        intents = self._with_lasting(wanted, standing, living, gone)
        stepping_back = self._stepping_back(intents)
        self._returning.follow(tasks, stepping_back)
        return self._groups.fold(intents, tasks, sensed.cgroups, stepping_back=stepping_back)

    def reconsider(self, glance: Glance, standing: Mapping[str, Standing]) -> list[str]:
        """Return the changes of those that computed, and turn out to run shortly."""
        by_threads = self._groups.unfold(standing)
        return self._groups.keys(keys_of(self._returned(glance.tasks, by_threads), by_threads))

    def _returned(self, tasks: SensedTasks, standing: Mapping[str, Standing]) -> set[Thread]:
        """Those that do not compute any more; they have to match anew, and for longer."""
        stepped_back = self._stepping_back(one.intent for one in standing.values())
        returned = self._returning.found(tasks, stepped_back)
        self._matched = {key: times for key, times in self._matched.items() if key[:2] not in returned}
        return returned

    def _would_starve(self, rule: AgentRule, cpu_percent: float, is_back: bool) -> bool:
        """Whether a thread gets so little of a CPU that it must not be set back."""
        return rule.name in self._for_batch and not is_back and cpu_percent < LEAST_CPU_PERCENT

    def _stepping_back(self, intents: Iterable[Intent]) -> set[Thread]:
        return threads_of(one for one in intents if _rule_of(one) in self._for_batch)

    def _times_longer(self, identity: tuple[int, int, str], acted: Collection[tuple[int, int, str]]) -> int:
        """By what factor longer a rule has to match; what is in force stays."""
        tid, start_time_ns, rule = identity
        if rule not in self._for_batch or identity in acted:
            return 1
        return self._returning.times_longer((tid, start_time_ns))

    def _candidates(
        self, rule: AgentRule, tasks: SensedTasks, found: BehaviourRates, kinds: np.ndarray
    ) -> np.ndarray:
        """Which rows may match: what numbers tell, of all at once."""
        if rule.match.behaviour is not None:
            return np.asarray(kinds == Behaviour[rule.match.behaviour.upper()]) & (tasks["observed_ns"] > 0)
        return np.asarray(found.cpu_percent > 0)

    def _waiting(self, tasks: SensedTasks, kinds: np.ndarray) -> tuple[set[str], set[str]]:
        """The behaviours of threads that have to wait, and of those that are there at all."""
        seconds = np.maximum(tasks["observed_ns"] / 1e9, 1e-9)
        waits = tasks["run_delay_ns"] / 1e6 / seconds >= self._limits.waiting_ms_per_s
        # Waking up takes some microseconds on an idle CPU, too: many short waits are none.
        wakeups = np.maximum(tasks["nr_voluntary"], 1)
        waits &= tasks["run_delay_ns"] / 1e3 / wakeups >= self._limits.waiting_us_per_wakeup
        watched = tasks["observed_ns"] > 0
        waiting, present = (
            {Behaviour(int(kind)).word for kind in np.unique(kinds[chosen])}
            for chosen in (waits & watched, watched)
        )
        return waiting, present

    def _intents(
        self, rule: AgentRule, task: np.void, sensed: Sensed, features: Mapping[str, float]
    ) -> list[Intent]:
        now = values_of(task)
        cgroup = sensed.cgroups.get(int(task["cgroup_id"]), "")
        thread = ChangeTarget(
            kind="thread",
            tid=int(task["tid"]),
            tgid=int(task["tgid"]),
            start_time_ns=int(task["start_time_ns"]),
            comm=clean_name(task["comm"]),
            cgroup=cgroup,
        )
        intents = []
        for setting, value in rule.set.model_dump(exclude_none=True).items():
            of_group = setting == "cpu_weight"
            if of_group and not cgroup:
                continue
            intents.append(
                Intent(
                    target=ChangeTarget(kind="cgroup", cgroup=cgroup) if of_group else thread,
                    setting=setting,
                    old="all" if setting == "affinity" else now.get(setting),
                    new=value,
                    reason=rule.reason or f"rule {rule.name}",
                    features=dict(features),
                    policy=f"{self.name}/{rule.name}",
                )
            )
        return intents

    def _with_lasting(
        self,
        wanted: dict[str, Intent],
        standing: Mapping[str, Standing],
        living: Collection[Thread],
        gone_at_once: Collection[str],
    ) -> list[Intent]:
        """What is wanted, and what was wanted a short time ago and may be again."""
        missed: dict[str, int] = {}
        for key, one in standing.items():
            if key in gone_at_once:
                wanted.pop(key, None)
                continue
            if key in wanted:
                wanted[key] = one.intent if one.intent.new == wanted[key].new else wanted[key]
                continue
            target = one.intent.target
            gone = target.kind == "thread" and (target.tid, target.start_time_ns) not in living
            missed[key] = self._missed.get(key, 0) + 1
            if not gone and missed[key] < _LEAVE_AFTER:
                wanted[key] = one.intent
        self._missed = missed
        return list(wanted.values())


def _thread(task: np.void) -> Thread:
    return int(task["tid"]), int(task["start_time_ns"])


def _identity(task: np.void, rule: AgentRule) -> tuple[int, int, str]:
    return (*_thread(task), rule.name)


def _rule_of(intent: Intent) -> str:
    return intent.policy.partition("/")[2]


def _acted_on(standing: Mapping[str, Standing]) -> set[tuple[int, int, str]]:
    intents = (one.intent for one in standing.values())
    return {
        (one.target.tid, one.target.start_time_ns, _rule_of(one))
        for one in intents
        if one.target.kind == "thread"
    }


def _may_run_anywhere(task: np.void, tasks: SensedTasks) -> bool:
    """Whether nobody, and no cpuset, has given a thread fewer CPUs than others have; unknown: no."""
    return bool(1 < task["nr_cpus_allowed"] == tasks["nr_cpus_allowed"].max())


def _fits(rule: AgentRule, task: np.void, sensed: Sensed) -> bool:
    match = rule.match
    if match.comm is not None and not fnmatchcase(clean_name(task["comm"]), match.comm):
        return False
    cgroup = sensed.cgroups.get(int(task["cgroup_id"]), "")
    return match.cgroup is None or fnmatchcase(cgroup, match.cgroup)


def explain(table: RulesTable) -> dict[str, object]:
    """Return the table as it is in force, with what it left to defaults."""
    return {
        **table.model_dump(mode="json"),
        "behaviour": asdict(BehaviourLimits(**table.behaviour.model_dump())),
    }
