"""The models that come along do what they are for."""

from __future__ import annotations

import numpy as np
import pytest

from schedtuna import MigrationDecider, MigrationFeatures
from schedtuna.model.file import read_model
from schedtuna.model.shipped import SHIPPED, find_model, shipped_path
from schedtuna.sim.conformance import check_scheduler
from schedtuna.trace.analysis import Analysis

SCENARIOS = [
    (MigrationFeatures(4, 2, 6, 0.9, 0.2), True),
    (MigrationFeatures(2, 4, 4, 0.5, 0.5), False),
    (MigrationFeatures(1, 7, 1, 0.1, 0.1), False),
]


@pytest.mark.parametrize("name", SHIPPED)
def test_each_is_a_file_that_names_itself(name):
    model = find_model(name)
    assert model.name == name and model.version == read_model(shipped_path(name)).version
    assert len(model.rows or ()) > 100


@pytest.mark.parametrize(("features", "migrates"), SCENARIOS)
def test_the_decider_decides_as_it_should(features, migrates):
    assert MigrationDecider().should_migrate(features) is migrates


def test_migrations_tend_as_they_should():
    """Partial dependence and pairs of neighbours, over a grid of 9 x 17 x 17 points."""
    idle, load = np.arange(9), np.round(np.linspace(0, 1000, 17)).astype(int)
    grid = np.array([[i, 8 - i, s, d] for i in idle for s in load for d in load])
    model = find_model("migration")
    logits = model.core.logits(model.quantise(grid))[:, 0].reshape(9, 17, 17).astype(float)
    assert logits.size >= 2000
    for axis, sign in ((0, 1), (1, 1), (2, -1)):
        others = tuple(i for i in range(3) if i != axis)
        share = 100 * (logits > 0).mean(axis=others)
        assert (sign * np.diff(share) >= -1).all()
        assert (sign * np.diff(logits, axis=axis) >= 0).mean() >= 0.95
    assert 0.1 < (logits > 0).mean() < 0.9  # it decides, and does not always say the same


def test_the_default_is_a_scheduler_that_keeps_the_rules():
    check_scheduler("model:default")


def test_the_default_beats_the_order_of_arrival():
    from schedtuna.sim import simulate

    waits = {
        name: Analysis(simulate("poisson:load=0.9,member=9", name, cpus=2, seed=4, duration_s=1)).overall()[
            "run_delay_ns"
        ]
        for name in ("fifo", "model:default")
    }
    assert waits["model:default"] < 0.9 * waits["fifo"]
