"""A model's scores become settings, by cut-offs, and only where somebody has to wait."""

import numpy as np
import pytest
from tests.unit.agent.rows import standing
from tests.unit.agent.sensed import interval

from schedtuna.agent.contract import ChangeTarget, Intent, Standing
from schedtuna.agent.policies.priority import (
    GROUP_STEP,
    STEPS,
    SURELY_MORE,
    PriorityPolicy,
    as_found,
    make_priority,
)
from schedtuna.agent.policies.thread_features import THREAD_FEATURES
from schedtuna.errors import ModelError
from schedtuna.model.bins import Bins
from schedtuna.model.file import write_model
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.nets import Linear
from schedtuna.model.rows import checked

TIME = Bins("log2", 2**10, 2**34, 97, per_octave=4)


def model(labels=("long", "short"), inputs=("burst_mean_ns",), weights=(-1,), bias=48):
    """By default: short is what has bursts of less than 2**22 ns, some 4 ms (bin 48)."""
    made = DecisionModel(
        "by-hand",
        tuple(ModelInput(name, TIME) for name in inputs),
        labels,
        Linear([list(weights)], [bias]),
        "test",
    )
    return checked(made)


def threads(*rows):
    """Rows of (tid, CPU ms, wait ms, wakeups, group) in a second."""
    tasks = interval(0, tasks=len(rows)).tasks
    for task, (tid, cpu_ms, wait_ms, wakeups, group) in zip(tasks, rows, strict=True):
        task["tid"], task["tgid"], task["start_time_ns"], task["cgroup_id"] = tid, tid, 5, group
        task["observed_ns"] = 10**9
        task["cpu_time_ns"], task["run_delay_ns"] = cpu_ms * 10**6, wait_ms * 10**6
        task["nr_voluntary"] = wakeups
    return tasks


def sensed(number, tasks, groups=None):
    from dataclasses import replace

    return replace(interval(number), tasks=tasks, cgroups=groups or {})


BUSY = threads((10, 50, 20, 100, 1), (11, 900, 100, 0, 2), (12, 1, 0, 1, 2))
GROUPS = {1: "/user.slice", 2: "/batch.slice"}


def decided(policy, tasks, times=3, groups=GROUPS):
    return [policy.decide(sensed(n, tasks, groups), {}) for n in range(times)]


def test_the_one_that_computes_steps_back_after_three_intervals_alike():
    first, second, third = decided(PriorityPolicy(model()), BUSY)
    assert first == second == []
    of_threads = {(one.target.tid, one.setting): one.new for one in third if one.target.kind == "thread"}
    assert (11, "nice") in of_threads
    assert not any(tid == 12 for tid, _ in of_threads)
    assert all(setting == "slice_us" for tid, setting in of_threads if tid == 10)
    one = next(one for one in third if one.target.tid == 11)
    assert one.features["burst_mean_ns"] == 900e6
    assert one.features["score"] < 0
    assert "by-hand" in one.reason
    assert "by-hand" in one.policy


def test_how_far_a_score_lies_below_the_others_decides_how_far():
    policy = PriorityPolicy(model())
    first = 3 * policy._sure
    assert policy._step(-2 * policy._sure, first) is STEPS[0]
    assert policy._step(1.9 * policy._sure, first) is STEPS[1]
    assert policy._step(first, first) is SURELY_MORE
    assert policy._step(policy._sure // 2, policy._sure // 2) is None
    assert policy._step(-5 * policy._sure, None) is None


@pytest.mark.parametrize(
    ("scores", "first"),
    [
        ([-3.0, -3.0, -1.5, -1.4], -1.5),  # all below 0: who is above the gap goes first
        ([-3.0, -2.5, -1.8, -1.1, -0.4], None),  # no gap is wide enough
        ([-5.0, -3.0, 2.0], -3.0),  # of two gaps the lower
        ([0.5, 3.0], None),  # nobody steps back whom the model has go first
        ([-1.0, -1.0], None),
        ([-1.0], None),
        ([], None),
    ],
)
def test_scores_count_by_their_rank_and_a_margin(scores, first):
    policy = PriorityPolicy(model())
    found = policy.first_score(np.asarray([int(100 * policy._sure * one) // 100 for one in scores], np.int64))
    assert found == (None if first is None else int(100 * policy._sure * first) // 100)


def test_who_has_stepped_back_returns_at_half_the_margin():
    policy = PriorityPolicy(model())
    sure = policy._sure
    near = np.asarray([-2 * sure, -int(1.4 * sure)], np.int64)
    assert policy.first_score(near) is None
    policy._held = {(11, 5): STEPS[1]}
    assert policy.first_score(near) == near[1]
    assert policy.first_score(np.asarray([-2 * sure, -int(1.6 * sure)], np.int64)) is None


def shipped_load(nr_hogs, nr_web):
    """Threads that compute without a pause, and threads that answer 50 requests of 1 ms a second."""
    tasks = threads(*[(10 + n, 500 + 20 * n, 400, 0, 1) for n in range(nr_hogs)])
    web = threads(*[(100 + n, 50 + n, 50, 50, 1) for n in range(nr_web)])
    tasks["nr_involuntary"], web["nr_involuntary"] = 100, 20
    return np.concatenate([tasks, web])


def test_the_model_that_ships_tells_three_hogs_from_two_that_answer():
    policy = make_priority(None)
    tasks = shipped_load(3, 2)
    assert (policy.scores(tasks) < 0).all()  # so that 0 tells nothing
    for number, value in zip(range(8), [None] * 2 + [5] * 5 + [10], strict=True):  # far only after long
        wanted = policy.decide(sensed(number, tasks, GROUPS), {})
        nice = {one.target.tid: one.new for one in wanted if one.setting == "nice"}
        assert nice == (dict.fromkeys((10, 11, 12), value) if value else {})
    assert not decided(make_priority(None), shipped_load(4, 0))[-1]
    assert not decided(make_priority(None), shipped_load(0, 4))[-1]


def test_nobody_steps_back_where_nobody_waits():
    calm = threads((10, 50, 0, 100, 1), (11, 900, 0, 0, 2))
    assert decided(PriorityPolicy(model()), calm)[-1] == []


def test_nobody_steps_back_for_nobody():
    hogs = threads((11, 900, 500, 0, 2), (13, 900, 500, 0, 2))
    assert decided(PriorityPolicy(model()), hogs)[-1] == []


def test_a_group_of_nothing_else_gets_less_weight():
    last = decided(PriorityPolicy(model()), threads((10, 50, 20, 100, 1), (11, 990, 10, 0, 2)), 8)[-1]
    groups = [one for one in last if one.target.kind == "cgroup"]
    assert [(one.target.cgroup, one.setting, one.new) for one in groups] == [
        ("/batch.slice", "cpu_weight", GROUP_STEP.settings["cpu_weight"])
    ]
    mixed = threads((10, 50, 20, 100, 2), (11, 990, 10, 0, 2))
    assert not [one for one in decided(PriorityPolicy(model()), mixed)[-1] if one.target.kind == "cgroup"]


def test_one_interval_of_another_kind_changes_nothing():
    policy = PriorityPolicy(model())
    made = decided(policy, BUSY)[-1]
    other = threads((10, 50, 20, 100, 1), (11, 100, 20, 100, 2))
    still = policy.decide(sensed(4, other, GROUPS), standing(*made))
    assert any(one.target.tid == 11 and one.setting == "nice" for one in still)


def test_scores_are_of_what_was_there_before_the_agents_own_changes():
    tasks = threads((11, 900, 100, 0, 2))
    tasks["nice"], tasks["weight"], tasks["policy"] = 10, 110, 3
    target = ChangeTarget("thread", tid=11, tgid=11, start_time_ns=5)
    made = [Intent(target, "nice", 0, 10, "x"), Intent(target, "policy", "other", "batch", "x")]
    found = as_found(tasks, {one.key: Standing(one, 0, one.old) for one in made})
    assert (found["nice"][0], found["policy"][0], found["weight"][0]) == (0, 0, 0)
    assert tasks["nice"][0] == 10


def test_kernel_threads_and_real_time_threads_are_not_looked_at():
    tasks = BUSY.copy()
    tasks["policy"][1] = 1
    assert not [one for one in decided(PriorityPolicy(model()), tasks)[-1] if one.target.tid == 11]
    tasks = BUSY.copy()
    tasks["is_kernel_thread"][1] = True
    assert not [one for one in decided(PriorityPolicy(model()), tasks)[-1] if one.target.tid == 11]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: model(labels=("stay", "migrate")), "stay or migrate"),
        (lambda: model(inputs=("src_load_permille",)), "src_load_permille, which the agent does not see"),
    ],
)
def test_models_of_another_kind_are_refused(made, told):
    with pytest.raises(ModelError, match=told) as error:
        PriorityPolicy(made())
    assert error.value.hint


def test_what_stands_in_for_single_bursts_is_told():
    assert PriorityPolicy(model()).notes
    assert not PriorityPolicy(model(inputs=("cpu_permille",))).notes


def test_a_file_is_read(tmp_path):
    path = tmp_path / "own.model"
    write_model(model(), path)
    assert make_priority(path).model.version == model().version
    with pytest.raises(ModelError, match="no model"):
        make_priority(tmp_path / "none")


def test_every_feature_is_computed_of_threads_that_did_nothing():
    idle = interval(0, tasks=2).tasks
    for name, feature in THREAD_FEATURES.items():
        values = np.asarray(feature.compute(idle), np.int64)
        assert values.shape == (2,), name


def test_who_does_not_sleep_has_a_long_burst_and_a_sleep_as_long_as_the_interval():
    tasks = threads((10, 30, 310, 0, 1), (11, 30, 310, 10, 1))
    tasks["total_cpu_time_ns"], tasks["total_nr_voluntary"] = 6 * 10**9, 2
    assert THREAD_FEATURES["burst_mean_ns"].compute(tasks).tolist() == [3 * 10**9, 3 * 10**6]
    assert THREAD_FEATURES["sleep_mean_ns"].compute(tasks).tolist() == [10**9, 66 * 10**6]


@pytest.mark.parametrize(("cpu_ms", "wait_ms"), [(183, 256), (19, 419), (64, 295), (29, 489)])
def test_hogs_that_get_little_are_hogs_to_the_model_that_ships(cpu_ms, wait_ms):
    """What threads that compute had in intervals of 0.4 s on a machine that is busy with other things."""
    hogs, web = threads((10, cpu_ms, wait_ms, 0, 1)), threads((11, 10, 60, 27, 1), (12, 10, 292, 13, 1))
    tasks = np.concatenate([hogs, web])
    tasks["observed_ns"] = 4 * 10**8
    policy = make_priority(None)
    hog, *others = policy.scores(tasks).tolist()
    assert hog < policy.first_score(policy.scores(tasks)) <= min(others)


def test_who_has_stepped_back_stays_so_while_the_others_ask_for_little():
    """Once they do not wait any more they use 0.5% of a CPU, which is less than counts at first."""
    policy, in_force = PriorityPolicy(model()), {}
    for number in range(20):
        busy = threads((10, 5, 40 if number < 4 else 0, 100, 1), (11, 900, 100, 0, 2))
        in_force = standing(*policy.decide(sensed(number, busy, GROUPS), in_force))
    assert (11, "nice") in {(one.intent.target.tid, one.intent.setting) for one in in_force.values()}


def test_bursts_that_hardly_differ_are_left_alone_whatever_the_model_says():
    """Bursts of 3 and 21 ms, seven times as long, and of 27 ms."""
    for ratio, changed in [(7, False), (9, True)]:
        tasks = threads((10, 300, 100, 100, 1), (11, 3 * ratio * 20, 100, 20, 2))
        policy = PriorityPolicy(model(bias=46))
        policy._sure = 1
        last = decided(policy, tasks)[-1]
        assert ((11, "nice") in {(one.target.tid, one.setting) for one in last}) is changed
