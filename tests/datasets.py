"""Small datasets whose answer is known."""

from __future__ import annotations

import numpy as np

from schedtuna.learn.dataset_form import Dataset, DatasetCard, DatasetFeature, DatasetRun

FEATURES = ("nice", "waited_ns", "burst_ns", "cpu_time_ns", "was_idle")
PARTS = ("train", "train", "validation", "test")
NR_TASKS = 6


def make(
    task: str = "burst", *, classes: int = 2, nr_runs: int = 8, nr_rows: int = 300, seed: int = 1
) -> Dataset:
    """Tasks with a mean burst each, of 16 us to 8 ms; `burst_ns` is the one before, `was_idle` never differs.

    class: which of some equal parts of that range the mean is in. next: of three, whose last burst is
    shortest.
    """
    import polars as pl

    random = np.random.default_rng(seed)
    frames, runs = [], []
    for run in range(nr_runs):
        tasks, time = random.integers(0, NR_TASKS, nr_rows), np.sort(random.integers(0, 10**10, nr_rows))
        octave = 14 + 9 * random.permutation(NR_TASKS) / (NR_TASKS - 1)
        burst = (2 ** octave[tasks] * random.gamma(8, 1 / 8, nr_rows)).astype(np.int64) + 1
        last = np.zeros(nr_rows, np.int64)
        for number in range(NR_TASKS):
            rows = np.flatnonzero(tasks == number)
            last[rows[1:]] = burst[rows[:-1]]
        sets = np.zeros(nr_rows, np.int64)
        if task == "burst":
            label = burst
        elif task == "next":
            sets = np.arange(nr_rows) // 3
            label = np.zeros(nr_rows, np.int64)
            label[np.arange(0, nr_rows, 3) + last.reshape(-1, 3).argmin(axis=1)] = 1
        else:
            label = np.minimum((octave[tasks] - 14) * classes // 9, classes - 1).astype(np.int64)
        frames.append(
            pl.DataFrame(
                {
                    "nice": random.integers(-5, 6, nr_rows),
                    "waited_ns": random.integers(0, 10**7, nr_rows),
                    "burst_ns": last,
                    "cpu_time_ns": time // 8,
                    "was_idle": np.zeros(nr_rows, np.int64),
                    "label": label,
                    "group": np.full(nr_rows, run, np.uint32),
                    "family": [f"family{run}"] * nr_rows,
                    "host": ["simulated"] * nr_rows,
                    "time_ns": time,
                    "task": tasks.astype(np.uint32),
                    "candidate_set": sets.astype(np.uint32),
                    "weight": np.ones(nr_rows, np.float32),
                    "split": [PARTS[run % len(PARTS)]] * nr_rows,
                }
            )
        )
        runs.append(
            DatasetRun(
                name=f"run{run}",
                sha256="",
                kind="simulated",
                family=f"family{run}",
                host="simulated",
                nr_rows=nr_rows,
            )
        )
    card = DatasetCard(
        task=task,
        features=[DatasetFeature.of(name) for name in FEATURES],
        label="known",
        classes=[f"kind{number}" for number in range(classes)] if task == "class" else [],
        runs=runs,
        split="run",
        seed=seed,
    )
    return Dataset(card, pl.concat(frames))
