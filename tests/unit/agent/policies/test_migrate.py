"""The policy `migrate`: what it draws, what came of it, and that it answers only while it is in force."""

import random
import threading
import time
from collections import Counter

import numpy as np
import pytest
from tests.unit.agent.rows import sensed

from schedtuna.agent.acting import Actor, ActResult
from schedtuna.agent.conformance import check_policy
from schedtuna.agent.contract import ADVICE, RunningScheduler
from schedtuna.agent.decisions.rows import DecisionRow, OutcomeRow
from schedtuna.agent.policies.advice_service import AdviceService
from schedtuna.agent.policies.migrate import MigratePolicy
from schedtuna.agent.policies.migration_draws import FLOOR, MIGRATE, OWN, STAY, VALID_NS, MigrationDraws
from schedtuna.errors import UnavailableError
from schedtuna.knobs.journal import Journal
from schedtuna.scheduler.tuna_advice import AdviceRequest
from schedtuna.scheduler.tuna_model import FEATURES

VERSION = "00ab00cd00ef0011"
MS = 10**6


class When:
    """Prefers to migrate from where the load is above a half."""

    def decide_batch(self, rows):
        assert rows.dtype == np.float32 and rows.shape[1] == 10
        return rows[:, 3] > 0.5


def request(tid=100, *, at_ms=0, src=900, offered=2, cpu=1, **features):
    values = {"burst_ns": 2 * MS, "mean_delay_ns": 3 * MS, "sleep_ns": 5 * MS, **features}
    made = AdviceRequest(
        id=1,
        start_time_ns=7,
        timestamp_ns=at_ms * MS + 10**9,
        tid=tid,
        cpu=cpu,
        offered_cpu=offered,
        nr_idle_cpus=1,
        nr_busy_cpus=3,
        src_load_permille=src,
        dst_load_permille=100,
    )
    for index, name in enumerate(FEATURES):
        made.features[index] = values.get(name, 0)
    return made


@pytest.fixture
def draws():
    return MigrationDraws(When(), VERSION, random.Random(1))


def test_what_is_drawn_is_as_likely_as_its_row_says(draws):
    counts = Counter()
    for number in range(4000):
        draws.advise([request(tid=number)])
    for row in draws.take_rows():
        counts[row.action] += 1
        assert row.arms == (OWN, STAY, MIGRATE)
        assert row.propensities == pytest.approx((FLOOR, FLOOR, 1 - 2 * FLOOR))
        assert row.features["src_load_permille"] == 900
    assert counts[OWN] == pytest.approx(4000 * FLOOR, rel=0.25)
    assert counts[STAY] == pytest.approx(4000 * FLOOR, rel=0.25)


def test_answers_are_what_was_drawn_and_the_schedulers_own_arm_has_none(draws):
    for number in range(300):
        answers = draws.advise([request(tid=number, src=400 if number % 2 else 900)])
        (row,) = draws.take_rows()
        assert [one.cpu for one in answers] == {OWN: [], STAY: [1], MIGRATE: [2]}[row.action]
        assert max(row.propensities) == row.propensities[row.arms.index(STAY if number % 2 else MIGRATE)]


@pytest.mark.parametrize("offered", [-1, 1])
def test_nobody_is_moved_to_where_they_are_or_to_nowhere(draws, offered):
    draws.advise([request(offered=offered)])
    assert draws.take_rows()[0].arms == (OWN, STAY)


def test_the_next_request_of_a_task_tells_what_came_of_the_last(draws):
    draws.advise([request(), request(tid=101)])
    draws.advise([request(at_ms=20, mean_delay_ns=8 * MS, cpu=2)])
    first, _, outcome, _ = draws.take_rows()
    assert isinstance(first, DecisionRow) and isinstance(outcome, OutcomeRow)
    assert (outcome.id, outcome.loss, outcome.unknown) == (first.id, 8.0, "")
    assert (outcome.terms["cpu_before"], outcome.terms["cpu_after"]) == (1, 2)


def test_another_task_of_the_same_number_is_another(draws):
    draws.advise([request()])
    other = request(at_ms=20)
    other.start_time_ns = 8
    draws.advise([other])
    assert not any(isinstance(row, OutcomeRow) for row in draws.take_rows())


def outcome_of(draws, **later):
    draws.advise([request(**later)])
    (found,) = (row for row in draws.take_rows() if isinstance(row, OutcomeRow))
    return found


def test_what_did_not_act_is_told_and_counts_as_drawn(draws):
    draws.advise([request()])
    assert outcome_of(draws, at_ms=VALID_NS // MS + 10).terms["expired"] == 1
    answers = []
    while not answers:
        answers = draws.advise([request(at_ms=200)])
    draws.take_rows()
    draws.taken([*answers, *answers], 1)
    outcome = outcome_of(draws, at_ms=220)
    assert (outcome.terms["taken_share"], outcome.terms["expired"], outcome.loss) == (0.5, 0, 3.0)


def test_after_the_end_nothing_is_known(draws):
    draws.advise([request()])
    draws.stopped("over")
    outcome = outcome_of(draws, at_ms=20)
    assert (outcome.loss, outcome.unknown) == (None, "over")


class Channel:
    """A channel that is asked about one task again and again, until it is closed."""

    def __init__(self, fails=False):
        self.nr_answers, self.closed, self.fails = 0, threading.Event(), fails

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed.set()

    def serve(self, advise, *, goes_on, on_answered):
        number = 0
        while goes_on():
            number += 1
            answers = advise([request(at_ms=10 * number)])
            self.nr_answers += len(answers)
            on_answered(answers, len(answers))
            if self.fails:
                raise OSError(5, "gone")
            time.sleep(0.001)


def made(channel):
    return MigratePolicy(AdviceService(MigrationDraws(When(), VERSION, random.Random(1)), channel))


TUNA = RunningScheduler("scx_tuna", is_ext=True)


def test_it_answers_while_it_is_in_force_and_not_after(tmp_path):
    channel, versions = Channel(), []

    def opened(version):
        versions.append(version)
        return channel

    policy = made(opened)
    actor = Actor(Journal(tmp_path), policy.service)
    (wanted,) = policy.decide(sensed(1, scheduler=TUNA), {})
    (act,) = actor.make([wanted])
    assert act.result is ActResult.MADE and versions == [int(VERSION, 16)]
    assert Journal(tmp_path).open_records() == []
    while channel.nr_answers < 20:
        time.sleep(0.005)
    assert policy.decide(sensed(2, scheduler=TUNA), actor.standing) == [wanted]
    (undone,) = actor.put_back([wanted.key])
    assert channel.closed.is_set() and not policy.service.runs and not undone.reason
    rows = policy.take_rows()
    assert any(isinstance(row, OutcomeRow) and row.loss == 3.0 for row in rows)
    assert actor.standing == {}


def test_a_channel_that_breaks_ends_it(tmp_path):
    policy = made(lambda _version: Channel(fails=True))
    actor = Actor(Journal(tmp_path), policy.service)
    (wanted,) = policy.decide(sensed(1, scheduler=TUNA), {})
    actor.make([wanted])
    while policy.service.runs:
        time.sleep(0.005)
    assert actor.ended() == [wanted.key]
    assert "gone" in policy.service.ended


def test_where_nobody_asks_it_says_so(tmp_path):
    def refuses(_version):
        raise UnavailableError("another program advises scx_tuna")

    policy = made(refuses)
    (act,) = Actor(Journal(tmp_path), policy.service).make(policy.decide(sensed(1, scheduler=TUNA), {}))
    assert (act.result, act.reason) == (ActResult.FAILED, "another program advises scx_tuna")


def test_under_another_scheduler_it_wants_nothing():
    assert made(None).decide(sensed(1), {}) == []
    (wanted,) = made(None).decide(sensed(1, scheduler=TUNA), {})
    assert wanted.setting == ADVICE


def test_it_keeps_the_contract():
    check_policy(lambda: made(None))
