"""Who makes which block where there are several machines? Each block is whole on one of them.

Blocks are begun in their order, each by the machine that is free first, and are handed on in their order,
too: what the first n of them are must not depend on which took longest. Their orders were drawn beforehand,
so that no block's order has to do with the machine that makes it. A machine that is lost goes, and its block
is made anew by another one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from schedtuna.backend.agent_client import LostAgentError
from schedtuna.backend.base import Backend, Trial
from schedtuna.errors import StudyError
from schedtuna.evidence.design import Arm, BlockPlan


class BlockMachine(Backend, Protocol):
    """A machine of several."""

    def give_up(self) -> None:
        """End the run that another thread makes there."""
        ...


@dataclass(frozen=True)
class BlockRuns:
    """What a machine has made of a block.

    Attributes:
        machine: Its name.
        trials: Of those arms that were still to be run, in their order.
    """

    machine: str
    trials: Sequence[Trial]


@dataclass(frozen=True)
class BlockRest:
    """What an earlier session has left of a block: it goes on where it was begun.

    Attributes:
        nr_made: Runs that were made, 0 for a block that was not begun.
        machine: Where; empty: nowhere yet.
    """

    nr_made: int = 0
    machine: str = ""


RunOne = Callable[[Backend, Arm, BlockPlan, int], Trial]  # where, what, and which run of the block it is


class BlockSpread:
    """Blocks that several machines make at once.

    Args:
        machines: By name.
        plans: Of all blocks.
        rest: What is still to be run of a block.
        run_one: Makes a run.
        tell: Told that a machine was lost, with the arm whose run it made.
    """

    def __init__(
        self,
        machines: Mapping[str, BlockMachine],
        plans: Sequence[BlockPlan],
        *,
        rest: Callable[[int], BlockRest | None],
        run_one: RunOne,
        tell: Callable[[str], None],
    ) -> None:
        self._machines = dict(machines)
        self._plans = plans
        self._rest = rest
        self._run_one = run_one
        self._tell = tell
        self._made: dict[int, BlockRuns] = {}
        self._begun: dict[int, str] = {}
        self._lost: dict[str, Arm] = {}
        self._wanted = 0
        self._error: BaseException | None = None
        self._is_over = False
        self._changed = threading.Condition()
        self._threads: dict[str, threading.Thread] = {}

    def is_begun(self, number: int) -> bool:
        """Whether a machine makes a block, or has made it."""
        with self._changed:
            return number in self._begun

    def block(self, number: int) -> BlockRuns:
        """Return a block's runs once they are made; the next ones are begun meanwhile.

        Raises:
            LostAgentError: All machines were lost, or the one that has to finish what it began.
            StudyError: Two machines were lost, both in runs of the candidate.
        """
        with self._changed:
            self._wanted = number
            if not self._threads:
                self._start()
            self._changed.notify_all()
            self._changed.wait_for(lambda: number in self._made or self._why_not(number) is not None)
            if number in self._made:
                return self._made.pop(number)
            error = self._why_not(number)
            assert error is not None
            raise error

    def close(self) -> None:
        """End what is under way: runs beyond the last block that was asked for."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        for name, thread in self._threads.items():
            while thread.is_alive():
                self._machines[name].give_up()  # again, where it has just begun another run
                thread.join(1.0)

    def _start(self) -> None:
        for name, machine in self._machines.items():
            thread = threading.Thread(target=self._work, args=(name, machine), name=f"schedtuna-{name}"[:15])
            self._threads[name] = thread
            thread.start()

    def _why_not(self, number: int) -> BaseException | None:
        """Why a block will never be there; None: it may."""
        if self._error is not None:
            return self._error
        if len(self._lost) >= 2 and set(self._lost.values()) == {Arm.B}:
            return StudyError(
                f"{' and '.join(self._lost)} were lost, each in a run of the candidate",
                hint="look whether it takes machines down, before it is tried again",
            )
        pinned = self._rest_of(number).machine
        if len(self._lost) == len(self._machines) or pinned in self._lost:
            return LostAgentError(
                f"no answer any more from {' and '.join(self._lost)}",
                hint="what was found so far is kept: --resume goes on",
            )
        if pinned and pinned not in self._machines:
            return StudyError(
                f"block {number} was begun on {pinned}, which is not among the machines",
                hint="name it, too: a block is whole on one machine",
            )
        return None

    def _rest_of(self, number: int) -> BlockRest:
        return self._rest(number) or BlockRest()

    def _work(self, name: str, machine: BlockMachine) -> None:
        while (number := self._next(name)) is not None:
            plan = self._plans[number]
            nr_made = self._rest_of(number).nr_made
            trials: list[Trial] = []
            try:
                for place, arm in enumerate(plan.order[nr_made:], start=nr_made):
                    trials.append(self._run_one(machine, arm, plan, place))
                    if self._is_over:
                        return
            except LostAgentError as error:
                self._lose(name, number, arm, error)
                return
            except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for the block
                with self._changed:
                    self._error = self._error or error
                    self._changed.notify_all()
                return
            with self._changed:
                self._made[number] = BlockRuns(name, trials)
                self._changed.notify_all()

    def _next(self, name: str) -> int | None:
        """Wait for a block that a machine may begin, and begin it; None: there will be none."""

        def free() -> int | None:
            nr_live = len(self._machines) - len(self._lost)
            for number in range(self._wanted, min(self._wanted + nr_live, len(self._plans))):
                rest = self._rest(number)
                if number not in self._begun and rest is not None and rest.machine in ("", name):
                    return number
            return None

        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._error is not None or free() is not None)
            number = None if self._is_over or self._error is not None else free()
            if number is not None:
                self._begun[number] = name
            return number

    def _lose(self, name: str, number: int, arm: Arm, error: LostAgentError) -> None:
        if self._is_over:
            return
        with self._changed:
            self._lost[name] = arm
            del self._begun[number]
            self._changed.notify_all()
        self._tell(
            f"{name} was lost in block {number + 1}, in a run of the {arm.replace('_', ' ')}: its runs of "
            f"that block do not count, and another machine makes the block anew ({error})"
        )
