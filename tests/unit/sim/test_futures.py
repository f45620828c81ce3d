"""Both futures of migrations, against forks of the simulation in Python."""

import numpy as np
import pytest

from schedtuna.errors import UsageError
from schedtuna.sim import Simulation
from schedtuna.sim.futures import migration_futures
from schedtuna.trace.intervals import intervals
from schedtuna.trace.states import RUNNABLE, TaskState

END_NS, HORIZONS_NS = 300_000_000, (5_000_000, 40_000_000)
# Nothing is drawn: each pair of futures is the same.
FIXED = {
    "tasks": {f"task{n}": {"loop": -1, "run": 700 + 410 * n, "sleep": 500 + 170 * n} for n in range(7)},
    "global": {"duration": 1},
}


def simulation(load=FIXED, **given):
    return Simulation(load, cpus=3, seed=2, **given)


def wanted_ns(events, begin_ns, end_ns):
    """The integral of the number of tasks that run or wait, from a moment on."""
    found = intervals(events, start_ns=0, end_ns=end_ns)
    wants = np.isin(found.state, (TaskState.RUNNING, *RUNNABLE))
    spans = np.minimum(found.end_ns, end_ns) - np.maximum(found.start_ns, begin_ns)
    return int(np.maximum(spans, 0)[wants].sum())


def test_gains_are_what_both_forks_come_to():
    base, events = simulation(traced=True), []
    looked = 0
    for found in migration_futures(
        simulation(), until_ns=END_NS, horizons_ns=HORIZONS_NS, nr_pairs=2, every=1
    ):
        asked = base.next_migration(END_NS)
        assert asked == found.migration
        assert found.shares_llc
        for k, horizon in enumerate(HORIZONS_NS):
            came_to = {}
            for moves in (False, True):
                fork = base.fork()
                fork.decide_migration(asked.nth, moves=moves)
                fork.run(asked.at_ns + horizon)
                told = np.concatenate([*events, fork.take_events()])
                came_to[moves] = wanted_ns(told, asked.at_ns, asked.at_ns + horizon)
            expected = came_to[False] - came_to[True]
            assert found.gains_ns[:, k].tolist() == pytest.approx([expected] * 2, abs=20_000)
        base.decide_migration(asked.nth, moves=True)
        looked += 1
        if looked == 12:
            break
    assert looked == 12


def test_what_is_looked_at_is_what_fair_does():
    whole = simulation("poisson:load=0.8")
    whole.run(END_NS)
    found = list(
        migration_futures(
            simulation("poisson:load=0.8"), until_ns=END_NS, horizons_ns=HORIZONS_NS[:1], nr_pairs=1
        )
    )
    assert [one.migration.nth for one in found] == list(range(len(found)))
    assert len(found) == pytest.approx(whole.totals.nr_migrations, rel=0.1)
    assert len(found) > 20


def test_pairs_draw_amounts_of_their_own_and_the_same_again():
    def gains():
        found = migration_futures(
            simulation("poisson:load=0.9"), until_ns=END_NS, horizons_ns=HORIZONS_NS, nr_pairs=4, every=3
        )
        return np.stack([one.gains_ns for one in found])

    first, second = gains(), gains()
    assert (first == second).all()
    far = first[:, :, 1]
    assert np.mean([len(set(row.tolist())) > 1 for row in far]) > 0.8


def test_what_makes_no_sense_is_refused():
    for given in ({"horizons_ns": (2, 1)}, {"horizons_ns": ()}, {"horizons_ns": (5,), "nr_pairs": 0}):
        with pytest.raises(UsageError):
            next(migration_futures(simulation(), until_ns=END_NS, **given))
    with pytest.raises(UsageError, match="nothing migrates"):
        next(migration_futures(simulation(), "rr", until_ns=END_NS, horizons_ns=(5,)))
