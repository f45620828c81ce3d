"""What does `make demo` end with on machines that are busy with other things?

Runs whole demos beside 0 to 2 busy CPUs, drawn at random, then the second half of the demo alone:
there no setting can help, so that every `improved` is false. What the first half's settings take
from other programs is shown by the CPU time that the load uses under them and under the default.

    python benchmarks/demo_outcomes.py --demos 10 --nulls 200
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

SCRIPT = Path(__file__).parent.parent / "tools" / "demo.sh"
MOST_BUSY = 2


@contextmanager
def busy(nr_cpus: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many programs that compute, each in a session of its own as another terminal's are."""
    command = (sys.executable, "-I", "-c", "while True: pass")
    programs = [subprocess.Popen(command, start_new_session=True) for _ in range(nr_cpus)]
    try:
        yield programs
    finally:
        for program in programs:
            program.kill()
            program.wait()


def demo(seed: int, part: str, nr_busy: int) -> list[dict[str, Any]]:
    """Run one demo, and return what each of its halves came to, in order."""
    load, started = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory() as results:
        with busy(nr_busy):
            command = (str(SCRIPT), str(seed), results, part)
            done = subprocess.run(command, check=False, capture_output=True, text=True)
        took_s = time.monotonic() - started
        studies = sorted(Path(results).iterdir(), key=lambda folder: (folder / "study.json").stat().st_mtime)
        if done.returncode != 0:
            sys.exit(f"seed {seed}: {' '.join(command)} ended with {done.returncode}\n{done.stderr}")
        halves = [outcome(study) for study in studies]
    told = ", ".join(f"{half['verdict']} {half['change']:+.1%}" for half in halves)
    print(
        f"seed {seed}, {nr_busy} busy, load {load:.0f} before: {told}; {took_s:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    return [{"seed": seed, "busy": nr_busy, "load_before": load, "took_s": took_s, **half} for half in halves]


def outcome(study: Path) -> dict[str, Any]:
    """The verdict, the effect, the luckiest run of the search, and the CPU time of both sides' runs."""
    result = json.loads((study / "result.json").read_text())
    trials = [json.loads(line) for line in (study / "trials.jsonl").read_text().splitlines()[1:]]
    cpu_s: dict[bool, list[float]] = {True: [], False: []}
    for record in trials:
        if record["phase"] == "confirmation" and record["trial"]["validity"] == "ok":
            cpu_s[record["arm"] == "candidate"].append(record["trial"]["metrics"]["cpu_time_s"])
    return {
        "verdict": result["verdict"],
        "change": result["effect"]["ratio"] - 1,
        "cpu_time_change": median(cpu_s[True]) / median(cpu_s[False]) - 1,
        "candidate": result["candidate"],
    }


def summary(halves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What one half came to over all demos."""
    if not halves:
        return {"studies": 0}
    return {
        "studies": len(halves),
        "verdicts": dict(Counter(half["verdict"] for half in halves)),
        "change_median": round(median(half["change"] for half in halves), 3),
        "cpu_time_change_median": round(median(half["cpu_time_change"] for half in halves), 3),
        "load_before": [round(half["load_before"], 1) for half in halves],
        "took_s_median": round(median(half["took_s"] for half in halves)),
        "took_s_max": round(max(half["took_s"] for half in halves)),
    }


def main() -> None:
    """Run them, and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--demos", type=int, default=10, help="whole demos")
    parser.add_argument("--nulls", type=int, default=200, help="second halves alone")
    parser.add_argument("--quick", action="store_true", help="one of each")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    nr_demos, nr_nulls = (1, 1) if options.quick else (options.demos, options.nulls)
    seeds = range(options.seed, options.seed + nr_demos + nr_nulls)
    whole = [demo(seed, "both", rng.randint(0, MOST_BUSY)) for seed in seeds[:nr_demos]]
    nulls = [demo(seed, "null", rng.randint(0, MOST_BUSY)) for seed in seeds[nr_demos:]]
    report = {
        "gain": summary([halves[0] for halves in whole]),
        "null_in_demos": summary([halves[1] for halves in whole]),
        "null": summary([halves[0] for halves in nulls]),
    }
    print(json.dumps({"benchmark": "demo_outcomes", **report}))


if __name__ == "__main__":
    main()
