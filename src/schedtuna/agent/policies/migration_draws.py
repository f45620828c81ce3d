"""Where tasks of scx_tuna go next, drawn so that it can be judged.

scx_tuna asks about tasks that fall asleep. Of each, one of three arms is drawn: what the model says, nearly
always, and each other one with a floor of 5%.

    own       no answer: the scheduler itself decides
    stay      on the CPU where it ran
    migrate   to the CPU that was offered, the one that is used least

What came of it is known when the task is asked about next: how long it waits for a CPU, on average, by the
scheduler's own running mean, in which the newest wakeup counts a quarter. Answers that come too late or
expire count as drawn: that some do is part of what advising brings, and without them one arm would look
better.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from schedtuna.agent.decisions.rows import DecisionRow, OutcomeRow
from schedtuna.scheduler.tuna_advice import AdviceAnswer, AdviceRequest, answer_to, features_of

POLICY = "migrate"
OWN, STAY, MIGRATE = "own", "stay", "migrate"
FLOOR = 0.05
VALID_NS = 100_000_000
_MOST_OPEN = 10_000  # tasks whose next request is awaited
_MOST_ROWS = (
    50_000  # that wait for the loop to write them; what comes beyond is counted, and drops the oldest
)


class Decides(Protocol):
    """What says of rows of migrations' features which should migrate: a `MigrationDecider`."""

    def decide_batch(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Return for each row, float32 [n, 10], whether the task should migrate."""
        ...


@dataclass
class _Asked:
    """A draw whose outcome is awaited."""

    id: str
    cpu: int
    offered_cpu: int
    expires_ns: int
    taken_share: float = 1.0
    stopped: str = ""


def migration_arms(request: AdviceRequest) -> tuple[str, ...]:
    """Return what can be drawn of a request: nobody moves to where they are, or to nowhere."""
    can_move = request.offered_cpu >= 0 and request.offered_cpu != request.cpu
    return (OWN, STAY, MIGRATE) if can_move else (OWN, STAY)


def with_floors(arms: Sequence[str], preferred: str, floor: float = FLOOR) -> tuple[float, ...]:
    """Return probabilities: each arm's floor, and the rest for the preferred one."""
    return tuple(floor + (1 - floor * len(arms)) * (arm == preferred) for arm in arms)


def migration_row(request: AdviceRequest) -> list[float]:
    """Return what a migration is decided by, in the order of a `MigrationDecider`'s columns."""
    loads = request.src_load_permille / 1000, request.dst_load_permille / 1000
    return [request.cpu, request.nr_idle_cpus, request.nr_busy_cpus, *loads, 0, 0, 0, 0, 0]


class MigrationDraws:
    """Answers requests by draws, and pairs them with what came of them.

    Args:
        decider: Prefers an arm.
        version: Of it.
        rng: Draws.

    Attributes:
        nr_dropped: Rows that nobody took in time.
    """

    def __init__(self, decider: Decides, version: str, rng: random.Random) -> None:
        self.decider, self.version = decider, version
        self.nr_dropped = 0
        self._rng = rng
        self._rows: deque[DecisionRow | OutcomeRow] = deque(maxlen=_MOST_ROWS)
        self._open: OrderedDict[tuple[int, int], _Asked] = OrderedDict()  # by task: its last draw
        self._number = 0

    def advise(self, requests: Sequence[AdviceRequest]) -> list[AdviceAnswer]:
        """Draw an arm for each request; where the scheduler itself is to decide, there is no answer."""
        for request in requests:
            self._conclude(request)
        goes = self.decider.decide_batch(np.array([migration_row(one) for one in requests], np.float32))
        drawn = [self._draw(one, bool(go)) for one, go in zip(requests, goes, strict=True)]
        return [answer for answer in drawn if answer is not None]

    def taken(self, answers: Sequence[AdviceAnswer], nr_taken: int) -> None:
        """Note how many answers of a batch hold: others came too late, and which, nobody tells."""
        for one in answers:
            if asked := self._open.get((one.tid, one.start_time_ns)):
                asked.taken_share = nr_taken / len(answers)

    def stopped(self, why: str) -> None:
        """Say that what was drawn last does not act any more."""
        for asked in self._open.values():
            asked.stopped = asked.stopped or why

    def take_rows(self) -> list[DecisionRow | OutcomeRow]:
        """Return the rows since the last call; another thread may be adding some."""
        return [self._rows.popleft() for _ in range(len(self._rows))]

    def _draw(self, request: AdviceRequest, go: bool) -> AdviceAnswer | None:
        arms = migration_arms(request)
        shares = with_floors(arms, MIGRATE if go and MIGRATE in arms else STAY)
        arm = self._rng.choices(arms, shares)[0]
        self._number += 1
        row = DecisionRow(
            id=str(self._number),
            time_ns=request.timestamp_ns,
            policy=POLICY,
            version=self.version,
            arms=arms,
            propensities=shares,
            action=arm,
            features={name: float(value) for name, value in features_of(request).items()},
            subject=f"thread:{request.tid}:{request.start_time_ns}",
        )
        self._add(row)
        answer = None
        if arm != OWN:
            cpu = request.cpu if arm == STAY else request.offered_cpu
            answer = answer_to(request, valid_ns=VALID_NS, cpu=cpu)
        expires_ns = request.timestamp_ns + VALID_NS
        self._open[request.tid, request.start_time_ns] = _Asked(
            row.id, request.cpu, request.offered_cpu, expires_ns
        )
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return answer

    def _conclude(self, request: AdviceRequest) -> None:
        """Say what came of the task's last draw: this request tells."""
        asked = self._open.pop((request.tid, request.start_time_ns), None)
        if asked is None:
            return
        now = features_of(request)
        loss = float(now["mean_delay_ns"]) / 1e6
        terms = {
            "mean_delay_ms": loss,
            "burst_ms": now["burst_ns"] / 1e6,
            "cpu_before": asked.cpu,
            "cpu_offered": asked.offered_cpu,
            "cpu_after": request.cpu,
            "taken_share": asked.taken_share,
            "expired": float(request.timestamp_ns - int(now["burst_ns"]) > asked.expires_ns),
        }
        known = None if asked.stopped else loss
        self._add(OutcomeRow(asked.id, request.timestamp_ns, known, terms, asked.stopped))

    def _add(self, row: DecisionRow | OutcomeRow) -> None:
        self.nr_dropped += len(self._rows) == _MOST_ROWS
        self._rows.append(row)
