"""Does it pay to move a task? A row per migration of a simulated load, labelled by both of its futures.

No rule is asked: what a migration gains is what the load comes to in the one future, less in the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from schedtuna.errors import DatasetError
from schedtuna.learn.dataset_form import LEARNING_TASKS, UNDECIDED
from schedtuna.learn.made_rows import BuildOptions, MadeRows
from schedtuna.learn.randomised_rows import MeanEffect, has_draws, randomised_rows
from schedtuna.learn.sources import RunSource
from schedtuna.learn.task_rows import RunRows
from schedtuna.learn.thinning import Columns
from schedtuna.sim.futures import MigrationFutures, migration_futures
from schedtuna.sim.origin import Origin
from schedtuna.sim.schedulers import scheduler_text

MIGRATE_FEATURES = (
    "cpu",
    "nr_idle_cpus",
    "nr_busy_cpus",
    "src_load_permille",
    "dst_load_permille",
    "is_wakeup",
    "cpus_share_llc",
)
HORIZONS_NS = (10_000_000, 50_000_000, 200_000_000)
HORIZONS = tuple(f"{ns // 1_000_000}ms" for ns in HORIZONS_NS)
LABELLED_BY = 1  # of the horizons
NR_PAIRS = 8
CERTAINTY = 0.95  # of a sign, two-sided
_FULL = 1024  # of a load
_EXTRAS = {
    **{
        f"gain_{horizon}_ns": f"what migrating gains within {horizon}: by how much less the integral of the "
        "number of tasks that want to get on is"
        for horizon in HORIZONS
    },
    **{
        f"certainty_{horizon}": f"of the sign of that, by Student's t over {NR_PAIRS} pairs of futures"
        for horizon in HORIZONS
    },
}
_DRAWN_EXTRAS = {
    "was_migrated": "1: the coin moved it",
    "odds": "of that",
    **{
        f"cost_{horizon}_ns": f"the integral of the number of tasks that run or wait, within {horizon}"
        for horizon in HORIZONS
    },
}
_Z95 = 1.959964
Signs = npt.NDArray[np.int64]


def make_migration_rows(sources: list[RunSource], options: BuildOptions) -> MadeRows:
    """Return a row per migration that `fair` asks for, labelled by the sign of what it gains, or undecided.

    Of recordings in which a coin moved tasks, a row per draw: see `randomised_rows`.

    Raises:
        DatasetError: A trace is of another scheduler, or nothing migrates in it; or both kinds are given.
    """
    if any(has_draws(source) for source in sources):
        return _make_randomised_rows(sources)
    made = MadeRows(
        MIGRATE_FEATURES,
        f"which of its two futures is better within {HORIZONS[LABELLED_BY]}, on average over {NR_PAIRS} "
        f"pairs with the same noise, if that is certain by {CERTAINTY:.0%}; else {UNDECIDED}",
        classes=list(LEARNING_TASKS["migrate"].classes),
        extras=dict(_EXTRAS),
        settings={"row": "a migration under fair", "horizons_ns": list(HORIZONS_NS), "nr_pairs": NR_PAIRS},
    )
    most = max(options.most_rows // len(sources), 1)
    signs = []
    for number, source in enumerate(sources):
        found, nr_asked = futures_of(
            source,
            most,
            on_migration=lambda nr, number=number: options.on_progress(number, nr),  # type: ignore[misc]
        )
        rows, sign = migration_rows(found)
        rows.nr_seen, rows.nr_events = nr_asked, 0
        if found and all((one.gains_ns == one.gains_ns[:1]).all() for one in found):
            rows.notes.append(
                f"{source.name} draws nothing: all pairs of futures are one, and certainty means little"
            )
        signs.append(sign)
        made.runs.append((source, rows))
    _tell(made, np.concatenate(signs))
    return made


def _make_randomised_rows(sources: list[RunSource]) -> MadeRows:
    others = [source.name for source in sources if not has_draws(source)]
    if others:
        raise DatasetError(
            f"{', '.join(others[:5])}: nobody was moved at random there, and labels of draws and of both "
            "futures are not the same",
            hint="build two datasets",
        )
    made = MadeRows(
        MIGRATE_FEATURES,
        f"what a coin decided, where less ran and waited within {HORIZONS[LABELLED_BY]} than on average over "
        "the run's draws, else the other; by how much, over the odds, is the weight: one label says little, "
        "their weighted mean what is better",
        classes=[*LEARNING_TASKS["migrate"].classes[:2]],
        extras=_DRAWN_EXTRAS,
        settings={"row": "a draw of record --random-migrations", "horizons_ns": list(HORIZONS_NS)},
    )
    effects = []
    for source in sources:
        rows, found = randomised_rows(source, HORIZONS_NS, HORIZONS, LABELLED_BY)
        made.runs.append((source, rows))
        effects.append(found)
    told = dict(zip(HORIZONS, (_pooled(list(runs)) for runs in zip(*effects, strict=True)), strict=True))
    made.settings["mean_effect_ns"] = {name: list(bounds) for name, bounds in told.items()}
    mean, low, high = (ns / 1e6 for ns in told[HORIZONS[LABELLED_BY]])
    made.notes.append(
        f"moving at random adds {mean:+.2f} ms [{low:+.2f}, {high:+.2f}] to the integral of the number of "
        f"tasks that run or wait within {HORIZONS[LABELLED_BY]}: caused by the move, as a coin decided"
    )
    return made


def _pooled(runs: Sequence[MeanEffect]) -> tuple[float, float, float]:
    """Return the mean effect over runs, each by how many draws it had, and its interval of 95%."""
    known = [run for run in runs if np.isfinite(run.ns)]
    total = sum(run.nr_draws for run in known)
    if not known:
        raise DatasetError(
            "too few threads were moved, or let be, for any of it to be told",
            hint="record for longer, or with more --random-migrations",
        )
    mean = sum(run.ns * run.nr_draws for run in known) / total
    error = sum((run.error_ns * run.nr_draws / total) ** 2 for run in known) ** 0.5
    return mean, mean - _Z95 * error, mean + _Z95 * error


def futures_of(
    source: RunSource, most: int, *, on_migration: Callable[[int], object] = lambda _: None
) -> tuple[list[MigrationFutures], int]:
    """Return both futures of a run's migrations, evenly taken if there are too many; and how many there are.

    Raises:
        DatasetError: The run is a recording, or of another scheduler than `fair`.
    """
    origin = Origin.of(source.trace)
    if origin.is_recorded:
        raise DatasetError(
            f"{source.name} was recorded: its load draws nothing, so that all of its futures would be one",
            hint="simulate a family, or a workload file, under fair; or move tasks at random meanwhile: "
            "schedtuna record --random-migrations 10 -- COMMAND",
        )
    if origin.scheduler != "fair":
        raise DatasetError(
            f"{source.name} was simulated under {origin.scheduler}: migrations are asked for by `fair` alone",
            hint="simulate it under fair",
        )
    simulation = origin.simulation()
    until_ns = origin.until_ns - max(HORIZONS_NS)  # later ones have no whole future
    scheduler = scheduler_text(origin.scheduler, origin.parameters)
    ahead = simulation.fork()
    ahead.run(max(until_ns, 0))
    ahead.take_events()
    nr_asked = ahead.totals.nr_migrations
    every = max(-(-nr_asked // most), 1)
    found = []
    for one in migration_futures(
        simulation, scheduler, until_ns=until_ns, horizons_ns=HORIZONS_NS, nr_pairs=NR_PAIRS, every=every
    ):
        found.append(one)
        on_migration(len(found))
    return found, max(nr_asked, len(found))


def migration_rows(found: Sequence[MigrationFutures]) -> tuple[RunRows, Signs]:
    """Return the rows of migrations, and each gain's sign by horizon: 1: moving is better, 0: undecided."""
    if not found:
        return RunRows({}, dropped=Counter()), np.zeros((0, len(HORIZONS)), np.int64)
    gains = np.stack([one.gains_ns for one in found]).astype(float)
    mean, certainty = gains.mean(axis=1), certainty_of_sign(gains)
    signs = np.where(certainty >= CERTAINTY, np.sign(mean), 0).astype(np.int64)
    asked = [one.migration for one in found]
    features = {
        "cpu": [one.destination for one in asked],
        "nr_idle_cpus": [one.nr_idle for one in asked],
        "nr_busy_cpus": [one.nr_busy for one in asked],
        "src_load_permille": [(one.source_load * 1000 + _FULL // 2) // _FULL for one in asked],
        "dst_load_permille": [(one.destination_load * 1000 + _FULL // 2) // _FULL for one in asked],
        "is_wakeup": [int(one.wakes) for one in asked],
        "cpus_share_llc": [int(one.shares_llc) for one in found],
    }
    columns: Columns = {name: np.array(values, np.int64) for name, values in features.items()}
    label = np.array([2, 1, 0])[signs[:, LABELLED_BY]]  # undecided, migrate, and by -1: stay
    columns |= {
        "label": label,
        "time_ns": np.array([one.at_ns for one in asked], np.int64),
        "task": np.array([one.task for one in asked], np.uint32),
    }
    for k, horizon in enumerate(HORIZONS):
        columns[f"gain_{horizon}_ns"] = mean[:, k]
        columns[f"certainty_{horizon}"] = certainty[:, k]
    return RunRows(columns, nr_seen=len(found)), signs


def certainty_of_sign(gains: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how certain the sign of the mean is: 1 - the two-sided p-value of Student's t.

    Args:
        gains: [migrations, pairs, horizons]. Of one pair alone nothing is certain.
    """
    from scipy.stats import t

    nr_pairs = gains.shape[1]
    if nr_pairs < 2:
        return np.zeros((gains.shape[0], gains.shape[2]))
    mean, error = gains.mean(axis=1), gains.std(axis=1, ddof=1) / np.sqrt(nr_pairs)
    same = error == 0  # all pairs alike: certain, unless nothing is gained or lost
    score = np.abs(mean) / np.where(same, 1, error)
    found: npt.NDArray[np.float64] = np.where(same, mean != 0, 1 - 2 * t.sf(score, nr_pairs - 1))
    return found


def _tell(made: MadeRows, signs: Signs) -> None:
    decided = (signs != 0).mean(axis=0).tolist() if len(signs) else [0.0] * len(HORIZONS)
    always = signs[(signs != 0).all(axis=1)]
    stable = float((always == always[:, :1]).all(axis=1).mean()) if len(always) else 0.0
    shares = dict(zip(HORIZONS, decided, strict=True))
    made.settings |= {"share_decided": shares, "share_of_stable_signs": stable}
    told = ", ".join(f"{share:.0%} within {horizon}" for horizon, share in shares.items())
    made.notes.append(
        f"labels are counterfactuals of the simulated machine, which is a model; decided are {told}; of "
        f"those decided within each of these, {stable:.0%} have the same sign throughout"
    )
