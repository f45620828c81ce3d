"""Which worker makes which run next? Pure: without Ray, and without a clock.

Runs are handed out in the order in which they will be asked for, and their outcomes wait here until they are:
who is quicker changes nothing that is seen. What a worker had when it died is handed out again, if that is
allowed; a run during which three workers died would take a fourth one, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

MOST_DEATHS = 3

Run = TypeVar("Run")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Batch(Generic[Run]):
    """Runs that a worker makes one after the other.

    Attributes:
        number: Of all batches, this one.
        runs: What to do.
    """

    number: int
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class LostRun:
    """A run without an outcome: whoever made it died.

    Attributes:
        nr_deaths: How many died over it.
    """

    nr_deaths: int


@dataclass(frozen=True)
class _Out:
    worker: Hashable
    tickets: tuple[int, ...]


@dataclass
class _Ticket(Generic[Run]):
    run: Run
    nr_deaths: int = 0
    is_wanted: bool = True  # still, by somebody who will ask


class Dispatch(Generic[Run, Outcome]):
    """What was foreseen, handed out and came back, of the runs that nobody has taken yet.

    Args:
        may_repeat: Whether a run that was lost may be made anew.
    """

    def __init__(self, *, may_repeat: bool) -> None:
        self._may_repeat = may_repeat
        self._planned: Iterator[Run] = iter(())
        self._tickets: dict[int, _Ticket[Run]] = {}
        self._foreseen: deque[int] = deque()  # pulled from the plan, and not asked for yet
        self._waiting: deque[int] = deque()  # to be handed out
        self._out: dict[int, _Out] = {}
        self._outcomes: dict[int, Outcome | LostRun] = {}
        self._nr_tickets = self._nr_batches = 0

    @property
    def nr_held(self) -> int:
        """Runs that are foreseen, handed out, or have an outcome that nobody has taken."""
        return len(self._tickets)

    def nr_out(self, worker: Hashable) -> int:
        """How many batches a worker has."""
        return sum(out.worker == worker for out in self._out.values())

    def foresee(self, runs: Iterable[Run]) -> None:
        """Plan these runs in place of those that were planned and not asked for."""
        for number in self._foreseen:
            self._tickets[number].is_wanted = False
            if number in self._waiting:
                self._waiting.remove(number)
                del self._tickets[number]
            elif self._outcomes.pop(number, None) is not None:
                del self._tickets[number]
        self._foreseen.clear()
        self._planned = iter(runs)

    def fill(self, most: int) -> None:
        """Take from the plan until so many runs are held."""
        while self.nr_held < most:
            run = next(self._planned, None)
            if run is None:
                return
            number = self._issue(run)
            self._foreseen.append(number)
            self._waiting.append(number)

    def want(self, run: Run) -> int:
        """Return the ticket of a run that is asked for now: the next of the plan, or one out of turn."""
        if not self._foreseen:
            self.fill(self.nr_held + 1)
        if self._foreseen and self._tickets[self._foreseen[0]].run == run:
            return self._foreseen.popleft()
        number = self._issue(run)
        self._waiting.appendleft(number)
        return number

    def hand_out(self, worker: Hashable, most: int) -> Batch[Run] | None:
        """Give a worker so many runs at most; None: there are none.

        A run that somebody died over is handed out alone, so that it takes no other with it.
        """
        numbers: list[int] = []
        while self._waiting and len(numbers) < most:
            is_suspect = self._tickets[self._waiting[0]].nr_deaths > 0
            if is_suspect and numbers:
                break
            numbers.append(self._waiting.popleft())
            if is_suspect:
                break
        if not numbers:
            return None
        self._nr_batches += 1
        self._out[self._nr_batches] = _Out(worker, tuple(numbers))
        return Batch(self._nr_batches, tuple(self._tickets[number].run for number in numbers))

    def returned(self, batch: int, outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of a batch, in the order of its runs."""
        out = self._out.pop(batch)
        for number, outcome in zip(out.tickets, outcomes, strict=True):
            self._settle(number, outcome)

    def lost(self, worker: Hashable) -> int:
        """Note that a worker died; return how many runs it took with it."""
        gone = [batch for batch, out in self._out.items() if out.worker == worker]
        outs = [self._out.pop(batch) for batch in gone]
        at_work = outs[0].tickets if outs else ()  # it had not begun with the batches after that
        numbers = [number for out in outs for number in out.tickets]
        again = []
        for number in numbers:
            ticket = self._tickets[number]
            ticket.nr_deaths += number in at_work
            if self._may_repeat and ticket.is_wanted and ticket.nr_deaths < MOST_DEATHS:
                again.append(number)
            else:
                self._settle(number, LostRun(ticket.nr_deaths))
        self._waiting.extendleft(reversed(again))
        return len(numbers)

    def take(self, number: int) -> Outcome | LostRun | None:
        """Return the outcome of a ticket, once; None: it is still to come."""
        outcome = self._outcomes.pop(number, None)
        if outcome is not None:
            del self._tickets[number]
        return outcome

    def _issue(self, run: Run) -> int:
        self._nr_tickets += 1
        self._tickets[self._nr_tickets] = _Ticket(run)
        return self._nr_tickets

    def _settle(self, number: int, outcome: Outcome | LostRun) -> None:
        if self._tickets[number].is_wanted:
            self._outcomes[number] = outcome
        else:
            del self._tickets[number]


@dataclass
class Pace:
    """How many runs go into a batch: so many that what a batch costs beside them does not matter.

    Attributes:
        batch_s: How long a batch should take.
        most: Runs in it.
    """

    batch_s: float = 0.25
    most: int = 32
    _run_s: float | None = field(default=None, init=False)

    def learn(self, run_s: float) -> None:
        """Take in how long a run took: the mean of late ones counts."""
        self._run_s = run_s if self._run_s is None else 0.9 * self._run_s + 0.1 * run_s

    @property
    def nr_runs(self) -> int:
        """Runs of the next batch; one, until it is known how long they take."""
        return (
            1 if self._run_s is None else max(1, min(self.most, int(self.batch_s / max(self._run_s, 1e-6))))
        )
