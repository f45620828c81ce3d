"""How long do `import schedtuna` and `schedtuna --help` take, beside an empty Python?

Rounds of all commands in turn; medians of wall time. Goal: under 0.2 s each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from statistics import median

COMMANDS = {
    "python": ["-c", "pass"],
    "import": ["-c", "import schedtuna"],
    "help": ["-m", "schedtuna", "--help"],
    "tune_help": ["-m", "schedtuna", "tune", "--help"],
}
GOAL_S = 0.2


def wall_s(arguments: list[str]) -> float:
    """Return the wall time of one run of the interpreter."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5 rounds in place of 30")
    rounds = 5 if parser.parse_args().quick else 30
    samples: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            samples[name].append(wall_s(arguments))
    medians = {name: round(median(row), 4) for name, row in samples.items()}
    print(
        json.dumps(
            {
                "benchmark": "startup",
                "rounds": rounds,
                "median_s": medians,
                "ratio_to_python": {k: round(v / medians["python"], 2) for k, v in medians.items()},
                "goal_s": GOAL_S,
                "met": max(medians["import"], medians["help"]) < GOAL_S,
            }
        )
    )


if __name__ == "__main__":
    main()
