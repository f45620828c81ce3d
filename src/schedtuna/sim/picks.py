"""Do the simulator's two EEVDFs choose whom the kernel chose, set to what it chose from?

Recorded picks have every candidate's state. The native rule and the Python one name the next task of each;
so do rules that are wrong on purpose, which tells what the load can tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from schedtuna.sim.eevdf import WEIGHT_SHIFT, Entity, Queue
from schedtuna.sim.native import pick_from_states
from schedtuna.trace.picks import CandidateFlag, Picks

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Choices:
    """Consistent picks, as columns over all their candidates; each pick's chosen one stands at its start."""

    vruntime: Ints
    deadline: Ints
    slice_ns: Ints
    weight: Ints
    delayed: Bools
    starts: Ints
    counts: Ints

    @classmethod
    def of(cls, picks: Picks) -> Choices:
        """Return the columns of consistent picks."""
        rows = picks.candidates
        return cls(
            vruntime=rows["vruntime"],
            deadline=rows["deadline"],
            slice_ns=rows["slice_ns"].astype(np.int64),
            weight=rows["weight"].astype(np.int64),
            delayed=rows["flags"] & CandidateFlag.DELAYED != 0,
            starts=picks.starts,
            counts=picks.queues["nr_candidates"].astype(np.int64),
        )

    def total(self, values: Ints) -> Ints:
        """Sum per pick, repeated for each candidate."""
        return np.repeat(np.add.reduceat(values, self.starts), self.counts)

    def is_eligible(self, weight: Ints | None = None) -> Bools:
        """Who is not ahead of V, of those with these weights (None: their own)."""
        weight = self.weight if weight is None else weight
        return self.vruntime * self.total(weight) <= self.total(self.vruntime * weight)

    def first_of(self, key: Ints, allowed: Bools | None = None) -> Bools:
        """Per pick, whether the chosen one has the least key of those that are allowed."""
        if allowed is not None:
            key = np.where(allowed, key, _NEVER)
        least = np.minimum.reduceat(key, self.starts)
        chosen = key[self.starts]
        found: Bools = (chosen == least) & (chosen < _NEVER)
        return found


_ONE_SLICE_NS = 1_000_000

# Rules that are wrong on purpose: name -> whether the chosen one of each pick is theirs.
MUTANTS: dict[str, Callable[[Choices], Bools]] = {
    "V without weights": lambda c: c.first_of(c.deadline, c.is_eligible(np.ones_like(c.weight))),
    "V without delayed tasks": lambda c: c.first_of(
        c.deadline, c.is_eligible(np.where(c.delayed, 0, c.weight)) & ~c.delayed
    ),
    "V without the chosen task": lambda c: c.first_of(c.deadline, c.is_eligible(_without_chosen(c))),
    "no eligibility": lambda c: c.first_of(c.deadline),
    "least vruntime (CFS)": lambda c: c.first_of(c.vruntime),
    "greatest lag": lambda c: c.first_of(
        (c.vruntime - c.total(c.vruntime * c.weight) // c.total(c.weight)) * c.weight
    ),
    "one slice for all": lambda c: c.first_of(c.vruntime + _ONE_SLICE_NS * 1024 // c.weight, c.is_eligible()),
    "slice not divided by weight": lambda c: c.first_of(c.vruntime + c.slice_ns, c.is_eligible()),
}


def _without_chosen(choices: Choices) -> Ints:
    weight = choices.weight.copy()
    weight[choices.starts] = 0
    return weight


# Why a rule may name another one than the kernel did.
MISSES: dict[str, str] = {
    "buddy": "the chosen group was cfs_rq->next until this pick, which cleared it before it was recorded",
    "protection": "the rule keeps who ran before, whose slice is protected",
    "ineligible": "the chosen one is ahead of V",
    "other": "none of these",
}


@dataclass
class LevelReport:
    """What came of the picks of one kind: from tasks' own queues, or from those that groups are on.

    Attributes:
        nr_picks: All that were recorded.
        nr_judged: Those whose candidates give the kernel's sums; the others are no oracle.
        nr_choices: Of these, with two or more eligible candidates.
        nr_native: In how many the native rule names the chosen one.
        nr_python: In how many the Python one does.
        nr_by_chance: In how many of `nr_choices` a choice at random among the eligible would, on average.
        nr_ties: In how many another eligible candidate had the chosen one's deadline.
        misses: Of the two rules, by kind (`MISSES`).
        mutants: Wrong rules: name -> in how many of `nr_judged` they name the chosen one.
    """

    nr_picks: int = 0
    nr_judged: int = 0
    nr_choices: int = 0
    nr_native: int = 0
    nr_python: int = 0
    nr_by_chance: float = 0.0
    nr_ties: int = 0
    misses: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MISSES, 0))
    mutants: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MUTANTS, 0))

    @property
    def agrees(self) -> bool:
        """Whether both rules name the chosen one each time."""
        return self.nr_native == self.nr_python == self.nr_judged


@dataclass
class PickReport:
    """What came of all picks: `flat` of tasks' own queues, `groups` of the queues above."""

    flat: LevelReport = field(default_factory=LevelReport)
    groups: LevelReport = field(default_factory=LevelReport)


def verify_picks(parts: Iterable[Picks]) -> PickReport:
    """Compare recorded picks with the rules.

    Args:
        parts: As `Trace.picks()` gives them.
    """
    report = PickReport()
    for picks in parts:
        buddies = _buddies_before(picks)
        for level, is_wanted in (
            (report.flat, picks.queues["level"] == 0),
            (report.groups, picks.queues["level"] > 0),
        ):
            level.nr_picks += int(np.count_nonzero(is_wanted))
            is_judged = is_wanted & picks.is_consistent() & (picks.queues["nr_candidates"] > 1)
            if is_judged.any():
                _judge(level, picks.where(is_judged), buddies[is_judged])
    return report


def _judge(report: LevelReport, picks: Picks, buddies: Ints) -> None:
    choices = Choices.of(picks)
    eligible = choices.is_eligible()
    nr_eligible = np.add.reduceat(eligible.astype(np.int64), choices.starts)
    native = native_choices(picks)
    python = python_choices(picks)
    report.nr_judged += len(picks.queues)
    report.nr_choices += int(np.count_nonzero(nr_eligible > 1))
    report.nr_by_chance += float(
        (eligible[choices.starts] / np.maximum(nr_eligible, 1))[nr_eligible > 1].sum()
    )
    report.nr_native += int(np.count_nonzero(native == 0))
    report.nr_python += int(np.count_nonzero(python == 0))
    same = eligible & (choices.deadline == np.repeat(choices.deadline[choices.starts], choices.counts))
    report.nr_ties += int(np.count_nonzero(np.add.reduceat(same.astype(np.int64), choices.starts) > 1))
    for name, rule in MUTANTS.items():
        report.mutants[name] += int(np.count_nonzero(rule(choices)))
    for at in np.flatnonzero((native != 0) | (python != 0)).tolist():
        start = choices.starts[at]
        named = picks.candidates[start + (int(native[at]) or int(python[at]))]
        if buddies[at] == picks.candidates["tid"][start]:
            kind = "buddy"
        elif named["flags"] & CandidateFlag.PREV and named["vruntime"] < named["vprot"]:
            kind = "protection"
        else:
            kind = "other" if eligible[start] else "ineligible"
        report.misses[kind] += 1


def native_choices(picks: Picks) -> Ints:
    """Return which candidate of each pick the native rule names; 0 is the one that the kernel chose."""
    return np.frombuffer(
        pick_from_states(picks.queues.tobytes(), picks.candidates.tobytes()), np.uint32
    ).astype(np.int64)


def python_choices(picks: Picks) -> Ints:
    """Likewise, of the rule in Python (`eevdf.Queue.pick`)."""
    names = ("vruntime", "deadline", "slice_ns", "vprot", "weight", "flags")
    rows = list(zip(*(picks.candidates[name].tolist() for name in names), strict=True))
    ends = np.cumsum(picks.queues["nr_candidates"].astype(np.int64)).tolist()
    found, start = np.empty(len(ends), np.int64), 0
    for at, end in enumerate(ends):
        queue, entities = Queue(nr_queued=end - start), []
        for vruntime, deadline, slice_ns, vprot, weight, flags in rows[start:end]:
            entity = Entity(vruntime, deadline, slice_ns, vprot, weight << WEIGHT_SHIFT, on_rq=True)
            entities.append(entity)
            if flags & CandidateFlag.PREV:
                queue.curr = entity
            else:
                queue.enqueue(entity)
            if flags & CandidateFlag.BUDDY:
                queue.next = entity
        named = queue.pick()
        found[at] = next((place for place, entity in enumerate(entities) if entity is named), len(entities))
        start = end
    return found


def _buddies_before(picks: Picks) -> Ints:
    """Per pick, the buddy that the pick before, from the same queue and in this part, has shown; -1: none."""
    queues = picks.queues
    shown = np.full(len(queues), -1, np.int64)
    is_buddy = picks.candidates["flags"] & CandidateFlag.BUDDY != 0
    of_pick = np.repeat(np.arange(len(queues)), queues["nr_candidates"])
    shown[of_pick[is_buddy]] = picks.candidates["tid"][is_buddy]
    order = np.argsort(queues["queue"], kind="stable")
    before = np.full(len(queues), -1, np.int64)
    same = queues["queue"][order][1:] == queues["queue"][order][:-1]
    before[order[1:][same]] = shown[order[:-1][same]]
    return before
