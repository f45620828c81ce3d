"""Does it pay to move a task on this machine? Tasks are moved at random while they are recorded.

Now and then one of the command's threads that run or wait is drawn, and another CPU that it may use; a coin
decides whether it is moved there. All draws are kept with their odds, those that moved nobody, too: what
became of both kinds differs by nothing but the move, so the difference is caused by it.

A move is `sched_setaffinity` to the one CPU, and at once back to what was there before. It is written to the
journal first, as for a moment the thread may run there alone: whoever dies then, `schedtuna undo` puts it
back. The journal is written for those that stay, too: what that costs is the same for both.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from schedtuna.capabilities import read_kernel_file
from schedtuna.errors import SchedtunaError, UsageError
from schedtuna.machine.tasks import Task, descendants, direct_children, is_alive, threads

if TYPE_CHECKING:
    from schedtuna.knobs.journal import Journal

KIND = "random_migration"  # of samples
ODDS = 0.5  # of a move
MOST_PER_S = 100.0
_LEAST_PAUSE_S = 0.002
_STATE, _START_TICKS, _PROCESSOR = 0, 19, 36  # fields of /proc/PID/stat behind the name
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class ThreadOnCpu(NamedTuple):
    """A thread that runs or waits, where, and where it may."""

    task: Task
    cpu: int
    allowed: tuple[int, ...]


def threads_that_can_run(processes: Iterable[int]) -> Iterator[ThreadOnCpu]:
    """Yield the threads of processes that run or wait for a CPU now."""
    for tgid in processes:
        for task in threads(tgid):
            try:
                text = read_kernel_file(f"/proc/{tgid}/task/{task.tid}/stat")
                fields = text[text.rindex(")") + 2 :].split()
                if fields[_STATE] == "R" and int(fields[_START_TICKS]) == task.start_ticks:
                    allowed = tuple(sorted(os.sched_getaffinity(task.tid)))
                    yield ThreadOnCpu(task, int(fields[_PROCESSOR]), allowed)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has exited meanwhile


class RandomMigrations:
    """Draws while it is entered, in a thread of its own.

    Args:
        per_s: Draws per second, on average; times between them are exponential.
        seed: Of all draws.
        note: Called with the time (CLOCK_MONOTONIC, ns) and the values of each draw.
        others: Children of this process whose threads are not to be moved.
        mover: Moves a thread, or not, and returns when: tests have their own. None: `move_or_stay`.

    Attributes:
        nr_draws: How many there were.
        nr_moves: How many of them moved somebody.
        nr_without: How often nobody could be drawn: nobody ran or waited who may use two CPUs.

    Raises:
        UsageError: The rate makes no sense, or there is one CPU.
    """

    def __init__(
        self,
        per_s: float,
        seed: int,
        note: Callable[[int, Mapping[str, Any]], object],
        *,
        others: Callable[[], Iterable[int]] = tuple,
        mover: Callable[[ThreadOnCpu, int, bool], int] | None = None,
    ) -> None:
        if not 0 < per_s <= MOST_PER_S:
            raise UsageError(f"{per_s:g} random migrations a second: expected up to {MOST_PER_S:g}")
        if len(os.sched_getaffinity(0)) < 2:
            raise UsageError("there is one CPU, so nobody can be moved")
        self._mean_s, self._rng = 1 / per_s, np.random.default_rng(seed)
        self._note, self._others = note, others
        self._move = Mover() if mover is None else mover
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="schedtuna-migrate", daemon=True)
        self._failure: BaseException | None = None
        self.nr_draws = self.nr_moves = self.nr_without = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def _work(self) -> None:
        try:
            while not self._stop.wait(max(self._rng.exponential(self._mean_s), _LEAST_PAUSE_S)):
                self.draw(list(threads_that_can_run(self._processes())))
        except (SchedtunaError, OSError) as error:
            self._failure = error  # raised again in the caller's thread

    def _processes(self) -> Iterator[int]:
        others = set(self._others())
        for child in direct_children(os.getpid()):
            if child not in others:
                yield from descendants(child)

    def draw(self, able: list[ThreadOnCpu]) -> None:
        """Draw one thread, its destination, and whether it moves, and note all of it."""
        able = [one for one in able if set(one.allowed) - {one.cpu}]
        if not able:
            self.nr_without += 1
            return
        chosen = able[int(self._rng.integers(len(able)))]
        elsewhere = [cpu for cpu in chosen.allowed if cpu != chosen.cpu]
        destination = elsewhere[int(self._rng.integers(len(elsewhere)))]
        moves = bool(self._rng.random() < ODDS)
        try:
            at_ns = self._move(chosen, destination, moves)
        except ProcessLookupError:
            self.nr_without += 1  # it exited before the coin meant anything
            return
        self.nr_draws += 1
        self.nr_moves += moves
        values = {"tid": chosen.task.tid, "source": chosen.cpu, "destination": destination}
        self._note(at_ns, {**values, "moves": int(moves), "odds": ODDS})


class Mover:
    """Moves threads; where they may run is as before when it returns.

    Args:
        journal: Where moves are written down first; None: this user's.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        from schedtuna.knobs.affinity import Affinity
        from schedtuna.knobs.journal import Journal

        self._knob, self._journal = Affinity(), journal or Journal()

    def __call__(self, thread: ThreadOnCpu, cpu: int, moves: bool) -> int:
        """Move a thread to a CPU, or let it be, and return when that was decided.

        Raises:
            ProcessLookupError: It exited before.
            KnobError: It could not be put back; the journal has it.
            JournalError: The journal can't be written, or somebody else changes where the thread may run.
        """
        from schedtuna.errors import KnobError
        from schedtuna.knobs.records import Change, TaskSubject
        from schedtuna.knobs.undo import revert_records

        tid, allowed = thread.task.tid, list(thread.allowed)
        since_ticks = time.clock_gettime_ns(time.CLOCK_BOOTTIME) * _TICKS_PER_S // 10**9
        subject = TaskSubject(**thread.task._asdict(), reach="heirs", since_ticks=since_ticks)
        records = self._journal.begin([Change(self._knob.name, subject, allowed, [cpu])])
        try:
            if not is_alive(tid, thread.task.start_ticks):
                raise ProcessLookupError
            at_ns = time.monotonic_ns()
            if moves:
                with suppress(
                    ProcessLookupError
                ):  # it counts as drawn all the same: so would one that stayed
                    self._knob.write(tid, [cpu])
                    self._journal.step("moved")
                    self._knob.write(tid, allowed)
        finally:
            # Also what it forked in between, and what a failure left.
            outcomes = revert_records(records, self._journal)
        if failed := [outcome.reason for outcome in outcomes if not outcome.closed]:
            raise KnobError(f"thread {tid} could not be put back: {'; '.join(failed)}", hint="schedtuna undo")
        return at_ns
