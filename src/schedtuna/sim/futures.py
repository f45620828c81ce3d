"""What if a task had stayed where it was? Both futures of each migration that `fair` asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schedtuna.errors import SimulationError, UsageError
from schedtuna.sim.native import BadInputError, Futures
from schedtuna.sim.schedulers import SchedulerSource, chosen_scheduler
from schedtuna.sim.simulation import Simulation
from schedtuna.sim.state import NextMigration


class MigrationFutures(NamedTuple):
    """A migration, and what staying would have cost more.

    Attributes:
        migration: What was asked.
        shares_llc: Both CPUs have the same last-level cache.
        gains_ns: [pairs, horizons]: by how much less the integral of the number of tasks that want to get on
            is if it migrates; each pair of futures draws amounts of its own from the decision on.
    """

    migration: NextMigration
    shares_llc: bool
    gains_ns: npt.NDArray[np.int64]


def migration_futures(
    simulation: Simulation,
    scheduler: SchedulerSource = "fair",
    *,
    until_ns: int,
    horizons_ns: Sequence[int],
    nr_pairs: int = 8,
    every: int = 1,
) -> Iterator[MigrationFutures]:
    """Yield the migrations of a load, in time order, as `fair` has them.

    Args:
        simulation: Its load, machine and seeds; it is left as it is.
        scheduler: `fair`, with or without values.
        until_ns: No migration is looked at that is later.
        horizons_ns: How far both futures are followed, from the shortest to the longest.
        nr_pairs: How many pairs of futures, each with noise of its own.
        every: Only each so-manieth migration is looked at.

    Raises:
        UsageError: The scheduler is another one, or a number makes no sense.
        SimulationError: The load is stuck.
    """
    if nr_pairs < 1 or every < 1 or not horizons_ns:
        raise UsageError(
            "both futures need at least one pair, one horizon, and each or each second migration"
        )
    if sorted(horizons_ns) != list(horizons_ns) or horizons_ns[0] <= 0:
        raise UsageError(f"horizons {list(horizons_ns)}: expected times above 0, the shortest first")
    try:
        futures = Futures(
            simulation.load,
            chosen_scheduler(scheduler)[0],
            simulation.seed,
            simulation.noise_seed,
            simulation.shape.native(),
            simulation.costs,
        )
    except BadInputError as error:
        raise UsageError(str(error)) from error
    try:
        while (row := futures.next(until_ns)) is not None:
            migration, shares_llc = NextMigration(*row[:-1]), row[-1]
            if migration.nth % every:
                continue
            gains = futures.gains(nr_pairs, list(horizons_ns))
            yield MigrationFutures(
                migration, shares_llc, np.array(gains, np.int64).reshape(nr_pairs, len(horizons_ns))
            )
    except BadInputError as error:
        raise SimulationError(str(error)) from error
