"""Say what is searched: fewer knobs of the kernel's own scheduler, or a scheduler of your own.

python examples/custom_scheduler_params.py [EPISODES [COMMAND...]]
"""

import sys
from pathlib import Path

from schedtuna import (
    ParameterSpec,
    ParameterType,
    RLSchedulerOptimizer,
    SchedulerConfig,
    register_scheduler,
)

MINE = SchedulerConfig(
    name="scx_mine",
    binary_path=Path("/usr/local/bin/scx_mine"),
    description="a sched_ext scheduler of your own",
    parameters={
        "slice_us": ParameterSpec(
            name="slice_us",
            type=ParameterType.INTEGER,
            default=5000,
            min_value=500,
            max_value=50_000,
            log=True,
            unit="us",
            description="base slice",
            command_arg="--slice-us",
        ),
        "eager": ParameterSpec(
            name="eager",
            type=ParameterType.BOOLEAN,
            default=False,
            description="dispatch to idle CPUs at once",
            command_arg="--eager",
        ),
    },
)


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
