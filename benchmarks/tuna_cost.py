"""What does scx_tuna cost, and a model inside it? In instructions of a guest whose clock counts them.

Prints JSON. `round` is what two tasks that wake each other through pipes take for one round, each time by way
of the queue: without a model, with one of each family in shadow (of one task of 16, and of each), and acting.
`decision` is what scx_tuna's own timing of its decisions gives. `dispatch` is what its callback takes by the
kernel's own statistics, under nine tasks that spin on the one CPU, by how many tasks are compared (pick).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.kernel.tuna_deterministic import carried_out
from tests.kernel.tuna_models import LARGER, NEVER, of_family, sent

from schedtuna.errors import UnavailableError
from schedtuna.lab.store import read_lab
from schedtuna.model.shipped import find_model
from schedtuna.scheduler.objects import own_objects
from skipping import skipping

USES = {"shadow, 1 of 16": ("shadow", {}), "shadow": ("shadow", {"period": 1}), "act": ("act", {})}
PICKS = (1, 2, 4, 8)
HOGS = 9


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    options = parser.parse_args()
    rounds, seconds = (200, 0.5) if options.quick else (2000, 2)
    if not own_objects():
        raise UnavailableError(
            "built without clang 17 or newer", hint="`schedtuna doctor` says what is missing"
        )
    short_tasks = find_model("short_tasks")
    models = [short_tasks, *map(of_family, LARGER)]
    # Name -> its place among the answers.
    orders: list[tuple[Any, ...]] = [
        ("pipes", 50),
        ("pipes", rounds),
        ("cost", "tuna_dispatch", HOGS, seconds),
    ]
    places: dict[str, int] = {}
    for model in models:
        for use, (mode, settings) in USES.items():
            places[f"{model.core.family}: {use}"] = len(orders) + 1
            orders += [
                ("model", model.name, mode, {**NEVER, "period": 16, "pick": 1, **settings}),
                ("pipes", rounds),
                ("model_status",),
            ]
    for pick in PICKS:
        places[f"pick {pick}"] = len(orders) + 1
        settings = {**NEVER, "pick": pick}
        orders += [
            ("model", "short_tasks", "act", settings),
            ("cost", "tuna_dispatch", HOGS, seconds),
            ("model_status",),
        ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "share"
        folder.mkdir()
        answers = carried_out(own_objects()["scx_tuna"], folder, orders, files=sent(*models))
    plain = answers[1]["round_ns"]
    print(
        json.dumps(
            {
                "benchmark": "tuna_cost",
                "kernel": read_lab().default_kernel,
                "unit": "instructions",
                "round": {
                    "without a model": round(plain),
                    **{
                        name: {
                            "more": round(answers[at]["round_ns"] / plain - 1, 4),
                            "decision": _decision(answers[at + 1]),
                        }
                        for name, at in places.items()
                        if not name.startswith("pick")
                    },
                },
                "dispatch": {
                    "without a model": round(answers[2]["mean_ns"]),
                    **{
                        name: {"mean": round(answers[at]["mean_ns"]), **_compared(answers[at + 1])}
                        for name, at in places.items()
                        if name.startswith("pick")
                    },
                },
            }
        )
    )


def _decision(status: dict[str, Any]) -> int | None:
    counted = status["counted"]
    return round(counted["timed_ns"] / counted["nr_timed"]) if counted["nr_timed"] else None


def _compared(status: dict[str, Any]) -> dict[str, float]:
    counted = status["counted"]
    return {
        "tasks compared": round(counted["nr_walked"] / max(counted["nr_picks"], 1), 2),
        "not the first": round(counted["nr_picked"] / max(counted["nr_picks"], 1), 3),
    }


if __name__ == "__main__":
    with skipping("tuna_cost"):
        main()
