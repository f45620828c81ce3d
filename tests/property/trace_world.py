"""A machine of which the truth is known: what its tasks did is the oracle for what its events amount to.

CPUs are unplugged and come back, the machine is suspended, thread ids are used again, and each CPU may
have a clock of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from tests.property.trace_oracle import ASLEEP, OUT

from schedtuna.trace.schema import EVENT_DTYPE, EventArray, EventType, PrevState
from schedtuna.trace.states import TaskState as S

STEP_NS = 10  # the least time between two decisions
SUSPENDED_NS = 10**6
NR_CPUS = 3
TIDS = range(1, 7)
QUARANTINE_NS = 4 * STEP_NS  # a tid is not used again at once
IDLE = 0

QUEUED = {S.RUNNABLE_WOKEN, S.RUNNABLE_PREEMPTED, S.RUNNABLE_NEW, S.THROTTLED}


@dataclass
class Life:
    """What one task did: (state, when it began), from its first moment on."""

    tid: int
    states: list[tuple[S, int]] = field(default_factory=list)

    @property
    def state(self) -> S:
        return self.states[-1][0]

    def spells(self, end_ns: int) -> list[tuple[S, int, int]]:
        """(state, from, to) one after the other; DEAD is a moment."""
        ends = [since for _, since in self.states[1:]] + [end_ns]
        spells = [(state, since, end) for (state, since), end in zip(self.states, ends, strict=True)]
        return [(state, since, since if state == S.DEAD else end) for state, since, end in spells]


class World:
    """Decisions in (any numbers), lives and events out."""

    def __init__(self, decisions: Sequence[tuple[int, int, int]]) -> None:
        self.now_ns = 1000
        self.lives: list[Life] = []
        self.rows: list[tuple[int, EventType, int, int, int, PrevState]] = []
        self.running = dict.fromkeys(range(NR_CPUS), IDLE)  # of the CPUs that are there
        self.living: dict[int, Life] = {}
        self.free_from_ns = dict.fromkeys(TIDS, 0)
        self._fork(0, 0)
        for what, which, how in decisions:
            self.now_ns += STEP_NS * (1 + how % 3)
            cpu = sorted(self.running)[which % len(self.running)]
            [self._fork, self._switch, self._switch, self._wake, self._plug, self._suspend][what % 6](
                cpu, how
            )
        self.end_ns = self.now_ns + STEP_NS

    def events(self, clocks: Sequence[int] = (0,) * NR_CPUS) -> EventArray:
        """The events as recorded, in the order of their timestamps, each CPU's clock being off by so much."""
        events = np.zeros(len(self.rows), EVENT_DTYPE)
        for event, (time, kind, tid, other, cpu, prev_state) in zip(events, self.rows, strict=True):
            event["timestamp_ns"], event["type"], event["tid"] = time + clocks[cpu], kind, tid
            event["other_tid"], event["prev_state"] = other, prev_state
            event["cpu"] = event["target_cpu"] = event["orig_cpu"] = cpu
        return events[np.argsort(events["timestamp_ns"], kind="stable")]

    def _emit(self, kind: EventType, tid: int, other: int, cpu: int, prev_state: int = 0) -> None:
        self.rows.append((self.now_ns, kind, tid, other, cpu, PrevState(prev_state)))

    def _enter(self, tid: int, state: S) -> None:
        self.living[tid].states.append((state, self.now_ns))

    def _fork(self, cpu: int, _how: int) -> None:
        free = [tid for tid in TIDS if tid not in self.living and self.free_from_ns[tid] <= self.now_ns]
        if not free:
            return
        tid = free[0]
        self.living[tid] = Life(tid)
        self.lives.append(self.living[tid])
        self._enter(tid, S.NEW)
        self._emit(EventType.FORK, tid, self.running[cpu], cpu)
        self.now_ns += 1
        self._enter(tid, S.RUNNABLE_NEW)
        self._emit(EventType.WAKEUP_NEW, tid, self.running[cpu], cpu)

    def _switch(self, cpu: int, how: int, reason: PrevState | None = None) -> None:
        queued = [tid for tid, life in self.living.items() if life.state in QUEUED]
        before, after = self.running[cpu], IDLE
        if reason is None:
            reason = list(OUT)[how % len(OUT)]
            after = [IDLE, *queued][how % (len(queued) + 1)]
        if before == after:
            return
        self._emit(EventType.SWITCH, before, after, cpu, reason if before else PrevState.RUNNABLE)
        if before:
            self._enter(before, OUT[reason])
            if reason == PrevState.DEAD:
                del self.living[before]
                self.free_from_ns[before] = self.now_ns + QUARANTINE_NS
        if after:
            self._enter(after, S.RUNNING)
        self.running[cpu] = after

    def _wake(self, cpu: int, how: int) -> None:
        asleep = [tid for tid, life in self.living.items() if life.state in ASLEEP]
        if asleep:
            tid = asleep[how % len(asleep)]
            self._enter(tid, S.RUNNABLE_WOKEN)
            self._emit(EventType.WAKEUP, tid, self.running[cpu], cpu)

    def _plug(self, cpu: int, _how: int) -> None:
        """Bring a CPU back, or unplug one: what runs there has to go elsewhere."""
        gone = [number for number in range(NR_CPUS) if number not in self.running]
        if gone:
            self.running[gone[0]] = IDLE
        elif cpu:  # the first one stays
            self._switch(cpu, 0, PrevState.PREEMPTED)
            del self.running[cpu]

    def _suspend(self, _cpu: int, _how: int) -> None:
        """Freeze what runs, stop all CPUs but the first, and go on much later: the clock does not stop."""
        for cpu in list(self.running):
            self._switch(cpu, 0, PrevState.BLOCKED)
            self.now_ns += STEP_NS
        self.running = {0: IDLE}
        self.now_ns += SUSPENDED_NS
