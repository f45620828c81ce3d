"""How long does a model's decision take inside the kernel: hot, after other data, end to end, and to swap?

Needs root. Programs run in turn, by bpf_prog_test_run, on 4,096 different rows. Hot figures include the base
program, which takes a row and stores a number; ratios are to it. A plain walk of the same trees is the peer.
End to end: ten counters are found in a hash map by a key, binned, and decided on; each key's four times over,
or once, after the other programs ran. Cold: one decision after 2 or 16 MB of other data was read, without
what measuring adds. Goals are in ns, for one machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests import models

from schedtuna.model.bins import Bins
from schedtuna.model.kernel.classes import HEAD_FIELDS, KernelClass, class_of
from schedtuna.model.kernel.cost import OTHER_MB, cold_ns, rows_to_measure
from schedtuna.model.kernel.loaded import KernelPrograms, require_parity
from schedtuna.model.kernel.tables import pack
from schedtuna.model.model import DecisionModel
from schedtuna.model.trees import BoxTrees

NR_ROWS = 4096
PROGRAMS = ("base", "decide_bins", "decide_key", "decide", "explain", "time_cold", "time_nothing")
# Name -> (decided from bins, end to end), ns with the base included.
GOALS = {
    "trees": (250, 400),
    "oblivious": (120, 220),
    "mlp": (600, 750),
    "mlp as data": (850, None),
    "step": (160, 220),
}
MOST_WALKED = 12
# What is timed -> the program, and how often it decides on each row.
RUNS = {"base": ("base", 1), "bins": ("decide_bins", 1), "once": ("decide_key", 1), "key": ("decide_key", 4)}


@dataclass(frozen=True)
class WalkClass(KernelClass):
    """The peer: bpf/model/walk.bpf.h."""

    @property
    def table_dtype(self) -> np.dtype[Any]:
        """The table, as C has it."""
        shape = (100, 64)
        counts = [("nr_trees", "<u4"), ("nr_levels", "<u4"), ("start", "<i8")]
        return np.dtype([("head", HEAD_FIELDS), *counts, ("nodes", "<u8", shape), ("leaves", "<i4", shape)])


def walked(model: DecisionModel) -> bytes:
    """Return the table of the plain walk."""
    core = model.core
    assert isinstance(core, BoxTrees)
    table = np.zeros(1, WALK.table_dtype)[0]
    table["head"] = np.frombuffer(pack(model, class_of(model)), class_of(model).table_dtype)[0]["head"]
    table["nr_trees"], table["start"], deepest = core.nr_trees, core.base, 0
    for tree in range(core.nr_trees):
        pending, free = [(0 if core.nr_leaves[tree] > 1 else -1, 0, 0)], 1
        while pending:
            node, place, depth = pending.pop(0)
            if node < 0:
                table["nodes"][tree, place] = place << 32 | 0xFFFF
                table["leaves"][tree, place] = core.leaves[tree, -1 - node]
                deepest = max(deepest, depth)
                continue
            asked = int(core.feature[tree, node]) << 16 | int(core.threshold[tree, node])
            table["nodes"][tree, place] = free << 32 | asked
            pending += [(int(core.left[tree, node]), free, depth + 1)]
            pending += [(int(core.right[tree, node]), free + 1, depth + 1)]
            free += 2
    table["nr_levels"] = min(deepest, MOST_WALKED)
    return bytes(table.tobytes())


WALK = WalkClass("walk", "walk", 16)


def balanced(random: np.random.Generator, nr_bins: int) -> BoxTrees:
    """100 trees of 31 leaves, five levels deep."""
    tree, count = np.arange(31), (100, 31)
    child = 2 * tree[:30] + 1
    left, right = np.zeros(count, int), np.zeros(count, int)
    for side, first in ((left, child), (right, child + 1)):
        side[:, :30] = np.where(first < 30, first, -1 - (first - 30))
    feature, threshold = random.integers(0, 10, count), random.integers(0, nr_bins - 1, count)
    leaves = np.zeros((100, 32), int)
    leaves[:, :31] = random.integers(-2000, 2000, (100, 31))
    for array in (feature, threshold, left, right):
        array[:, 30:] = 0
    return BoxTrees(10, 0, np.full(100, 31), feature, threshold, left, right, leaves)


def made() -> dict[str, DecisionModel]:
    """Return what is measured."""
    random = np.random.default_rng(1)
    inputs = models.byte_inputs()
    few = tuple(one._replace(bins=Bins("linear", 0, 255, 64)) for one in inputs)
    cores = {
        "trees": (balanced(random, 256), inputs),
        "trees, 64 bins": (balanced(random, 64), few),
        "oblivious": (models.oblivious(random, nr_trees=100, nr_bins=(256,) * 10), inputs),
        "mlp": (models.mlp(random), inputs),
        "mlp as data": (models.mlp(random), inputs),
        "mlp 10-16-16-1": (models.mlp(random, 10, 16, 16, 1), inputs),
        "step": (models.step_net(random), inputs),
        "linear": (models.linear(random), inputs),
    }
    return {name: models.model(core, rows, name) for name, (core, rows) in cores.items()}


def loaded(stack: ExitStack, name: str, model: DecisionModel) -> KernelPrograms:
    """Load a model, checked, with rows and counters to decide on."""
    geometry = class_of(model)
    if name == "mlp as data":
        geometry = KernelClass("mlp_small", "mlp", 16, logits=4, units=64)
    geometry = WALK if name == "plain walk" else geometry
    programs = KernelPrograms(geometry, PROGRAMS, nr_rows=NR_ROWS, other_bytes=max(OTHER_MB) << 20)
    stack.enter_context(programs)
    programs.put(walked(model) if geometry is WALK else pack(model, geometry))
    rows = rows_to_measure(model, NR_ROWS)
    if geometry is WALK:
        logits = programs.decide(rows)[:, :1]
        assert np.array_equal(logits, model.core.logits(model.quantise(rows)))
    else:
        require_parity(programs, model)
    values = np.zeros((NR_ROWS, 16), "<i8")
    values[:, : rows.shape[1]] = rows
    for key in range(NR_ROWS):
        programs.bpf.update("counters", key.to_bytes(4, "little"), values[key].tobytes())
    return programs


def swap_us(programs: KernelPrograms, table: bytes, rounds: int) -> float:
    """Return the median microseconds until another table decides."""
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        programs.put(table)
        took.append(1e6 * (time.perf_counter() - started))
    return round(median(took), 1)


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5 rounds in place of 60")
    rounds = 5 if parser.parse_args().quick else 60
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        made_models = made()
        made_models["plain walk"] = made_models["trees"]
        all_programs = {name: loaded(stack, name, model) for name, model in made_models.items()}
        samples: dict[str, dict[str, list[int]]] = {
            name: {kind: [] for kind in RUNS} for name in all_programs
        }
        for name, programs in all_programs.items():
            programs.give(made_models[name].quantise(rows_to_measure(made_models[name], NR_ROWS)))
        for _ in range(rounds):
            for name, programs in all_programs.items():
                for kind, row in samples[name].items():
                    program, times = RUNS[kind]
                    row.append(programs.run(program, times * NR_ROWS))
        for name, programs in all_programs.items():
            base, bins, once, key = (median(row) for row in samples[name].values())
            programs.give(rows_to_measure(made_models[name], NR_ROWS))
            cold = {f"{mb}_mb": cold_ns(programs, mb) for mb in (0, *OTHER_MB)}
            table = walked(made_models[name]) if name == "plain walk" else None
            hot_goal, end_goal = GOALS.get(name, (None, None))
            found[name] = {
                "class": programs.geometry.name,
                "verified_insns": programs.cost().verified_insns,
                "jited_bytes": programs.cost().jited_bytes,
                "base_ns": base,
                "hot_ns": bins,
                "hot_least_ns": min(samples[name]["bins"]),
                "ratio_to_base": round(bins / base, 1),
                "end_to_end_ns": key,
                "end_to_end_least_ns": min(samples[name]["key"]),
                "end_to_end_once_ns": once,
                "cold_ns": {mb: round(decided - nothing) for mb, (decided, nothing) in cold.items()},
                "swap_us": swap_us(programs, table or pack(made_models[name], programs.geometry), rounds),
                "goal_ns": {"hot": hot_goal, "end_to_end": end_goal},
                "met": None if hot_goal is None else bins <= hot_goal and key <= (end_goal or key),
            }
    walk_ratio = round(found["plain walk"]["hot_ns"] / found["trees"]["hot_ns"], 2)
    print(
        json.dumps({"benchmark": "model_kernel", "rounds": rounds, "models": found, "walk_ratio": walk_ratio})
    )


if __name__ == "__main__":
    main()
