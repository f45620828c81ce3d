"""Sessions and control groups: what a nice value can't reach steps back as a whole, or not at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agent.rows import hog, interactive, sensed, thread

from schedtuna.agent.contract import Standing
from schedtuna.agent.policies.grouping import GroupSteps
from schedtuna.agent.policies.priority import make_priority
from schedtuna.agent.policies.returning import Glance
from schedtuna.agent.policies.rules import RulesPolicy
from schedtuna.trace.groups import AUTOGROUP

GROUPS = {70: "/system.slice/batch.service"}


def in_session(make, tid, leader, **values):
    return make(tid, sched_group=AUTOGROUP | leader, session=leader, **values)


def decided(policy, threads, *, cgroups=None, intervals=12):
    """What is in force after each interval, as an agent would have it that may do all."""
    in_force, seen = {}, []
    for number in range(intervals):
        now = sensed(number, *threads, cgroups=cgroups)
        wanted = policy.decide(now, in_force)
        in_force = {one.key: Standing(one, 0, one.old) for one in wanted}
        seen.append({(one.target.tell(), one.setting): one.new for one in wanted})
    return seen, in_force


@pytest.mark.parametrize("make", [RulesPolicy, lambda: make_priority(None)], ids=["rules", "priority"])
def test_a_session_of_nothing_but_hogs_steps_back_as_a_whole(make):
    leader = in_session(thread, 10, 10)  # a shell that waits
    threads = [leader, in_session(hog, 11, 10), in_session(hog, 12, 10), in_session(interactive, 20, 20)]
    seen, _ = decided(make(), threads)
    assert seen[-1] == {("the session of work (10)", "autogroup_nice"): 10}


def test_it_stays_so_and_returns_with_the_first_that_answers():
    policy = RulesPolicy()
    threads = [in_session(hog, 10, 10), in_session(hog, 11, 10), in_session(interactive, 20, 20)]
    seen, in_force = decided(policy, threads)
    assert seen[-1] == seen[-2] != {}
    rows = np.concatenate(threads[:2])
    assert policy.reconsider(Glance(0, rows), in_force) == []
    rows["total_nr_voluntary"][1], rows["total_cpu_time_ns"][1] = 5, 5_000_000
    assert policy.reconsider(Glance(0, rows), in_force) == list(in_force)


def test_nice_counts_in_the_one_session_that_holds_both():
    threads = [in_session(hog, 10, 10), in_session(interactive, 11, 10)]
    seen, _ = decided(RulesPolicy(), threads)
    assert seen[-1] == {("work (10)", "nice"): 10}


def test_where_several_sessions_hold_both_they_are_left_alone():
    threads = [
        make(tid, leader)
        for leader in (10, 20)
        for tid, make in (
            (leader, lambda tid, leader: in_session(hog, tid, leader)),
            (leader + 1, lambda tid, leader: in_session(interactive, tid, leader)),
        )
    ]
    assert decided(RulesPolicy(), threads)[0][-1] == {}


def test_a_session_without_its_leader_is_left_alone():
    threads = [in_session(hog, 11, 10), in_session(interactive, 20, 20)]
    assert decided(RulesPolicy(), threads)[0][-1] == {}


def test_a_control_group_steps_back_by_its_weight():
    threads = [hog(10, sched_group=70, cgroup_id=70), interactive(20)]
    seen, _ = decided(RulesPolicy(), threads, cgroups=GROUPS)
    assert seen[-1] == {("control group /system.slice/batch.service", "cpu_weight"): 11}
    assert decided(RulesPolicy(), threads, cgroups={})[0][-1] == {}  # it has no name that is known


def test_in_the_root_group_threads_step_back_by_themselves():
    seen, _ = decided(RulesPolicy(), [hog(10), interactive(20)])
    assert seen[-1] == {("work (10)", "nice"): 10}


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=8),
    st.integers(0, 4),
)
def test_what_is_shown_by_threads_is_what_was_decided_of_them(kinds, nr_root):
    """Folding and unfolding lose nothing but what is left alone; and no key is there twice."""
    policy, groups = RulesPolicy(), GroupSteps()
    threads = [
        in_session(hog if is_hog else interactive, 100 * (leader + 1) + number, 100 * (leader + 1))
        for number, (is_hog, leader) in enumerate(kinds)
    ] + [hog(1000 + number) for number in range(nr_root)]
    threads += [interactive(2000)]
    now = sensed(0, *threads)
    policy.decide(now, {})
    policy._groups = Unfolded()
    intents = policy.decide(sensed(1, *threads), {})
    back = {(one.target.tid, one.target.start_time_ns) for one in intents}
    folded = groups.fold(intents, now.tasks, {}, stepping_back=back)
    assert len({one.key for one in folded}) == len(folded)
    shown = groups.unfold({one.key: Standing(one, 0, one.old) for one in folded})
    assert set(shown) <= {one.key for one in intents}
    assert {one.key for one in intents if one.target.tid >= 1000} <= set(shown)
    assert all(one.intent.target.kind == "thread" for one in shown.values())


class Unfolded(GroupSteps):
    """Shows what a policy decides of threads."""

    def fold(self, intents, tasks, cgroups, *, stepping_back):
        return list(intents)
