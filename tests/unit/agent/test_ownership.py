"""Whose is a setting?"""

import pytest
from tests.unit.agent.rows import hog, intent, sensed, standing, thread

from schedtuna.agent.ownership import Ownership, heirs
from schedtuna.record.sense import Touch, TouchReach


def touch(tid, *, nice=0, reach=TouchReach.SEEN, policy=0):
    return Touch(5, tid, tid * 1000, nice, policy, 0, 90, 91, "renice", reach)


def tasks(*threads):
    return sensed(0, *threads).tasks


def test_what_is_as_it_was_left_is_the_agents():
    mine = standing(intent())
    assert Ownership().see(tasks(thread(7, nice=10)), [], mine) == []


def test_a_value_that_somebody_changed_is_theirs():
    owner = Ownership()
    (found,) = owner.see(tasks(thread(7, nice=3)), [], standing(intent()))
    assert (found.key, found.what) == (intent().key, "nice to 3")
    assert "unseen" in owner.taken[intent().key]


def test_who_called_for_it_is_named():
    calls = [touch(8, reach=TouchReach.CALL), touch(7, reach=TouchReach.CALL)]
    (found,) = Ownership().see(tasks(thread(7, nice=3)), calls, standing(intent()))
    assert found.who == "renice (process 91)"
    assert Ownership().see(tasks(thread(7, nice=10)), calls, standing(intent())) == []  # it changed nothing


def test_who_sets_just_the_same_value_has_it_from_then_on():
    (found,) = Ownership().see(
        tasks(thread(7, nice=10)), [touch(7, nice=10, reach=TouchReach.NICE)], standing(intent())
    )
    assert found.tell() == "renice (process 91) set nice to 10"


def test_who_sets_one_attribute_has_no_other():
    nice, policy = intent(), intent(setting="policy", old="other", new="batch")
    row = tasks(thread(7, nice=10, policy=3))
    (found,) = Ownership().see(
        row, [touch(7, nice=10, policy=3, reach=TouchReach.NICE)], standing(nice, policy)
    )
    assert found.key == nice.key
    (found,) = Ownership().see(row, [touch(7, nice=10, policy=3)], standing(nice, policy))
    assert found.key == policy.key


def test_who_set_the_nice_value_is_not_forgotten_for_who_set_the_policy():
    owner = Ownership()
    owner.see(tasks(thread(7, nice=3)), [touch(7, nice=3, reach=TouchReach.NICE)], {})
    later = Touch(6, 7, 7000, 3, 3, 0, 95, 96, "chrt", TouchReach.SEEN)
    owner.see(tasks(thread(7, nice=3, policy=3)), [later], {})
    assert owner.taken[intent().key] == "renice (process 91) set nice to 3"
    assert owner.taken[intent(setting="policy").key] == "chrt (process 96) set policy to batch"


def test_what_another_thread_with_the_number_has_says_nothing():
    row = thread(7, nice=3, start_time_ns=999)
    assert Ownership().see(tasks(row), [], standing(intent())) == []


@pytest.mark.parametrize(
    ("row", "parent", "theirs"),
    [
        ({"nice": 0}, {"nice": 0}, False),
        ({"nice": 5}, {"nice": 0}, True),  # not the default at first sight
        ({"nice": 5}, {"nice": 5}, True),  # nor if it was inherited
        ({"nice": 0}, {"nice": 5}, True),  # somebody gave it another one than its parent's
    ],
)
def test_at_first_sight(row, parent, theirs):
    owner = Ownership()
    owner.claim(intent(), tasks(hog(7, ppid=3, **row), thread(3, **parent)), {})
    assert (intent().key in owner.taken) == theirs


def test_what_a_parent_has_by_the_agent_is_no_ones_choice():
    owner = Ownership()
    mine = standing(intent(3))
    owner.claim(intent(), tasks(hog(7, ppid=3), thread(3, nice=10)), mine)
    assert owner.taken == {}


def test_a_renice_that_was_seen_before_the_first_act_counts():
    owner = Ownership()
    owner.see(tasks(thread(7, nice=4)), [touch(7, nice=4, reach=TouchReach.NICE)], {})
    owner.see(tasks(thread(7)), [touch(7, nice=0, reach=TouchReach.NICE)], {})  # and back again
    assert "set nice to 0" in owner.taken[intent().key]


def test_what_was_forked_since_has_inherited():
    mine = standing(intent(7), since_ns=500)
    child = thread(70, ppid=7, nice=10, start_time_ns=600)
    others = [
        thread(71, ppid=7, nice=10, start_time_ns=400),  # older than the change
        thread(72, ppid=7, nice=4, start_time_ns=600),  # set by somebody
        thread(73, ppid=8, nice=10, start_time_ns=600),
    ]
    (found,) = heirs(tasks(thread(7, nice=10), child, *others), mine)
    assert (found.target.tid, found.old, found.new) == (70, 0, 10)


def test_what_is_inherited_from_several_is_one_change():
    mine = standing(intent(7), intent(8, tgid=7), since_ns=500)
    child = thread(70, ppid=7, nice=10, start_time_ns=600)
    assert [one.target.tid for one in heirs(tasks(thread(7, nice=10), child), mine)] == [70]
