"""How fast do models decide: generated C, the native runtime, the migration decider; and LightGBM itself?

A hundred trees of 31 leaves, a hundred oblivious trees of depth 6, an int8 net 10-64-64-1 and a step net of
that size, on rows that differ, on one core. Best and median of rounds, in which everything is measured in
turn, as the best of eight repetitions: on a busy machine the best is what the code can do. Caches are hot.
Goals: one row of the trees from C 400 ns, of the net 200 ns, and 100 ns from C++; batches of trees 8 M and
of the net 20 M rows/s; decisions that are remembered 60 ns in batches, 40 ns within C++.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from model_peers import peers, timed
from schedtuna.export.c import generate_c
from schedtuna.export.compiled import FLAGS, find_compiler
from schedtuna.learn.lightgbm_file import parse_lightgbm
from schedtuna.learn.quantise import quantise_mlp
from schedtuna.model.bins import Bins
from schedtuna.model.core import Core
from schedtuna.model.decider import MigrationDecider, MigrationFeatures
from schedtuna.model.migration import INPUTS, LABELS
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.nets import StepNet
from schedtuna.model.rows import checked
from schedtuna.model.runtime import ModelRuntime
from schedtuna.model.trees import ObliviousTrees

NR_INPUTS = 10
NR_ROWS = 4096
BYTES = tuple(ModelInput(f"byte_{number}", Bins("linear", 0, 255, 256)) for number in range(NR_INPUTS))
GOALS = {
    "c_trees_ns": 400,
    "c_mlp_ns": 200,
    "batch_trees_rows_per_s": 8e6,
    "batch_mlp_rows_per_s": 20e6,
    "cached_batch_ns": 60,
    "one_mlp_row_ns": 100,
    "cache_hit_ns": 40,
}
_TIMER = """#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "m.h"

static uint16_t rows[%d][M_NR_INPUTS];

int main(void)
{
	struct timespec begin, end;
	int32_t logits[M_NR_LOGITS], sum = 0;

	if (fread(rows, sizeof(rows), 1, stdin) != 1)
		return 1;
	for (int round = 0; round < 8; round++) {
		clock_gettime(CLOCK_MONOTONIC, &begin);
		for (int row = 0; row < %d; row++) {
			m_logits(rows[row], logits);
			sum += logits[0];
		}
		clock_gettime(CLOCK_MONOTONIC, &end);
		printf("%%.2f\\n", ((end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec)) / %d);
	}
	return sum == 1;
}
"""


def train(random: np.random.Generator) -> tuple[Any, DecisionModel, tuple[np.ndarray, np.ndarray]]:
    """A booster of a hundred trees over bytes, its canonical model, and what it was trained on."""
    import lightgbm

    bins = random.integers(0, 256, (20_000, NR_INPUTS)).astype(float)
    target = bins[:, 0] + bins[:, 1] * (bins[:, 2] > 99) - bins[:, 3] + random.normal(0, 60, len(bins)) > 60
    data = lightgbm.Dataset(bins, target.astype(float))
    settings = {"objective": "binary", "num_leaves": 31, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(settings, data, 100)
    model = parse_lightgbm(booster.model_to_string()).canonical("trees", BYTES, LABELS, "benchmark")
    return booster, model, (bins, target)


def other_cores(random: np.random.Generator, bins: np.ndarray) -> dict[str, Core]:
    """The other families, of random numbers."""
    sizes = (NR_INPUTS, 64, 64, 1)
    pairs = list(itertools.pairwise(sizes))
    floats = [random.normal(0, np.sqrt(2 / before), (units, before)) for before, units in pairs]
    net = quantise_mlp(floats, [np.zeros(units) for _, units in pairs], bins, scale=1 / 128, offset=128).core
    small = [np.clip(np.rint(random.normal(0, 45, (units, before))), -127, 127) for before, units in pairs]
    steps = [weights.astype(int) for weights in small]
    biases = [-(weights.sum(axis=1) * (8 if number == 0 else 1) // 2) for number, weights in enumerate(steps)]
    return {
        "oblivious": ObliviousTrees(
            NR_INPUTS,
            0,
            random.integers(0, NR_INPUTS, (100, 6)),
            random.integers(5, 250, (100, 6)),
            random.integers(-2000, 2000, (100, 64)),
        ),
        "mlp": net,
        "step": StepNet(tuple(steps), tuple(biases), 4),
    }


def compile_timer(model: DecisionModel, folder: Path) -> Path:
    """The generated C with a loop that times it."""
    folder.mkdir()
    for name, text in generate_c(model, "m").items():
        (folder / name).write_text(text)
    (folder / "main.c").write_text(_TIMER % ((NR_ROWS,) * 3))
    command = [
        find_compiler(),
        *FLAGS,
        "-o",
        str(folder / "timer"),
        str(folder / "m.c"),
        str(folder / "main.c"),
    ]
    subprocess.run(command, check=True)
    return folder / "timer"


def measurements(
    models: dict[str, DecisionModel], booster: Any, trained_on: tuple[np.ndarray, np.ndarray], folder: Path
) -> tuple[dict[str, Callable[[], float]], dict[str, str]]:
    """Name -> what measures it once, in ns a row; and why peers are missing."""
    random = np.random.default_rng(2)
    bins = random.integers(0, 256, (NR_ROWS, NR_INPUTS)).astype(np.uint16)
    found: dict[str, Callable[[], float]] = {}
    for name, model in models.items():
        timer, runtime = compile_timer(model, folder / name), ModelRuntime(model)
        logits, one, single = np.empty((NR_ROWS, 1), np.int32), bins[:1].copy(), np.empty((1, 1), np.int32)

        def c(timer: Path = timer) -> float:
            done = subprocess.run([timer], input=bins.tobytes(), capture_output=True, check=True)
            return min(map(float, done.stdout.split()))

        def batch(runtime: ModelRuntime = runtime, logits: np.ndarray = logits) -> float:
            return timed(lambda: runtime.native.logits(bins, logits), NR_ROWS)

        def python(runtime: ModelRuntime = runtime, one: np.ndarray = one, out: np.ndarray = single) -> float:
            def run() -> None:
                for _ in range(500):
                    runtime.native.logits(one, out)

            return timed(run, 500)

        found |= {f"c_{name}": c, f"batch_{name}": batch, f"python_{name}": python}
    floats = bins.astype(float)
    found["batch_lightgbm"] = lambda: timed(
        lambda: booster.predict(floats, raw_score=True, num_threads=1), NR_ROWS
    )
    found["python_lightgbm"] = lambda: timed(
        lambda: [booster.predict(floats[:1], raw_score=True, num_threads=1) for _ in range(5)], 5
    )
    others, missing = peers(booster, *trained_on, floats, folder)
    return found | others | decider_measurements(random), missing


def decider_measurements(random: np.random.Generator) -> dict[str, Callable[[], float]]:
    """The decider: by the model made by hand, by a net, and by a net whose decisions are remembered."""
    weights = [random.normal(0, 0.4, shape) for shape in ((64, 5), (64, 64), (1, 64))]
    inputs = tuple(ModelInput(name, Bins("linear", 0, 1023, 256)) for name in INPUTS)
    calibration = random.integers(0, 256, (2000, 5)).astype(np.uint16)
    net = quantise_mlp(weights, [np.zeros(64), np.zeros(64), np.zeros(1)], calibration, scale=1 / 256).core
    model = checked(DecisionModel("net", inputs, LABELS, net, "benchmark"))
    rows = np.zeros((NR_ROWS, 10), np.float32)
    rows[:, 1:3] = random.integers(0, 3, (NR_ROWS, 2))
    rows[:, 3:5] = random.integers(0, 11, (NR_ROWS, 2)) / 10
    out, features = np.empty(NR_ROWS, bool), MigrationFeatures(4, 2, 6, 0.9, 0.2)
    deciders = {
        "by_hand": MigrationDecider(),
        "net": MigrationDecider(model, cache_rows=0),
        "cached": MigrationDecider(model, cache_rows=4096),
    }
    found: dict[str, Callable[[], float]] = {
        "cpp_net_one": lambda: deciders["net"]._native.measure(50)[0],
        "cpp_cache_hit": lambda: deciders["net"]._native.measure(50)[1],
    }
    for name, decider in deciders.items():

        def one(decider: MigrationDecider = decider) -> float:
            return timed(lambda: [decider.should_migrate(features) for _ in range(500)], 500)

        def batch(decider: MigrationDecider = decider) -> float:
            return timed(lambda: decider.decide_batch(rows, out), NR_ROWS)

        found |= {f"decider_{name}_one": one, f"decider_{name}_batch": batch}
    return found


def _against(best: dict[str, float]) -> list[tuple[str, str, str]]:
    """Each peer, and whom of ours it is held against: the net, or the trees."""
    rows = []
    for name in best:
        kind, _, who = name.partition("_")
        if who.startswith(("onnxruntime", "xgboost", "sklearn", "lightgbm_c", "tl2cgen")):
            rows.append((name, kind, "mlp" if who.endswith("_mlp") else "trees"))
    return rows


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 rounds in place of 20")
    rounds = 3 if parser.parse_args().quick else 20
    os.environ["OMP_NUM_THREADS"] = "1"  # for those that take their number of threads from there
    random = np.random.default_rng(1)
    booster, trees, trained_on = train(random)
    bins = random.integers(0, 256, (2000, NR_INPUTS)).astype(np.uint16)
    models = {"trees": trees} | {
        name: checked(DecisionModel(name, BYTES, LABELS, core, "benchmark"))
        for name, core in other_cores(random, bins).items()
    }
    with tempfile.TemporaryDirectory() as folder:
        runs, missing = measurements(models, booster, trained_on, Path(folder))
        samples: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                samples[name].append(run())
    best = {name: round(min(values), 1) for name, values in samples.items()}
    print(
        json.dumps(
            {
                "benchmark": "model_speed",
                "rounds": rounds,
                "best_ns": best,
                "median_ns": {name: round(median(values), 1) for name, values in samples.items()},
                "times_faster_than_lightgbm": {
                    "batch": round(best["batch_lightgbm"] / best["batch_trees"], 2),
                    "one_row_from_python": round(best["python_lightgbm"] / best["python_trees"], 2),
                },
                "times_faster": {
                    name: round(best[name] / best[f"{kind}_{ours}"], 2) for name, kind, ours in _against(best)
                },
                "peers_missing": missing,
                "goals": GOALS,
                "met": {
                    "c_trees_ns": best["c_trees"] <= GOALS["c_trees_ns"],
                    "c_mlp_ns": best["c_mlp"] <= GOALS["c_mlp_ns"],
                    "batch_trees_rows_per_s": 1e9 / best["batch_trees"] >= GOALS["batch_trees_rows_per_s"],
                    "batch_mlp_rows_per_s": 1e9 / best["batch_mlp"] >= GOALS["batch_mlp_rows_per_s"],
                    "one_mlp_row_ns": best["cpp_net_one"] <= GOALS["one_mlp_row_ns"],
                    "cache_hit_ns": best["cpp_cache_hit"] <= GOALS["cache_hit_ns"],
                    "cached_batch_ns": best["decider_cached_batch"] <= GOALS["cached_batch_ns"],
                },
            }
        )
    )


if __name__ == "__main__":
    main()
