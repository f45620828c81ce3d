"""How fast is a deterministic trial, and is it the same bits every time?

Prints JSON: seconds until a restored guest runs, as this machine's clock sees it and as CPU time of
QEMU, which other load does not stretch; how many of 100 trials of one virtual second on one CPU, and of
20 on four CPUs, have the hash of the first; how many single runs differed on four CPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from statistics import median, quantiles

from schedtuna.lab.deterministic.trials import Deterministic, DeterministicSpec
from schedtuna.lab.store import Lab, read_lab
from skipping import skipping

# A second of messages between 20 senders and 20 receivers; what is left at its end is ended.
_LOAD = ("timeout", "-s", "KILL", "1", "hackbench", "-g", "1", "-l", "1000000")


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three trials each")
    parser.add_argument("--cpus", type=int, nargs="+", default=[1, 4], help="only these machines")
    options = parser.parse_args()
    lab = read_lab()
    result = {
        "benchmark": "lab_deterministic",
        "kernel": lab.default_kernel,
        "qemu": lab.qemu.version,
        "load_average": os.getloadavg()[0],
        "goal_restore_s": 0.3,
        "machines": [
            _measure(lab, cpus, 3 if options.quick else 100 if cpus == 1 else 20) for cpus in options.cpus
        ],
    }
    print(json.dumps(result))


def _measure(lab: Lab, cpus: int, nr_trials: int) -> dict[str, object]:
    machine = Deterministic(lab, DeterministicSpec(_LOAD, cpus=cpus))
    trials = []
    for number in range(nr_trials):
        trials.append(machine.run(1))
        print(f"{cpus} CPUs, trial {number + 1}: {trials[-1].hashes}", file=sys.stderr, flush=True)
    restores = [trial.restore_s for trial in trials]
    first = trials[0]
    return {
        "cpus": cpus,
        "trials": nr_trials,
        "boot_and_save_s": machine.saved.boot_s,
        "snapshot_mb": machine.saved.file.stat().st_size / 1e6,
        "restore_s": median(restores),
        "restore_p90_s": quantiles(restores, n=10)[-1],
        "restore_cpu_s": median(trial.restore_cpu_s for trial in trials),
        "wall_s": median(trial.wall_s for trial in trials),
        "guest_s": first.guest_ns / 1e9,
        "nr_context_switches": first.nr_switches,
        "identical": sum(trial.hash == first.hash for trial in trials),
        "runs": sum(len(trial.hashes) for trial in trials),
        "differing_runs": sum(trial.nr_mismatches for trial in trials),
        "repeated_trials": sum(trial.nr_mismatches > 0 for trial in trials),
        "unsettled_trials": sum(not trial.reproduced for trial in trials),
    }


if __name__ == "__main__":
    with skipping("lab_deterministic"):
        main()
