"""How much of an oracle's gain do the agent's policies find, on families of loads that were named beforehand?

Once in the simulated machine and once on this one, each as `schedtuna demo agent --families all` does it; the
families are a table, src/schedtuna/agent/demo/loads.py. On this machine that takes three quarters of an hour,
says something only while nothing else runs, and goes on where it ended if --out names a folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SIMULATED_BLOCKS = 24


def shown(folder: Path, seed: int, *options: str, name: str) -> list[dict[str, Any]]:
    """Run the command, and return what it says of each load."""
    command = [sys.executable, "-m", "schedtuna", "demo", "agent", "--json", "--seed", str(seed)]
    command += ["--out", str(folder / f"{name}.jsonl"), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    loads: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])["loads"]
    return loads


def rows(loads: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    """What is told of each load: shares of the oracle's gain, and what was changed where there is none."""
    return [
        {
            "benchmark": "agent_families",
            "where": where,
            "load": load["load"],
            "metric": load["metric"],
            "blocks": load["blocks"],
            "arms": {
                arm["arm"]: {key: arm[key] for key in ("latency", "work", "share", "acted_on")}
                for arm in load["arms"]
            },
            "verdicts": load["verdicts"],
        }
        for load in loads
    ]


def main() -> None:
    """Run both, and print a JSON object per load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two blocks of two simulated loads")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a folder that keeps the runs; default: none is kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        simulated = ("--simulated", "--blocks", "2" if options.quick else str(SIMULATED_BLOCKS))
        chosen = ("bursts", "equal") if options.quick else ("all",)
        families = [word for name in chosen for word in ("--families", name)]
        found = rows(shown(folder, options.seed, *simulated, *families, name="simulated"), "simulated")
        if not options.quick:
            found += rows(shown(folder, options.seed, *families, name="host"), "this machine")
    for row in found:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
