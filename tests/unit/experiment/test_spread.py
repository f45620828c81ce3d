"""Blocks on several machines: whole on one, in their order, made anew where a machine is lost."""

import threading

import numpy as np
import pytest

from schedtuna.backend.agent_client import LostAgentError
from schedtuna.errors import MetricError, StudyError
from schedtuna.evidence.design import Arm, plan_campaign
from schedtuna.experiment.spread import BlockRest, BlockSpread

PLANS = plan_campaign(np.random.default_rng(1), 12)


class Machine:
    """Makes runs; is lost, or waits, where the test says so."""

    def __init__(self, name, *, lost_at=(), gate=None):
        self.name, self.lost_at, self.gate, self.given_up = name, lost_at, gate, threading.Event()


class Blocks:
    """A spread over machines, and what they were asked for."""

    def __init__(self, *machines, rest=None, plans=PLANS, on_loss=lambda: None):
        self.told, self.ran, self.on_loss = [], [], on_loss
        self.rest = rest or {}
        for machine in machines:
            machine.give_up = machine.given_up.set
        self.spread = BlockSpread(
            {machine.name: machine for machine in machines},
            plans,
            rest=lambda number: self.rest.get(number, BlockRest()),
            run_one=self.run_one,
            tell=self.tell,
        )

    def tell(self, text):
        self.told.append(text)
        self.on_loss()

    def run_one(self, machine, arm, plan, place):
        if machine.gate is not None:
            while not (machine.gate.wait(0.01) or machine.given_up.is_set()):
                pass
        self.ran.append((machine.name, plan.seed, arm))
        if len([name for name, *_ in self.ran if name == machine.name]) in machine.lost_at:
            raise LostAgentError("no answer")
        return machine.name, plan.seed, arm

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.spread.close()


def require_whole(runs, plan):
    assert [arm for _, _, arm in runs.trials] == list(plan.order)
    assert {(name, seed) for name, seed, _ in runs.trials} == {(runs.machine, plan.seed)}


def until_begun(spread, number):
    while not spread.is_begun(number):
        threading.Event().wait(0.01)


def test_blocks_come_in_order_and_are_whole_on_one_machine():
    with Blocks(Machine("a"), Machine("b"), Machine("c")) as blocks:
        for number, plan in enumerate(PLANS):
            require_whole(blocks.spread.block(number), plan)
    assert len(blocks.ran) == 3 * len(PLANS), "none is made twice"
    assert blocks.told == []


# Blocks that have a machine of theirs, so that it is certain which one makes them.
HERE_AND_THERE = {0: BlockRest(0, "a"), 1: BlockRest(0, "slow")}


def test_several_are_made_at_once_and_none_far_ahead():
    gate = threading.Event()
    with Blocks(Machine("a"), Machine("slow", gate=gate), rest=HERE_AND_THERE) as blocks:
        require_whole(blocks.spread.block(0), PLANS[0])
        until_begun(blocks.spread, 1)
        assert not blocks.spread.is_begun(3)
        gate.set()
        for number in range(1, 4):
            require_whole(blocks.spread.block(number), PLANS[number])
        assert not blocks.spread.is_begun(6)


def test_a_lost_machines_block_is_made_anew_by_another():
    gate = threading.Event()  # until b is lost, a waits: so b has a block
    with Blocks(Machine("a", gate=gate), Machine("b", lost_at=(2,)), on_loss=gate.set) as blocks:
        for number, plan in enumerate(PLANS):
            require_whole(blocks.spread.block(number), plan)
    assert len(blocks.told) == 1
    assert blocks.told[0].startswith("b was lost in block ")
    assert "do not count" in blocks.told[0]
    assert len(blocks.ran) == 3 * len(PLANS) + 2


def test_without_any_machine_left_it_says_so():
    machines = Machine("a", lost_at=(1,)), Machine("b", lost_at=(5,))
    with Blocks(*machines) as blocks, pytest.raises(LostAgentError, match="no answer any more from"):
        [blocks.spread.block(number) for number in range(len(PLANS))]
    assert len(blocks.told) == 2


def test_a_candidate_that_takes_machines_down_is_no_accident():
    plans = [plan for plan in PLANS if plan.order[0] is Arm.B]
    machines = [Machine(name, lost_at=(1,)) for name in "ab"] + [Machine("c", gate=threading.Event())]
    with (
        Blocks(*machines, plans=plans * 3) as blocks,
        pytest.raises(StudyError, match="run of the candidate"),
    ):
        blocks.spread.block(2)


def test_another_error_of_a_machine_ends_it():
    def fail(*_):
        raise MetricError("no such metric")

    with Blocks(Machine("a")) as blocks:
        blocks.spread._run_one = fail
        with pytest.raises(MetricError):
            blocks.spread.block(0)


def test_a_block_goes_on_where_it_was_begun():
    rest = {0: BlockRest(2, "b"), 1: None}
    with Blocks(Machine("a"), Machine("b"), rest=rest) as blocks:
        runs = blocks.spread.block(0)
        assert (runs.machine, [arm for *_, arm in runs.trials]) == ("b", [PLANS[0].order[2]])
        require_whole(blocks.spread.block(2), PLANS[2])
    with Blocks(Machine("a"), rest=rest) as blocks, pytest.raises(StudyError, match="was begun on b"):
        blocks.spread.block(0)


def test_what_is_under_way_at_the_end_is_given_up():
    slow = Machine("slow", gate=threading.Event())
    with Blocks(Machine("a"), slow, rest=HERE_AND_THERE) as blocks:
        blocks.spread.block(0)
        until_begun(blocks.spread, 1)
    assert slow.given_up.is_set()
    assert not any(thread.is_alive() for thread in blocks.spread._threads.values())
