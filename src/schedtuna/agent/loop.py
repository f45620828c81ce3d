"""The agent: senses, decides, asks its guard, acts, and writes down what it did; interval after interval.

All that decides is elsewhere and pure (`rules`, `limits`, `ownership`, a guard); here is the order of things,
and what happens when one of them fails.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from schedtuna import __version__
from schedtuna.agent.acting import Act, Actor, ActResult, Undone, is_delegated, thread_facts, value_now
from schedtuna.agent.contract import (
    AgentGuard,
    AgentPolicy,
    GuardDecision,
    GuardVerdict,
    Intent,
    IntentProofs,
    Sensed,
    Standing,
)
from schedtuna.agent.counts import AgentCounts
from schedtuna.agent.decisions.log import DecisionLog
from schedtuna.agent.guard.guard import ExperimentGuard
from schedtuna.agent.lapses import ProofWatch
from schedtuna.agent.limits import Limits, Surroundings, ThreadFacts, refusal
from schedtuna.agent.log import AgentLog, intent_row, sensed_row
from schedtuna.agent.managers import Manager, running_managers
from schedtuna.agent.ownership import GROUP_DEFAULTS, Ownership, heirs
from schedtuna.agent.policies.returning import Glance, Reconsidering
from schedtuna.agent.reach import fellows, own_processes, with_descendants
from schedtuna.agent.sensing import Senses
from schedtuna.agent.swap.breaker import SwapGuard
from schedtuna.agent.telling import tell_act
from schedtuna.agent.yielding import let_go, see_swaps
from schedtuna.errors import JournalError, KnobError, SchedtunaError
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.undo import UndoResult
from schedtuna.printable import printable
from schedtuna.trace.tasks import clean_name

if TYPE_CHECKING:
    from schedtuna.agent.guard.slo_sources import SloSources  # brings TLS along

_OWN_SHARE = 0.01  # of one CPU that the loop may take
_LONGEST_S = 60.0
_MOST_SILENT = 3  # intervals in a row without a reading, before all is put back
_SUSPENDED_S = 1.0  # this much more passed than the clock has counted: the machine slept


class SensorError(SchedtunaError):
    """The agent can't see any more what its changes do, so it has put them back."""


@dataclass(frozen=True)
class LoopOptions:
    """How an agent runs.

    Attributes:
        interval_s: Of the loop; it grows where the loop would take more than 1% of one CPU.
        advise: Whether it only says what it would change.
        limits: How much it changes at most.
        snapshot_every: Intervals from one row of the log that sums up to the next.
    """

    interval_s: float = 1.0
    advise: bool = False
    limits: Limits = field(default_factory=Limits)
    snapshot_every: int = 10


@dataclass
class Agent:
    """Runs a policy.

    Attributes:
        policy: Decides.
        senses: Reads.
        journal: Where changes are written down first.
        log: Where decisions are written down.
        guard: Watches; None: nobody does.
        objectives: Gives their values; None: there are none.
        proofs: Say what past studies have proven; None: nobody knows of any.
        decisions: Where choices among arms are written down; None: nowhere.
        tell: Called with lines for people: what was done and why.
    """

    policy: AgentPolicy
    senses: Senses
    journal: Journal
    log: AgentLog
    options: LoopOptions = field(default_factory=LoopOptions)
    guard: AgentGuard | None = None
    objectives: SloSources | None = None
    proofs: IntentProofs | None = None
    decisions: DecisionLog | None = None
    tell: Callable[[str], None] = lambda _text: None
    counts: AgentCounts = field(default_factory=AgentCounts)

    def __post_init__(self) -> None:
        self.actor = Actor(self.journal)
        self.ownership = Ownership()
        self.verdict = GuardVerdict(GuardDecision.ALLOW)
        self.sensed: Sensed | None = None
        self.advice: dict[str, Act] = {}
        self.interval_s = self.options.interval_s
        self.managers: tuple[Manager, ...] = ()
        self.own_tgids = own_processes()
        self.stopped = ""  # why nothing is changed any more
        self._suspended: dict[str, Standing] = {}
        self._proof_watch = ProofWatch()
        self._told: dict[str, str] = {}  # id -> the last refusal that was logged
        self._silent = 0
        self._clocks = _clocks()

    def start(self, **facts: Any) -> None:
        """Write down how it runs."""
        self.log.write(
            "start",
            version=__version__,
            pid=os.getpid(),
            policy=self.policy.name,
            advise=self.options.advise,
            interval_s=self.options.interval_s,
            snapshot_every=self.options.snapshot_every,
            decisions_logged="each that differs from the one before",
            unknown=self.senses.unknown,
            **facts,
        )

    def step(self) -> Sensed | None:
        """Do one interval; None where nothing could be read.

        Raises:
            SensorError: Nothing could be read for some intervals in a row; all was put back.
        """
        began_ns = time.thread_time_ns()
        try:
            sensed = self.senses.read()
            if self.objectives is not None:
                sensed = self.objectives.fill(sensed)
        except (SchedtunaError, OSError) as error:
            self._nothing_read(error)
            return None
        self._silent = 0
        self.sensed = sensed = replace(sensed, swaps=see_swaps(self))
        let_go(self, sensed)
        self.managers = running_managers(clean_name(name) for name in set(sensed.tasks["comm"].tolist()))
        if self._slept():
            self._say("hold", "the machine slept: this interval says nothing")
        else:
            self._decide(sensed)
        self._account(began_ns, sensed)
        return sensed

    @property
    def glances(self) -> bool:
        """Whether there is anything to look at between intervals, and a policy that wants to."""
        return isinstance(self.policy, Reconsidering) and bool(self.actor.standing) and self.senses.by_bpf

    def glance(self) -> None:
        """Look at what is in force between two intervals: what the policy does not want any more goes."""
        standing = self.actor.standing
        if not isinstance(self.policy, Reconsidering) or not standing:
            return
        began_ns = time.thread_time_ns()
        tids = {one.intent.target.tid for one in standing.values()}
        found = self.senses.counted(tids)
        self._put_back(
            self.policy.reconsider(Glance(time.monotonic_ns(), found), standing),
            "what stepped back runs shortly now",
        )
        self.counts.cpu_s += (time.thread_time_ns() - began_ns) / 1e9

    def put_back_all(self, why: str) -> list[Undone]:
        """Put everything back.

        Raises:
            JournalError: The journal can't be written; what was put back stays in it.
        """
        return self._put_back(list(self.actor.standing), why)

    def finish(self, why: str) -> list[Undone]:
        """Put everything back, and say how it ended."""
        undone = self.put_back_all(why)
        self._take_rows(why)
        self.log.write("stop", reason=why, counts=vars(self.counts), mb_per_h=self.log.megabytes_per_h)
        return undone

    def resume(self) -> None:
        """Change things again after a guard has put all back."""
        self.stopped = ""
        if isinstance(self.guard, ExperimentGuard | SwapGuard):
            self.guard.resume()
        self._say("resume", "told to go on")

    def undo(self, name: str, why: str) -> list[Undone]:
        """Put one change back, by an id or a thread, and leave its setting alone from then on."""
        keys = self.actor.find(name)
        undone = self._put_back(keys, why)
        for key in keys:
            self.ownership.taken[key] = why
        return undone

    def _decide(self, sensed: Sensed) -> None:
        standing = self.actor.standing
        self.verdict = self._ask_guard(sensed, standing or self._suspended)
        decision = self.verdict.decision
        if decision is GuardDecision.ROLL_BACK and not self.stopped:
            self.stopped = self.verdict.reason
            self.counts.rollbacks += 1
            self._say("roll_back", self.verdict.reason, **dict(self.verdict.facts))
            self._put_back(list(standing), f"guard: {self.verdict.reason}")
        decided = self.policy.decide(sensed, standing or self._suspended)
        self._take_rows()
        judged = decided if self.proofs is None else self.proofs.judge(decided, sensed)
        wanted = {one.key: one for one in judged}
        if self.stopped:
            return
        if decision is GuardDecision.SUSPEND:
            if standing:
                self._suspended = standing
                self._put_back(list(standing), f"guard: {self.verdict.reason}", suspended=True)
            return
        again, self._suspended = self._suspended, {}
        self._put_back_unproven(standing, wanted)
        standing = self.actor.standing
        unwanted = [key for key in standing if key not in wanted]
        if unwanted:
            self._put_back(unwanted, f"{self.policy.name} does not want it any more")
        if decision is GuardDecision.HOLD:
            return
        self._adopt_heirs(sensed, standing)
        new = [one for key, one in wanted.items() if not _is_so(one, standing.get(key))]
        self._carry_out(new, sensed, again=again)

    def _take_rows(self, ended: str = "") -> None:
        """Write what the policy chose among arms, and what came of it; `ended`: why none holds any more."""
        if self.stopped or self.verdict.decision is not GuardDecision.ALLOW:
            ended = ended or f"guard: {self.stopped or self.verdict.reason}"
        if self.decisions is not None:
            self.decisions.take_from(self.policy, "it is only advised" if self.options.advise else ended)

    def _put_back_unproven(self, standing: Mapping[str, Standing], wanted: Mapping[str, Intent]) -> None:
        """Say whose proof is another one now; where only what is proven may stay, put the others back."""
        for change in self._proof_watch.see(standing, wanted):
            result = "lapsed" if change.why else "holds"
            self.log.write("proof", result=result, why=change.why, **intent_row(change.intent))
        if self.options.limits.proven_only:
            lapsed = [key for key in standing if key in wanted and wanted[key].why_unproven]
            self._put_back(lapsed, "it is not proven any more")

    def _ask_guard(self, sensed: Sensed, standing: dict[str, Standing]) -> GuardVerdict:
        if self.guard is None:
            return GuardVerdict(GuardDecision.ALLOW)
        verdict = self.guard.judge(sensed, standing)
        if verdict.decision is not self.verdict.decision or "effects" in verdict.facts:
            self.log.write(
                "guard", decision=str(verdict.decision), reason=verdict.reason, facts=dict(verdict.facts)
            )
        return verdict

    def _adopt_heirs(self, sensed: Sensed, standing: dict[str, Standing]) -> None:
        inherited = [] if self.options.advise else heirs(sensed.tasks, standing)
        if inherited:
            for act in self.actor.adopt(inherited):
                self.log.write("decision", result="inherited", **intent_row(act.intent))

    def _carry_out(self, intents: list[Intent], sensed: Sensed, *, again: Collection[str] = ()) -> None:
        """Make what may be made; what a guard had suspended, all `again` in one interval."""
        self.actor.service = getattr(self.policy, "service", None)
        chosen: list[Intent] = []
        limits, around = with_descendants(self.options.limits, sensed), self._surroundings(sensed)
        standing = self.actor.standing
        for intent in intents:
            self._claim(intent, sensed, standing)
            found = refusal(intent, limits, around, self._facts(intent, sensed))
            if found is not None and found.quiet:
                continue
            if found is None and self.options.advise:
                self._record(Act(intent, ActResult.ADVISED))
            elif found is not None:
                self._record(
                    Act(intent, ActResult.ADVISED if found.advise else ActResult.REFUSED, found.reason)
                )
            else:
                chosen.append(intent)
        room = max(0, limits.most_standing - len(standing))
        chosen.sort(key=lambda one: one.key not in again)
        most = min(room, limits.changes_per_interval + sum(one.key in again for one in chosen))
        if len(chosen) > most:
            self._say("limit", f"{len(chosen) - most} changes wait: the limits allow {most} in this interval")
        if not chosen[:most]:
            return
        try:
            acts = self.actor.make(chosen[:most])
        except JournalError as error:
            acts = [Act(one, ActResult.FAILED, f"{error}; nothing was changed") for one in chosen[:most]]
        for act in acts:
            self._record(act, again=act.intent.key in again)

    def _surroundings(self, sensed: Sensed) -> Surroundings:
        children = sensed.tasks["tgid"][sensed.tasks["ppid"] == os.getpid()]
        own = self.own_tgids | set(children.tolist())
        ours = self.actor.swaps.runs
        return Surroundings(own, self.managers, sensed.scheduler, self.ownership.taken, ours)

    def _claim(self, intent: Intent, sensed: Sensed, standing: Mapping[str, Standing]) -> None:
        if intent.setting not in GROUP_DEFAULTS or intent.target.kind not in ("session", "cgroup"):
            self.ownership.claim(intent, sensed.tasks, standing)
        elif intent.key not in standing:
            with contextlib.suppress(KnobError):  # to make the change will say so
                self.ownership.claim_group(intent, value_now(intent))

    def _facts(self, intent: Intent, sensed: Sensed) -> ThreadFacts | None:
        target = intent.target
        if target.kind == "session":
            facts = thread_facts(target.tid, target.tgid, sensed.end_ns)
            return None if facts is None else replace(facts, fellows=fellows(target, sensed))
        if target.kind == "cgroup":
            return ThreadFacts(0, False, 0, target.cgroup, is_delegated(target.cgroup))
        return thread_facts(target.tid, target.tgid, sensed.end_ns) if target.kind == "thread" else None

    def _record(self, act: Act, *, again: bool = False) -> None:
        """Count, log and tell it, unless it is just what it was the last time."""
        intent, key = act.intent, act.intent.key
        if act.result is ActResult.MADE:
            self.advice.pop(key, None)
            self._told.pop(key, None)
            self.counts.made += not again
        else:
            state = f"{act.result}: {intent.id}: {act.reason}"
            if self._told.get(key) == state:
                return
            if len(self._told) > 10_000:
                self._told.clear()
            self._told[key] = state
            name = {ActResult.FAILED: "failed", ActResult.ADVISED: "advised"}.get(act.result, "refused")
            setattr(self.counts, name, getattr(self.counts, name) + 1)
            if act.result is ActResult.ADVISED:
                self.advice[key] = act
        result = "made again" if again and act.result is ActResult.MADE else str(act.result)
        self.log.write("decision", result=result, why_not=act.reason, **intent_row(intent))
        if result != "made again":
            self.tell(tell_act(act))

    def _put_back(self, keys: Iterable[str], why: str, *, suspended: bool = False) -> list[Undone]:
        undone = self.actor.put_back(keys)
        for one in undone:
            intent = one.standing.intent
            self.counts.undone += not one.reason and not suspended
            result = "suspended" if suspended else str(one.result)
            self.log.write("undo", result=result, why=why, failed=one.reason, **intent_row(intent))
            what = f"{intent.setting} of {intent.target.tell()}: {intent.new} -> {one.standing.found}"
            if one.reason and one.result not in (UndoResult.RESTORED, UndoResult.GONE):
                self.tell(printable(f"could not put back {what}: {one.reason}"))
            elif not suspended:
                self.tell(printable(f"put back {what} ({why})"))
        return undone

    def _nothing_read(self, error: Exception) -> None:
        self._silent += 1
        self.log.write("silent", reason=str(error), intervals=self._silent)
        if self._silent >= _MOST_SILENT:
            self.put_back_all(f"nothing could be read: {error}")
            raise SensorError(
                f"nothing could be read for {self._silent} intervals, so all was put back: {error}",
                hint="see `schedtuna agent log`; start the agent again once that works",
            ) from error

    def _slept(self) -> bool:
        before, self._clocks = self._clocks, _clocks()
        return (self._clocks[0] - before[0]) - (self._clocks[1] - before[1]) > _SUSPENDED_S * 1e9

    def _say(self, kind: str, text: str, **facts: Any) -> None:
        if self._told.get(kind) != text:
            self._told[kind] = text
            self.log.write(kind, reason=text, facts=facts)
            self.tell(printable(text))

    def _account(self, began_ns: int, sensed: Sensed) -> None:
        """Note what the interval took, and let the next one be longer where that was too much."""
        spent_s = (time.thread_time_ns() - began_ns) / 1e9
        self.counts.intervals += 1
        self.counts.cpu_s += spent_s
        needed = min(_LONGEST_S, spent_s / _OWN_SHARE)
        slow = max(self.options.interval_s, needed)
        # Up at once, down slowly: one cheap interval says little.
        self.interval_s = slow if slow > self.interval_s else max(slow, 0.8 * self.interval_s)
        if sensed.number % self.options.snapshot_every == 0:
            own_cpu_percent = 100 * spent_s / max(sensed.seconds, 1e-9)
            self.log.write(
                "snapshot",
                **sensed_row(sensed),
                standing=len(self.actor.standing),
                own_cpu_percent=own_cpu_percent,
                counts=vars(self.counts),
            )


def _is_so(intent: Intent, standing: Standing | None) -> bool:
    """Whether there is nothing to change: it is in force, or was found so."""
    return intent.old == intent.new if standing is None else standing.intent.new == intent.new


def _clocks() -> tuple[int, int]:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.monotonic_ns()
