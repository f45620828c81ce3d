"""Who stepped back and runs shortly returns at once, and who has returned steps back later."""

from dataclasses import replace

import pytest
from tests.unit.agent.rows import hog, interactive, sensed, standing

from schedtuna.agent.policies.priority import make_priority
from schedtuna.agent.policies.returning import Glance, Reconsidering, Returning
from schedtuna.agent.policies.rules import RulesPolicy, load_rules

THREAD = (10, 10_000)


def counted(cpu_ms, nr_sleeps, tid=10, start_time_ns=10_000):
    row = hog(tid, start_time_ns=start_time_ns)
    row["total_cpu_time_ns"], row["total_nr_voluntary"] = int(cpu_ms * 1e6), nr_sleeps
    return row


def found(*looks, burst_ms=5):
    """What is found at each look, of (CPU ms, sleeps) since the fork."""
    returning = Returning(burst_ms)
    return [returning.found(counted(*look), {THREAD}) for look in looks]


@pytest.mark.parametrize(
    ("looks", "at"),
    [
        ([(900, 0), (901, 2)], 1),  # two bursts of 0.5 ms
        ([(900, 0), (901, 1), (902, 2)], 2),  # one is kept in mind
        ([(900, 0), (950, 0), (951, 2)], 2),  # what it computed before does not count
        ([(900, 0), (950, 2), (951, 4)], 2),  # long bursts on average: begins anew
        ([(900, 0), (950, 0), (980, 1), (999, 2)], None),  # long bursts
        ([(900, 7)], None),  # at first sight
    ],
)
def test_two_short_bursts_are_enough(looks, at):
    assert [bool(one) for one in found(*looks)] == [nth == at for nth in range(len(looks))]


def test_only_the_thread_itself_counts_not_one_with_its_number():
    returning = Returning(5)
    returning.found(counted(900, 0), {THREAD})
    assert returning.found(counted(1, 100, start_time_ns=3), {THREAD}) == set()
    assert returning.found(counted(901, 2), set()) == set()


def test_each_return_doubles_what_it_takes_up_to_a_limit():
    returning = Returning(5)
    times = []
    for number in range(6):
        returning.found(counted(900, 10 * number), {THREAD})
        assert returning.found(counted(901, 10 * number + 2), {THREAD}) == {THREAD}
        times.append(returning.times_longer(THREAD))
        returning.found(counted(901, 10 * number + 2), set())  # nothing is in force of it any more
    assert times == [2, 4, 8, 16, 16, 16]
    assert returning.times_longer((11, 1)) == 1
    returning.forget_all_but({(11, 1)})
    assert returning.times_longer(THREAD) == 1


def stepped_back(policy):
    for number in range(2):
        wanted = policy.decide(sensed(number, hog(10), interactive(20)), {})
    assert [one.target.tid for one in wanted] == [10]
    return standing(*wanted)


def test_rules_put_back_between_intervals_what_runs_shortly():
    policy = RulesPolicy()
    assert isinstance(policy, Reconsidering)
    in_force = stepped_back(policy)
    assert policy.reconsider(Glance(0, counted(900, 0)), in_force) == []
    assert policy.reconsider(Glance(0, counted(901, 2)), in_force) == list(in_force)
    # The interval as a whole may still look like computing; it has to do so for twice as long now.
    later = [policy.decide(sensed(n, hog(10), interactive(20)), {}) for n in range(2, 6)]
    assert [bool(wanted) for wanted in later] == [False] * 3 + [True]


def test_rules_that_do_not_speak_of_batch_are_nobodys_to_reconsider(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text('[[rule]]\nname="a"\nintervals=1\nmatch={comm="work"}\nset={nice=5}\n')
    policy = RulesPolicy(load_rules(path))
    in_force = standing(*policy.decide(sensed(0, hog(10)), {}))
    assert len(in_force) == 1
    for look in [(900, 0), (901, 2), (902, 4)]:
        assert policy.reconsider(Glance(0, counted(*look)), in_force) == []
    row = replace(sensed(1, counted(903, 6)))
    assert [one.key for one in policy.decide(row, in_force)] == list(in_force)


def test_without_looks_in_between_the_interval_itself_is_enough():
    policy = RulesPolicy()
    in_force = stepped_back(policy)
    policy.decide(sensed(3, counted(900, 0), interactive(20)), in_force)
    short = interactive(10, total_cpu_time_ns=950_000_000, total_nr_voluntary=50)
    assert policy.decide(sensed(4, short, interactive(20)), in_force) == []


@pytest.mark.parametrize("make", [RulesPolicy, lambda: make_priority(None)], ids=["rules", "priority"])
def test_who_gets_little_of_a_cpu_is_not_set_back(make):
    """With 4% of a CPU it could not even get to sleep, so nobody would see that it answers somebody."""
    for cpu_ms, steps_back in [(40, False), (500, True)]:
        policy = make()
        threads = [hog(10, cpu_ms=cpu_ms, wait_ms=940), interactive(20)]
        wanted = [policy.decide(sensed(number, *threads), {}) for number in range(10)][-1]
        assert any(one.target.tid == 10 for one in wanted) is steps_back


@pytest.mark.parametrize("make", [RulesPolicy, lambda: make_priority(None)], ids=["rules", "priority"])
def test_who_starves_where_it_stepped_back_returns(make):
    policy, in_force = make(), {}
    for number in range(4):
        in_force = standing(*policy.decide(sensed(number, hog(10), interactive(20)), in_force))
    assert any(one.intent.target.tid == 10 for one in in_force.values())
    starved = hog(10, cpu_ms=15, wait_ms=970, nice=5)
    in_force = standing(*policy.decide(sensed(4, starved, interactive(20)), in_force))
    assert not any(one.intent.target.tid == 10 for one in in_force.values())
