"""Cycles of tasks, and what is known of them when they begin."""

import numpy as np
import pytest

from schedtuna.features.cycles import CycleBuilder, Cycles
from schedtuna.features.task_history import DEPTH, HISTORY_FEATURES, HistoryBuilder
from schedtuna.trace.intervals import Intervals, intervals
from schedtuna.trace.states import SLEEPS, TaskState

S, R, W, P, IO = (
    TaskState.SLEEPING,
    TaskState.RUNNING,
    TaskState.RUNNABLE_WOKEN,
    TaskState.RUNNABLE_PREEMPTED,
    TaskState.IO,
)


def states(*rows, task=1):
    """Task states one after the other: (state, ns) or (state, ns, cpu)."""
    start, made = 1000, []
    for state, length, *cpu in rows:
        made.append((task, task + 10, state, start, start + length, *(cpu or [0])))
        start += length
    columns = np.array(made, np.int64).T
    return Intervals(
        task=columns[0].astype(np.int32),
        tid=columns[1].astype(np.uint32),
        state=columns[2].astype(np.uint8),
        start_ns=columns[3],
        end_ns=columns[4],
        cpu=columns[5].astype(np.uint16),
        began_before=np.zeros(len(made), bool),
        ends_after=np.zeros(len(made), bool),
        burst_ns=np.zeros(len(made), int),
    )


def cycles(*pieces, losses=()):
    builder = CycleBuilder(losses)
    found = [builder.feed([piece]) for piece in pieces]
    return Cycles.concatenate(found)


LIFE = states(
    (S, 50), (W, 5), (R, 10, 1), (P, 7), (R, 20, 0), (P, 3), (R, 1, 0), (IO, 30), (W, 2), (R, 9, 3), (S, 1)
)


def test_a_cycle_is_from_a_wakeup_to_the_next_sleep():
    found = cycles(LIFE)
    assert found.burst_ns.tolist() == [31, 9]
    assert found.sleep_ns.tolist() == [50, 30]
    assert found.slept.tolist() == [S, IO]
    assert found.wake_ns.tolist() == [1050, 1126]
    assert found.end_ns.tolist() == [1096, 1137]
    assert found.wakeup_latency_ns.tolist() == [5, 2]
    assert found.preempt_delay_ns.tolist() == [10, 0]
    assert found.nr_preempted.tolist() == [2, 0]
    assert found.nr_migrations.tolist() == [1, 0]
    assert found.is_known.all() and not found.is_birth.any()


@pytest.mark.parametrize("cut", range(1, len(LIFE)))
def test_parts_give_what_the_whole_gives(cut):
    whole = cycles(LIFE)
    parts = cycles(LIFE.select(np.arange(cut)), LIFE.select(np.arange(cut, len(LIFE))))
    for name in vars(whole):
        assert getattr(parts, name).tolist() == getattr(whole, name).tolist(), name


def test_what_is_not_seen_whole_is_not_known():
    unknown = states((S, 5), (R, 5), (TaskState.UNKNOWN, 5), (R, 5), (S, 5), (R, 5), (S, 5))
    assert cycles(unknown).is_known.tolist() == [False, False, True]
    begun = states((R, 5), (S, 5), (R, 5), (S, 5))
    assert cycles(begun).is_known.tolist() == [False, True]
    assert cycles(LIFE, losses=[(1080, 1081)]).is_known.tolist() == [False, True]
    assert cycles(LIFE, losses=[(1100, 1101)]).is_known.tolist() == [True, False]


def test_a_birth_has_no_sleep_before_it():
    new = states((TaskState.NEW, 3), (TaskState.RUNNABLE_NEW, 4), (R, 6), (TaskState.DEAD, 0))
    found = cycles(new)
    assert (found.is_birth.tolist(), found.is_known.tolist()) == ([True], [True])
    assert (found.sleep_ns.tolist(), found.burst_ns.tolist()) == ([0], [6])


def history(*rows, **given):
    found, features, depth = HistoryBuilder().feed(cycles(states(*rows, **given)))
    assert set(features) == set(HISTORY_FEATURES)
    return found, features, depth


def test_features_are_those_of_the_bursts_before():
    bursts = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    rows = [row for burst in bursts for row in ((S, 2 * burst), (R, burst))]
    _, features, depth = history(*rows, (S, 1))
    assert depth.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]
    assert features["burst_ns"].tolist() == [0, *bursts[:-1]]
    assert features["burst_2_ns"].tolist() == [0, 0, *bursts[:-2]]
    assert features["burst_mean_ns"][-1] == np.mean(bursts[1:9])
    assert features["burst_median_ns"].tolist()[-3:] == [40, 40, 50]
    assert features["burst_most_ns"][-1] == 90
    assert features["sleep_ns"].tolist() == [2 * burst for burst in bursts]
    assert features["sleep_mean_ns"][1] == 30
    # Each counts half of the one after it: (2 * 30 + 20) / 3 over the two before the third, and so on.
    assert features["burst_average_ns"][2] == (2 * 20 + 10) // 3
    assert features["cpu_permille"][1] == 1000 * 10 // (10 + 40)


def test_a_gap_in_what_is_known_begins_the_history_anew():
    gap = (
        (S, 5),
        (R, 7),
        (S, 5),
        (R, 8),
        (TaskState.UNKNOWN, 5),
        (R, 9),
        (S, 5),
        (R, 10),
        (S, 5),
        (R, 3),
        (S, 1),
    )
    found, features, depth = history(*gap)
    assert found.burst_ns.tolist() == [7, 8, 9, 10, 3]
    assert depth.tolist() == [0, 1, 0, 0, 1]
    assert features["burst_ns"].tolist() == [0, 7, 0, 0, 10]


def load(rng, nr_tasks=6, nr_cycles=40):
    """States of several tasks, in order of their ends, as a trace gives them."""
    pieces = []
    for task in range(nr_tasks):
        rows: list[tuple[int, ...]] = []
        for _ in range(nr_cycles):
            rows += [(rng.choice(SLEEPS), int(rng.integers(1, 99))), (W, int(rng.integers(0, 9)))]
            rows += [(R, int(rng.integers(1, 50)), int(rng.integers(4)))]
            if rng.random() < 0.4:
                rows += [(P, int(rng.integers(1, 9))), (R, int(rng.integers(1, 50)), int(rng.integers(4)))]
            if rng.random() < 0.05:
                rows += [(TaskState.UNKNOWN, 5)]
        pieces.append(states(*rows, (S, 1), task=task + 1))
    together = Intervals.concatenate(pieces)
    return together.select(np.argsort(together.end_ns, kind="stable"))


@pytest.mark.parametrize("seed", range(5))
def test_parts_give_the_features_of_the_whole_and_no_future_is_in_them(seed):
    rng = np.random.default_rng(seed)
    all_states = load(rng)

    def rows(pieces):
        builder, histories = CycleBuilder(), HistoryBuilder()
        found = {}
        for piece in pieces:
            made, features, depth = histories.feed(builder.feed([piece]))
            for k in range(len(made)):
                key = (int(made.task[k]), int(made.wake_ns[k]))
                found[key] = (int(depth[k]), *(int(features[name][k]) for name in HISTORY_FEATURES))
        return found

    whole = rows([all_states])
    assert len(whole) > 200
    cuts = np.sort(rng.integers(1, len(all_states), 5))
    assert rows([all_states.select(part) for part in np.split(np.arange(len(all_states)), cuts)]) == whole
    now = int(np.median(all_states.end_ns))
    past = all_states.select(np.flatnonzero(all_states.end_ns <= now))
    other = load(np.random.default_rng(seed + 100))
    later = other.select(np.flatnonzero(other.start_ns > now))
    changed = rows([past, later])
    common = [key for key in whole if key[1] <= now and key in changed]
    assert len(common) > 50
    assert [changed[key] for key in common] == [whole[key] for key in common]


def test_bursts_are_those_that_the_states_tell():
    """The native state machine adds each burst up by itself."""
    simulation = pytest.importorskip("schedtuna.sim").simulate(
        "interactive:load=0.8", cpus=2, duration_s=1, seed=4
    )
    found = intervals(simulation.events, start_ns=0, end_ns=10**9)
    ours = cycles(found)
    sleeps = found.select(np.isin(found.state, [*SLEEPS, TaskState.DEAD]) & (found.burst_ns > 0))
    theirs = {
        (int(t), int(s)): int(b)
        for t, s, b in zip(sleeps.task, sleeps.start_ns, sleeps.burst_ns, strict=True)
    }
    mine = {
        (int(t), int(e)): int(b)
        for t, e, b, known in zip(ours.task, ours.end_ns, ours.burst_ns, ours.is_known, strict=True)
        if known
    }
    assert len(mine) > 100
    assert {key: theirs[key] for key in mine} == mine


def test_only_the_last_bursts_of_tasks_that_live_are_remembered():
    builder, histories = CycleBuilder(), HistoryBuilder()
    for task in range(200):
        rows = ((S, 5), (R, 5)) * 30
        histories.feed(builder.feed([states(*rows, (TaskState.DEAD, 0), task=task)]))
    assert builder._rest is not None and len(builder._rest) <= 1
    assert histories._rest is not None and len(histories._rest) <= DEPTH
