"""Say what is searched: fewer knobs of the kernel's own scheduler, or a scheduler of your own.

python examples/custom_scheduler_params.py [EPISODES [COMMAND...]]
"""

import sys

from own_scheduler import MINE

from schedtuna import RLSchedulerOptimizer, register_scheduler


def main(episodes: int, *command: str) -> None:
    """Show what is known of an own scheduler, then tune two knobs of the kernel's."""
    register_scheduler(MINE)  # from here on it can be named everywhere
    own = RLSchedulerOptimizer({"scheduler_name": "scx_mine"}).get_scheduler_info()
    print(own["scheduler_name"], "has", ", ".join(own["parameters"]))

    optimizer = RLSchedulerOptimizer(
        {
            "scheduler_name": "fair",
            "algorithm": "random",
            "episodes": episodes,
            "benchmark_cmd": command or None,
            "seed": 1,
        }
    )
    optimizer.define_scheduler_params(
        {
            "nice": {"type": "integer", "min_value": 0, "max_value": 10, "description": "weight"},
            "policy": {"type": "categorical", "choices": ["other", "batch"]},
        }
    )
    result = optimizer.train()
    print("verdict:", result["verdict"])
    print("proven:", result["best_parameters"] or "nothing beats the default")


if __name__ == "__main__":
    given, *rest = sys.argv[1:] or ["40"]
    main(int(given), *rest)
