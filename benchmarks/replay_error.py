"""How far is a replay off the same load's recording under another setting?

A seeded load is played and recorded under A (the kernel as it is), and under B (its tasks ask for another
slice). A's trace, replayed under B, is compared with B's: signed, per metric, median over seeds. Beside it
stands the error where nothing had changed: A's trace, replayed under A, against another recording of A. Needs
root.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace

from schedtuna.fidelity.loads import LOADS, PREFIX, PlayedLoad, played_load
from schedtuna.fidelity.real import machine_shape, recorded
from schedtuna.knobs.journal import Journal
from schedtuna.sim.recorded import RecordedLoad
from schedtuna.sim.replay import cross_errors
from skipping import skipping

SLICES_US = (300, 6000)


def with_slice(load: PlayedLoad, slice_us: int) -> PlayedLoad:
    """Return the load with tasks that ask for that slice."""
    groups = {
        nice: {name: {**task, "dl-runtime": slice_us} for name, task in tasks.items()}
        for nice, tasks in load.groups.items()
    }
    return replace(load, groups=groups)


def errors_of(load: PlayedLoad, seed: int) -> dict[str, dict[str, float | None]]:
    """Return the errors under A itself, and under each B."""
    shape, journal = machine_shape(), Journal()
    # fair multiplies its base slice by this; what a task asks for is taken as it is.
    scale = min(shape.nr_cpus, 8).bit_length()
    found = {}
    with recorded(load, seed, journal) as (trace, _, _):
        replayed = RecordedLoad(trace)
        for slice_us in (None, *SLICES_US):
            other = load if slice_us is None else with_slice(load, slice_us)
            scheduler = "fair" if slice_us is None else f"fair:base_slice_us={slice_us // scale}"
            with recorded(other, seed, journal) as (real, _, _):
                found[str(slice_us)] = cross_errors(
                    replayed, real, scheduler, comm=f"{PREFIX}*", topology=str(shape)
                )
    return found


def main() -> None:
    """Print a JSON object per load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loads", nargs="*", choices=LOADS, default=list(LOADS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    with skipping("replay_error"):
        cpus = tuple(range(machine_shape().nr_cpus))
        for name in options.loads:
            runs = [
                errors_of(played_load(name, seed, cpus, options.seconds), seed)
                for seed in range(1, options.seeds + 1)
            ]
            medians = {
                setting: {
                    metric: _median([run[setting][metric] for run in runs]) for metric in runs[0][setting]
                }
                for setting in runs[0]
            }
            print(json.dumps({"load": name, "seeds": options.seeds, "error": medians}), flush=True)


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 3) if known else None


if __name__ == "__main__":
    main()
