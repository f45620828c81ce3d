"""A scheduler that is watched does as it does alone, and what it does is an action of the environment."""

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from schedtuna.env.watching import NO_ACTION, WatchedSchedulers, watchable
from schedtuna.errors import UsageError
from schedtuna.sim.native import TASK_FEATURES
from schedtuna.workload.families import FAMILIES

EXACT = ("throughput", "latency", "turnaround", "energy")  # idle time may be too little to be divided by


def episode(watched, seed=1):
    """What was observed, allowed and done at each decision; the rewards' sum; what was told at the end."""
    observed, rows, score, ended = watched.reset(seed), [], 0.0, False
    while not ended:
        mask = watched.action_masks()
        action, following, reward, terminated, truncated, info = watched.step()
        rows.append((observed, mask, action))
        observed, score, ended = following, score + reward, terminated or truncated
    return rows, score, info


@pytest.mark.parametrize("cpus", [1, 4])
@pytest.mark.parametrize("scheduler", watchable())
def test_watching_changes_nothing(scheduler, cpus):
    """Its amounts are those of the same scheduler that runs by itself, to the last nanosecond."""
    for family in FAMILIES:
        watched = WatchedSchedulers(
            scheduler,
            scheduler=scheduler,
            workload=f"{family}:load=0.9",
            cpus=cpus,
            episode_ms=40,
            arrivals=[7],
            reward={"turnaround": 1, "latency": 1},
        )
        rows, score, info = episode(watched)
        assert rows
        assert {name: info["terms"][name] for name in EXACT} == dict.fromkeys(EXACT, 1.0)
        assert score == pytest.approx(-100)


@pytest.mark.parametrize(
    ("scheduler", "feature", "best"), [("las", "attained_ns", min), ("fifo", "waited_ns", max)]
)
def test_its_choice_is_the_action(scheduler, feature, best):
    watched = WatchedSchedulers(
        scheduler, workload="heavy-tail:load=1.2", cpus=1, episode_ms=100, arrivals=[3]
    )
    rows, _, _ = episode(watched)
    nr_slots, column, nr_known = watched.setting.nr_slots, TASK_FEATURES.index(feature), 0
    for observed, mask, action in rows:
        if action == NO_ACTION:
            continue
        nr_known += 1
        assert mask[action]
        values = observed[: nr_slots * len(TASK_FEATURES)].reshape(nr_slots, -1)[:, column]
        assert values[action] == best(values[np.flatnonzero(mask[:nr_slots])])
    assert nr_known > 10


def test_what_can_not_be_watched_is_refused():
    with pytest.raises(UsageError, match="nope"):
        WatchedSchedulers("nope")
    watched = WatchedSchedulers("external", episode_ms=20)
    watched.reset(1)
    with pytest.raises(UsageError, match="by itself"):
        watched.step()
    watched = WatchedSchedulers("fair", episode_ms=20)
    with pytest.raises(UsageError, match="reset first"):
        watched.step()
