"""Who is moved at random: the draws are even, and all of them are kept."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from schedtuna.errors import UsageError
from schedtuna.machine.tasks import Task
from schedtuna.record.random_migrations import RandomMigrations, ThreadOnCpu, threads_that_can_run

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one CPU")


def made(mover, seed=1):
    noted = []
    migrations = RandomMigrations(
        50, seed, lambda at_ns, values: noted.append({"at_ns": at_ns, **values}), mover=mover
    )
    return migrations, noted


def thread(tid, cpu, *allowed):
    return ThreadOnCpu(Task(tid, tid, 1), cpu, allowed)


def test_draws_are_even_and_all_are_noted():
    moved = []

    def mover(one, cpu, moves):
        moved.append((one.task.tid, cpu, moves))
        return len(moved)

    migrations, noted = made(mover)
    able = [thread(7, 0, 0, 1, 2), thread(8, 1, 0, 1), thread(9, 2, 2)]
    for _ in range(4000):
        migrations.draw(able)
    assert migrations.nr_draws == len(noted) == 4000
    assert [(row["tid"], row["destination"], bool(row["moves"])) for row in noted] == moved
    assert [row["at_ns"] for row in noted] == list(range(1, 4001))
    tids, count = np.unique([row["tid"] for row in noted], return_counts=True)
    assert tids.tolist() == [7, 8] and abs(count[0] - 2000) < 200
    assert abs(migrations.nr_moves - 2000) < 200
    of_seven = [row for row in noted if row["tid"] == 7]
    assert {row["source"] for row in of_seven} == {0}
    assert abs(sum(row["destination"] == 1 for row in of_seven) / len(of_seven) - 0.5) < 0.08
    assert {row["odds"] for row in noted} == {0.5}


def test_a_seed_draws_the_same():
    sides = [made(lambda *_: 0, seed) for seed in (5, 5, 6)]
    for migrations, _ in sides:
        for _ in range(30):
            migrations.draw([thread(7, 0, 0, 1, 2, 3)])
    assert sides[0][1] == sides[1][1] != sides[2][1]


def test_who_can_not_be_moved_is_counted_and_no_draw():
    def gone(*_):
        raise ProcessLookupError

    migrations, noted = made(gone)
    migrations.draw([])
    migrations.draw([thread(7, 0, 0)])
    migrations.draw([thread(7, 0, 0, 1)])
    assert (migrations.nr_draws, migrations.nr_without, noted) == (0, 3, [])


@pytest.mark.parametrize("rate", [0, -1, 101, float("nan")])
def test_rates_that_make_no_sense_are_refused(rate):
    with pytest.raises(UsageError, match="a second"):
        RandomMigrations(rate, 1, lambda *_: None)


def test_threads_that_sleep_are_not_drawn():
    with (
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy,
        subprocess.Popen(["sleep", "60"]) as idle,
    ):
        try:
            found = {}
            while set(found) != {busy.pid}:  # `sleep` runs until it sleeps
                found = {one.task.tid: one for one in threads_that_can_run([busy.pid, idle.pid, 1 << 22])}
            assert set(found[busy.pid].allowed) == os.sched_getaffinity(busy.pid)
        finally:
            busy.kill()
            idle.kill()
