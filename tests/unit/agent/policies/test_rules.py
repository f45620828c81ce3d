"""The policy `rules`: what matches, for how long, and what a table may say."""

import pytest
from tests.unit.agent.rows import hog, interactive, sensed, standing

from schedtuna.agent.conformance import check_policy
from schedtuna.agent.policies.rules import RulesPolicy, load_rules
from schedtuna.errors import ConfigFileError


def decide_often(policy, threads, times, in_force=None):
    return [policy.decide(sensed(number, *threads), in_force or {}) for number in range(times)]


def test_a_batch_thread_steps_back_where_interactive_ones_wait():
    found = decide_often(RulesPolicy(), [hog(10), interactive(20)], 2)
    assert found[0] == []  # not at first sight
    (one,) = found[1]
    assert (one.target.tid, one.setting, one.old, one.new) == (10, "nice", 0, 5)
    assert one.features["cpu_percent"] == 50


def test_who_computes_for_long_steps_back_further_while_the_others_still_wait():
    policy, in_force, values = RulesPolicy(), {}, []
    for number in range(9):
        wanted = policy.decide(sensed(number, hog(10), interactive(20)), in_force)
        in_force = standing(*wanted)
        values.append([one.new for one in wanted])
    assert values == [[]] + [[5]] * 6 + [[10]] * 2
    assert [one.new for one in policy.decide(sensed(9, hog(10), interactive(20, wait_ms=0)), in_force)] == [
        10
    ]


def test_it_steps_back_no_further_once_nobody_waits():
    policy = RulesPolicy()
    in_force = standing(*decide_often(policy, [hog(10), interactive(20)], 2)[-1])
    later = decide_often(policy, [hog(10), interactive(20, wait_ms=0)], 20, in_force)
    assert {one.new for wanted in later for one in wanted} == {5}


@pytest.mark.parametrize(
    "threads",
    [
        [hog(10), hog(11)],  # nobody waits who runs shortly
        [hog(10), interactive(20, wait_ms=0)],  # nor has to wait
        [hog(10), interactive(20, wait_ms=4)],  # nor for longer than waking up takes anyway
        [interactive(20), interactive(21)],
        [hog(10, observed_ns=0), interactive(20)],  # not known yet
    ],
)
def test_where_nothing_can_be_gained_nothing_is_done(threads):
    assert decide_often(RulesPolicy(), threads, 10)[-1] == []


def test_names_and_groups_do_not_matter_by_default():
    policy = RulesPolicy()
    for number in range(3):
        found = policy.decide(sensed(number, hog(10, comm=b"Xorg"), interactive(20, comm=b"cc1")), {})
    assert [one.target.tid for one in found] == [10]


def test_a_change_stays_while_the_others_do_not_wait_any_more():
    policy = RulesPolicy()
    wanted = decide_often(policy, [hog(10), interactive(20)], 2)[-1]
    later = decide_often(policy, [hog(10, nice=10), interactive(20, wait_ms=0)], 20, standing(*wanted))
    assert all([one.key for one in found] == [wanted[0].key] for found in later)


def test_a_change_goes_some_intervals_after_its_reason():
    policy = RulesPolicy()
    wanted = decide_often(policy, [hog(10), interactive(20)], 2)[-1]
    later = decide_often(policy, [hog(10, nice=10)], 6, standing(*wanted))
    assert [len(found) for found in later] == [1, 1, 1, 1, 0, 0]


def test_what_is_gone_is_not_wanted():
    policy = RulesPolicy()
    wanted = decide_often(policy, [hog(10), interactive(20)], 2)[-1]
    assert policy.decide(sensed(3, interactive(20)), standing(*wanted)) == []


def test_a_table_matches_names_and_groups(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(
        '[[rule]]\nname = "build"\nintervals = 1\nmatch = { comm = "cc1*", cgroup = "/ci/*" }\n'
        'set = { policy = "batch", cpu_weight = 50 }\n'
    )
    policy = RulesPolicy(load_rules(path))
    threads = [
        hog(10, comm=b"cc1plus", cgroup_id=5),
        hog(11, comm=b"cc1plus", cgroup_id=6),
        hog(12, cgroup_id=5),
    ]
    found = policy.decide(sensed(0, *threads, cgroups={5: "/ci/job", 6: "/other"}), {})
    assert {(one.target.kind, one.setting, one.new) for one in found} == {
        ("thread", "policy", "batch"),
        ("cgroup", "cpu_weight", 50),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rule = 3", "rule"),
        ('[[rule]]\nname="a"\nmatch={}\nset={nice=1}', "matches every thread"),
        ('[[rule]]\nname="a"\nmatch={comm="x"}\nset={}', "sets nothing"),
        ('[[rule]]\nname="a"\nmatch={comm="x"}\nset={nice=20}', "nice"),
        ('[[rule]]\nname="a"\nmatch={comm="x"}\nset={realtime=1}', "realtime"),
        ("version = 2", "version"),
        ("x = [", "rules.toml"),
    ],
)
def test_a_malformed_table_is_refused_with_its_place(tmp_path, text, message):
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(ConfigFileError, match=message) as caught:
        load_rules(path)
    assert str(path) in str(caught.value)


def test_it_keeps_the_contract_of_policies():
    check_policy(RulesPolicy)
