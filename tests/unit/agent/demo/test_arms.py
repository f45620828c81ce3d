"""Who is changed under which arm, and when parts are swapped."""

from dataclasses import replace

import numpy as np
import pytest
from tests.unit.agent.sensed import interval

from schedtuna.agent.demo.arms import NONE, ONE_LINER, ORACLE, PLACEBO, OnlyOf, Roles, told_policy
from schedtuna.agent.demo.loads import FAMILIES, LOADS
from schedtuna.agent.demo.running import INTERVAL_S, DemoPlan, known_policies
from schedtuna.agent.policies.priority import LONG_IN_A_ROW
from schedtuna.agent.policies.rules import load_rules

SWAP_NS = 10 * 10**9
ROLES = Roles(interactive=(1, 2, 3), batch=(11, 12), swap_ns=SWAP_NS)


def changed(policy, at_s=1.0, tgids=(*ROLES.everybody, 99)):
    tasks = interval(0, tasks=len(tgids)).tasks
    tasks["tid"] = tasks["tgid"] = tgids
    sensed = replace(interval(0), tasks=tasks, end_ns=int(at_s * 10**9))
    return {one.target.tid for one in policy.decide(sensed, {})}


def policy_of(arm, seed=1):
    return told_policy(arm, ROLES, np.random.default_rng(seed))


def test_the_oracle_follows_the_parts_and_the_one_liner_does_not():
    assert changed(policy_of(ORACLE)) == changed(policy_of(ONE_LINER)) == {11, 12}
    assert changed(policy_of(ORACLE), at_s=11) == {2, 3}
    assert changed(policy_of(ONE_LINER), at_s=11) == {11, 12}


def test_the_placebo_changes_as_many_drawn_anew_for_each_run():
    drawn = [frozenset(changed(policy_of(PLACEBO, seed))) for seed in range(20)]
    assert all(len(one) == 2 and one <= set(ROLES.everybody) for one in drawn)
    assert len(set(drawn)) > 3
    placebo = policy_of(PLACEBO)
    assert changed(placebo) == changed(placebo, at_s=11)


def test_doing_nothing_changes_nothing():
    assert changed(policy_of(NONE)) == set()
    assert told_policy("rules", ROLES, np.random.default_rng(1)) is None


def test_a_policy_is_shown_the_load_alone():
    class All:
        name = "all"
        needs = frozenset()

        def decide(self, sensed, standing):
            self.seen = set(sensed.tasks["tgid"].tolist())
            return []

    policy = All()
    changed(OnlyOf(policy, ROLES.everybody))
    assert policy.seen == set(ROLES.everybody)


@pytest.mark.parametrize(("at_ns", "batch"), [(SWAP_NS - 1, (11, 12)), (SWAP_NS, (2, 3))])
def test_parts_change_at_a_moment(at_ns, batch):
    assert ROLES.batch_at(at_ns) == batch


def test_more_that_compute_than_answer_keep_some():
    roles = Roles(interactive=(1,), batch=(11, 12, 13), swap_ns=0)
    assert roles.batch_at(1) == (11, 12, 1)


def test_with_both_policies_it_is_planned_to_take_four_minutes():
    policies, note = known_policies(())
    assert (policies, note) == (["rules", "priority"], "")
    plans = [DemoPlan(load, tuple(policies), load.nr_blocks, 1) for load in LOADS.values()]
    assert 220 <= sum(plan.expected_s for plan in plans) <= 260
    assert all(load.seconds - load.skipped_s > INTERVAL_S for load in LOADS.values())


def test_families_count_only_when_the_policies_have_taken_their_last_step():
    last_s = (LONG_IN_A_ROW + 1) * INTERVAL_S
    assert {rule.intervals for rule in load_rules().rule} == {2, LONG_IN_A_ROW}
    assert all(load.skipped_s > last_s for load in FAMILIES.values())
    assert LOADS["beside"].skipped_s > last_s
    assert len([load for load in FAMILIES.values() if load.can_gain]) >= 6
    assert len([load for load in FAMILIES.values() if not load.can_gain]) == 3
