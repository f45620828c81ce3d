"""Tune the kernel's own scheduler for one command, in one call.

    python examples/basic_usage.py [EPISODES [COMMAND...]]

Without a COMMAND the bundled suite's default runs (hackbench, of Debian's rt-tests).
"""

import sys

from schedtuna import optimize_scheduler


def main(episodes: int, *command: str) -> None:
    """Search, prove, and say what came of it."""
    result = optimize_scheduler(
        scheduler_name="fair",  # the kernel's own
        episodes=episodes,  # runs of the search; the proof's runs come on top
        algorithm="gp",
        benchmark_cmd=command or None,
        optimize_metric="throughput",  # the command's own; runs per second where it reports none
    )
    print("verdict:", result["verdict"])
    print("proven:", result["best_parameters"] or "nothing beats the default")
    print("everything is in", result["experiment_path"])


if __name__ == "__main__":
    given, *rest = sys.argv[1:] or ["40"]
    main(int(given), *rest)
