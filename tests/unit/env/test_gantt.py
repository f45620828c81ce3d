"""Pictures of who ran where: each pixel is whoever ran at its middle."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import schedtuna.env  # noqa: F401 - registers them
from schedtuna.env.gantt import BACKGROUND, GAP, IDLE, ROW, strip
from schedtuna.trace.schema import EVENT_DTYPE, EventType


def switches(rows):
    events = np.zeros(len(rows), EVENT_DTYPE)
    for event, (at_ns, cpu, tid) in zip(events, rows, strict=True):
        event["timestamp_ns"], event["cpu"], event["other_tid"] = at_ns, cpu, tid
        event["type"] = EventType.SWITCH
    return events


def rows_of(picture, nr_cpus):
    return [picture[GAP + cpu * (ROW + GAP)] for cpu in range(nr_cpus)]


def test_a_pixel_is_whoever_ran_at_its_middle():
    events = switches([(0, 0, 5), (250, 0, 0), (500, 0, 7), (700, 1, 5)])
    first, second = rows_of(strip(events, nr_cpus=2, begin_ns=0, end_ns=1000, width=10), 2)
    five, seven = tuple(first[0]), tuple(first[9])
    assert len({five, seven, IDLE, BACKGROUND}) == 4
    # The third pixel's middle is at 250: who came then has it.
    assert [tuple(pixel) for pixel in first] == [five] * 2 + [IDLE] * 3 + [seven] * 5
    assert [tuple(pixel) for pixel in second] == [IDLE] * 7 + [five] * 3


def test_before_the_beginning_there_is_nothing_and_between_cpus_neither():
    picture = strip(switches([(0, 0, 5)]), nr_cpus=1, begin_ns=-500, end_ns=500, width=10)
    assert picture.dtype == np.uint8 and picture.shape == (ROW + 2 * GAP, 10, 3)
    assert (picture[:, :5] == BACKGROUND).all() and (picture[:GAP] == BACKGROUND).all()
    assert (picture[GAP, 5:] != BACKGROUND).any(axis=1).all()


BRIEF = {"steps": 2, "steps_per_load": 2, "step_s": 0.05, "discard_s": 0.01}


@pytest.mark.parametrize(
    ("name", "keywords", "nr_steps"),
    [
        ("schedtuna/PickNext-v0", {}, 150),
        ("schedtuna/Migrate-v0", {}, 10),
        ("schedtuna/Swap-v0", BRIEF, 2),
        ("schedtuna/Slice-v0", BRIEF, 2),
    ],
)
def test_each_environment_shows_itself_and_decides_the_same_meanwhile(name, keywords, nr_steps):
    shown = gymnasium.make(name, cpus=2, render_mode="rgb_array", **keywords)
    plain = gymnasium.make(name, cpus=2, **keywords)
    seen, told = shown.reset(seed=4)[0], plain.reset(seed=4)[0]
    for nth in range(nr_steps):
        assert (seen == told).all()
        action = nth % 2
        (seen, *mine), (told, *theirs) = shown.step(action), plain.step(action)
        assert mine[:3] == theirs[:3]
        picture = shown.render()
        assert picture.shape == (2 * (ROW + GAP) + GAP, 800, 3)
    colours = {tuple(pixel) for row in rows_of(picture, 2) for pixel in row}
    assert len(colours - {IDLE, BACKGROUND}) > 1


def test_the_picture_of_migrations_is_of_what_happened_and_not_of_what_was_foreseen():
    """All answers 1: `fair` itself, so a simulation of it has the same switches until the decision."""
    from schedtuna.sim.simulation import Simulation

    env = gymnasium.make("schedtuna/Migrate-v0", decision_ns=0, render_mode="rgb_array")
    env.reset(options={"workload": 0, "arrivals": 3})
    for _ in range(25):
        env.step(1)
    native = env.unwrapped._batch.native  # type: ignore[attr-defined]
    events = native.events(0).view(EVENT_DTYPE)
    now_ns = native.state(0)[0]
    plain = Simulation("poisson", "fair", cpus=4, seed=3, duration_s=1, traced=True)
    plain.run(now_ns)
    expected = plain.take_events()
    mine = events[events["timestamp_ns"] < now_ns]
    assert (mine == expected[expected["timestamp_ns"] < now_ns]).all() and len(mine) > 100
