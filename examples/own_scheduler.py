"""A scheduler of your own as an attribute of a module: the same as scx_mine.toml.

PYTHONPATH=examples schedtuna schedulers show own_scheduler:MINE
"""

from pathlib import Path

from schedtuna import ParameterSpec, ParameterType, SchedulerConfig
from schedtuna.space import Condition, Conflict

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
            description="Base time slice.",
        ),
        "eager": ParameterSpec(
            name="eager",
            type=ParameterType.BOOLEAN,
            default=False,
            description="Dispatch to idle CPUs at once.",
        ),
        "balance": ParameterSpec(
            name="balance",
            type=ParameterType.BOOLEAN,
            default=True,
            description="Balance load when tasks are forked.",
            command_arg="--balance={value}",
        ),
    },
    constraints=(
        Conflict(
            description="eager dispatching takes the short slices away from the balancer",
            at_most_one_of=(Condition(parameter="eager"), Condition(parameter="balance")),
        ),
    ),
)
