"""Where rows of decisions are written: JSON lines in a file of their own, at a told rate, within a cap.

All are written while they fit. Where they would not, each is kept with a probability, which its row tells, so
that sums over the rows can be weighted; the coin knows nothing of the decision. What came of a decision is
written where the decision was.
"""

from __future__ import annotations

import os
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schedtuna.agent.contract import AgentPolicy
from schedtuna.agent.decisions.rows import (
    DECISION,
    LEFT_OUT,
    OUTCOME,
    DecidesByRows,
    DecisionRow,
    OutcomeRow,
    decision_fields,
    outcome_fields,
)
from schedtuna.agent.log import AgentLog, read_log

DECISIONS_NAME = "decisions.jsonl"
MOST_MB_PER_H = 8.0
_SPAN_S = 10.0  # for which a rate holds
_ROOM = 0.8  # of the cap that a rate is set for; the rest is for what comes unforeseen
_MOST_OPEN = 10_000  # decisions whose outcome is awaited


@dataclass
class DecisionLog:
    """Writes rows of decisions.

    Args:
        log: The file; see `open_decisions`.
        most_mb_per_h: The cap.
        rng: Draws which are kept.
        clock_s: Tells how time passes.

    Attributes:
        nr_seen: Decisions that there were.
        nr_kept: Decisions that were written.
        nr_cut: Decisions that were not, because a span's bytes were used up in spite of the rate.
    """

    log: AgentLog
    most_mb_per_h: float = MOST_MB_PER_H
    rng: random.Random = field(default_factory=random.Random)
    clock_s: Callable[[], float] = time.monotonic
    nr_seen: int = 0
    nr_kept: int = 0
    nr_cut: int = 0

    def __post_init__(self) -> None:
        self.run = f"{time.time_ns() >> 20:x}-{os.getpid():x}"
        self.rate = 1.0
        self._open: OrderedDict[str, str] = (
            OrderedDict()
        )  # id -> why it did not come into force; empty: it did
        self._began_s = self.clock_s()
        self._used = self._nr_offered = self._nr_written = 0  # in this span
        self._cut_told = 0

    @property
    def megabytes_per_h(self) -> float:
        """How fast the file grows."""
        return self.log.megabytes_per_h

    def told(self) -> dict[str, float]:
        """Return how many decisions there were and how many are in the file; empty: there were none."""
        if not self.nr_seen:
            return {}
        return {
            "seen": self.nr_seen,
            "kept": self.nr_kept,
            "rate": self.rate,
            "mb_per_h": self.megabytes_per_h,
        }

    def write(self, rows: Iterable[DecisionRow | OutcomeRow]) -> None:
        """Write rows, in their order; a decision comes before its outcome."""
        for row in rows:
            if isinstance(row, DecisionRow):
                self._decided(row)
            else:
                self._came_of(row)

    def take_from(self, policy: AgentPolicy, why_not_in_force: str) -> None:
        """Write what a policy has chosen among arms, and what it says came of it.

        Args:
            policy: One that gives rows out, or none such.
            why_not_in_force: Why nothing that it decided holds now; empty: it does.
        """
        if isinstance(policy, DecidesByRows):
            self.write(policy.take_rows())
        if why_not_in_force:
            self.not_in_force(why_not_in_force)

    def not_in_force(self, why: str) -> None:
        """Say that what was decided and has no outcome yet did not come, or stay, in force."""
        for id_ in self._open:
            self._open[id_] = self._open[id_] or why

    def close(self) -> None:
        """Close the file."""
        self._tell_cut()
        self.log.close()

    def _decided(self, row: DecisionRow) -> None:
        self._pass_time()
        self.nr_seen += 1
        self._nr_offered += 1
        if self.rate < 1 and self.rng.random() >= self.rate:
            return
        if self._used >= self._budget:
            self.nr_cut += 1
            return
        self._write(DECISION, decision_fields(row) | {"id": self._id(row.id), "rate": round(self.rate, 6)})
        self.nr_kept += 1
        self._nr_written += 1
        self._open[row.id] = ""
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)

    def _came_of(self, row: OutcomeRow) -> None:
        why = self._open.pop(row.id, None)
        if why is None:
            return
        fields = outcome_fields(row) | {"id": self._id(row.id)}
        if why:
            fields |= {"loss": None, "unknown": f"it was not in force: {why}"}
        self._write(OUTCOME, fields)

    def _write(self, kind: str, fields: dict[str, Any]) -> None:
        before = self.log.nr_bytes
        self.log.write(kind, **fields)
        self._used += self.log.nr_bytes - before

    def _id(self, own: str) -> str:
        return f"{self.run}-{own}"

    @property
    def _budget(self) -> float:
        return self.most_mb_per_h * 1e6 * _SPAN_S / 3600

    def _pass_time(self) -> None:
        """Once a span is over, set the rate by what was offered in it."""
        now_s = self.clock_s()
        passed_s = now_s - self._began_s
        if passed_s < _SPAN_S:
            return
        self._tell_cut()
        bytes_of_all = self._used / max(self._nr_written, 1) * self._nr_offered * _SPAN_S / passed_s
        self.rate = min(1.0, _ROOM * self._budget / bytes_of_all) if bytes_of_all else 1.0
        self._began_s, self._used = now_s, 0
        self._nr_offered = self._nr_written = 0

    def _tell_cut(self) -> None:
        if self.nr_cut > self._cut_told:
            self.log.write(LEFT_OUT, nr=self.nr_cut - self._cut_told, why="the cap was reached", run=self.run)
            self._cut_told = self.nr_cut


def open_decisions(directory: Path, *, most_bytes: int, most_mb_per_h: float = MOST_MB_PER_H) -> DecisionLog:
    """Open the file of decisions in a folder, for writing."""
    return DecisionLog(AgentLog(directory, most_bytes, name=DECISIONS_NAME), most_mb_per_h)


def read_decision_rows(directory: Path | None = None) -> Iterator[dict[str, Any]]:
    """Give the rows as they are stored, oldest first: see `decision_rows.decision_of` and `outcome_of`.

    Args:
        directory: The file's folder; default: that of the journal.
    """
    return read_log(directory, name=DECISIONS_NAME)
