"""No policy leaves a thread behind that stepped back and has become interactive, whatever came before."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agent.rows import sensed, thread

from schedtuna.agent.contract import Standing
from schedtuna.agent.policies.priority import make_priority
from schedtuna.agent.policies.returning import NR_BURSTS, Glance
from schedtuna.agent.policies.rules import RulesPolicy

TID = 10
PHASES = st.lists(st.tuples(st.sampled_from(["hog", "short", "asleep"]), st.integers(1, 8)), max_size=5)


class World:
    """One thread that changes its ways, beside one that waits; what the policy wants is in force at once."""

    def __init__(self, policy):
        self.policy, self.standing, self.number = policy, {}, 0
        self.cpu_ns = self.nr_sleeps = 0

    def spend(self, way, share):
        """Let the thread go its way for a share of a second; return what it did."""
        cpu_ns, nr_sleeps = {
            "hog": (int(4e8 * share), 0),
            "short": (int(4e7 * share), max(NR_BURSTS, int(40 * share))),
            "asleep": (0, 0),
        }[way]
        self.cpu_ns += cpu_ns
        self.nr_sleeps += nr_sleeps
        return cpu_ns, nr_sleeps

    def row(self, way, cpu_ns=0, nr_sleeps=0):
        wait_ms = {"hog": 500, "short": 200, "asleep": 0}[way]
        return thread(
            TID,
            cpu_ms=cpu_ns / 1e6,
            wait_ms=wait_ms,
            wakeups=nr_sleeps,
            nice=10 if self.is_back else 0,
            total_cpu_time_ns=self.cpu_ns,
            total_nr_voluntary=self.nr_sleeps,
        )

    @property
    def is_back(self):
        return any(
            one.intent.target.tid == TID and one.intent.setting == "nice" for one in self.standing.values()
        )

    def interval(self, way, *, glances):
        did = np.zeros(2, np.int64)
        for _ in range(glances):
            did += self.spend(way, 1 / (glances + 1))
            for key in self.policy.reconsider(Glance(0, self.row(way)), dict(self.standing)):
                del self.standing[key]
        did += self.spend(way, 1 / (glances + 1))
        other = thread(
            20, cpu_ms=50, wait_ms=200, wakeups=50, total_cpu_time_ns=10**9, total_nr_voluntary=900
        )
        now = sensed(self.number, self.row(way, *did.tolist()), other)
        found = self.policy.decide(now, dict(self.standing))
        self.standing = {
            one.key: self.standing.get(one.key) or Standing(one, self.number, one.old) for one in found
        }
        self.number += 1


@pytest.mark.parametrize("make", [RulesPolicy, lambda: make_priority(None)], ids=["rules", "priority"])
@given(phases=PHASES, glances=st.integers(0, 4))
def test_who_has_become_interactive_is_not_left_behind_for_longer_than_an_interval(make, phases, glances):
    world = World(make())
    for way, times in [("hog", 4), *phases]:
        for _ in range(times):
            world.interval(way, glances=glances)
    if not world.is_back:
        return
    world.interval("short", glances=glances)
    assert not world.is_back, f"left behind after {phases}"


@pytest.mark.parametrize("make", [RulesPolicy, lambda: make_priority(None)], ids=["rules", "priority"])
def test_the_world_above_has_it_step_back_at_all(make):
    world = World(make())
    for _ in range(4):
        world.interval("hog", glances=2)
    assert world.is_back
