"""What a scheduler is worth, told by theory: who is first in line decides how many wait."""

from __future__ import annotations

import pytest

from schedtuna.errors import UsageError
from schedtuna.learn.decision_value import decision_values

LOADS = ("poisson:load=0.9,member=1", "heavy-tail:load=0.9,member=1")


def test_knowing_the_future_is_best_and_a_rule_is_worth_itself():
    found = {
        one.scheduler: one
        for one in decision_values(
            {"again": "las", "slow": "fifo"}, loads=LOADS, seeds=(1,), cpus=1, seconds=0.5
        )
    }
    assert found["fair"].turnaround == 1.0
    assert found["srtf"].regret == 0.0
    # On one CPU nothing has a shorter turnaround than shortest remaining time first (Schrage, 1968).
    assert all(one.regret >= 0 for one in found.values())
    assert found["again"].turnaround == found["las"].turnaround
    assert found["slow"].turnaround > found["las"].turnaround
    low, high = found["las"].turnaround_bounds
    assert low < found["las"].turnaround < high
    assert set(found["las"].by_load) == set(LOADS)


def test_one_load_alone_tells_nothing():
    with pytest.raises(UsageError, match="two loads"):
        decision_values({}, loads=LOADS[:1])
