"""The file of the policy `swap`: which schedulers there are to choose from, and what chooses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schedtuna.agent.policies.params import RegimeCondition, all_hold
from schedtuna.agent.swap.acting import DEFAULT_ARM
from schedtuna.agent.swap.deciders import FLOOR, MOST_ARMS
from schedtuna.configfile import first_fault, load_config
from schedtuna.errors import ConfigFileError, UsageError, nearest
from schedtuna.features.loss import complete_weights
from schedtuna.features.told import TOLD

LIVE, SIMULATED_ONLY = ("rules", "bandit", "softmax", "trained"), ("epsilon", "ucb")


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SwapArm(_Data):
    """A scheduler to choose.

    Attributes:
        scheduler: Its name, with or without values; `default` is the kernel's own.
        stands_for: What the policy of `rl train`, or a state, calls it; empty: the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    scheduler: Annotated[str, Field(min_length=1, max_length=200)]
    stands_for: Annotated[str, Field(alias="as", max_length=200)] = ""

    @property
    def known_as(self) -> str:
        """The name in what was learned."""
        return self.stands_for or ("fair" if self.scheduler == DEFAULT_ARM else self.scheduler)


class SwapRegime(_Data):
    """When a scheduler is to be in charge.

    Attributes:
        when: Conditions that all have to hold, of averages over a window.
        arm: Which one.
    """

    when: Annotated[tuple[str, ...], Field(min_length=1)]
    arm: str

    @cached_property
    def conditions(self) -> tuple[RegimeCondition, ...]:
        """Those of `when`."""
        return tuple(map(RegimeCondition.parse, self.when))

    def holds(self, values: Mapping[str, float]) -> bool | None:
        """Whether all hold; None where that is not known."""
        return all_hold(self.conditions, values)


class SwapTable(_Data):
    """A file of the policy `swap`.

    Attributes:
        decider: What chooses; see docs/agent-swap.md.
        arm: The schedulers; the default is one of them, named or not.
        regime: Of `rules`: the first that holds counts; where none does, the default.
        windows: Of `rules`: how many in a row have to speak for another scheduler.
        floor: Of `rules`: each arm's probability; 0: it draws nothing, and what it logs proves nothing.
        step_s: How long a scheduler is in charge at least; twenty times as long as enabling one has taken,
            where that is longer.
        discard_s: How much of that is not measured behind a swap.
        weights: Of the terms of L and of `switching`.
        state: The file in which is kept what was learned; empty: nowhere.
        learn: `always`: from each window; `gated`: by `agent learn` alone, where later ones show a gain.
        policy: Of `trained`: the file, or folder, that `rl train` wrote.
    """

    version: Literal[1] = 1
    decider: str = "bandit"
    arm: Annotated[tuple[SwapArm, ...], Field(max_length=MOST_ARMS)] = ()
    regime: tuple[SwapRegime, ...] = ()
    windows: Annotated[int, Field(ge=1, le=100)] = 2
    floor: Annotated[float, Field(ge=0, le=0.2)] = 0.0
    step_s: Annotated[float, Field(ge=1, le=3600)] = 5.0
    discard_s: Annotated[float, Field(ge=0, le=600)] = 2.0
    weights: dict[str, float] = {}
    state: str = ""
    learn: Literal["always", "gated"] = "always"
    policy: str = ""

    @property
    def arms(self) -> tuple[SwapArm, ...]:
        """All of them, the default first."""
        others = [arm for arm in self.arm if arm.scheduler != DEFAULT_ARM]
        default = [arm for arm in self.arm if arm.scheduler == DEFAULT_ARM]
        return (*(default or [SwapArm(scheduler=DEFAULT_ARM)]), *others)

    @property
    def known_as(self) -> tuple[str, ...]:
        """Their names in what was learned."""
        return tuple(arm.known_as for arm in self.arms)

    @property
    def labels(self) -> tuple[str, ...]:
        """Their names here."""
        return tuple(arm.scheduler for arm in self.arms)


def load_swap(path: Path) -> SwapTable:
    """Read a file.

    Raises:
        ConfigFileError: It can't be read, or says what can't be.
    """
    try:
        table = SwapTable.model_validate(load_config(path))
    except ValidationError as error:
        raise ConfigFileError(f"{path}: {first_fault(error)}", hint="see docs/agent-swap.md") from error
    try:
        require_possible(table)
    except UsageError as error:
        raise ConfigFileError(f"{path}: {error}", hint=error.hint) from error
    return table


def require_possible(table: SwapTable) -> None:
    """Refuse what contradicts itself, or may not run on a real machine.

    Raises:
        UsageError: It does.
    """
    if table.decider in SIMULATED_ONLY:
        raise UsageError(
            f"the decider {table.decider} keeps no share of {FLOOR:.0%} for each scheduler, so what it logs "
            "says nothing of other choices: it runs in schedtuna/Swap-v0 alone",
            hint="choose bandit or softmax; benchmarks/swap_regret.py runs all of them, simulated",
        )
    if table.decider not in LIVE:
        raise UsageError(f"there is no decider {table.decider!r}: {nearest(table.decider, LIVE)}")
    if len(set(table.labels)) < len(table.labels):
        raise UsageError("a scheduler is named twice")
    if len(set(table.known_as)) < len(table.known_as):
        raise UsageError("two schedulers stand for the same")
    if table.discard_s >= table.step_s:
        raise UsageError(f"of a step of {table.step_s:g} s, {table.discard_s:g} s can't be discarded")
    complete_weights(table.weights or None)
    if (table.decider == "rules") != bool(table.regime):
        raise UsageError("the decider rules needs regimes, and no other one has any")
    if (table.decider == "trained") != bool(table.policy):
        raise UsageError("the decider trained needs `policy`, and no other one has it")
    if table.learn == "gated" and not table.state:
        raise UsageError("what is learned by the gate needs a state, where it is kept")
    if table.state and table.decider not in ("bandit", "softmax"):
        raise UsageError(f"{table.decider} learns nothing that a state could keep")
    for regime in table.regime:
        for condition in regime.conditions:  # a fault in them is told now
            if condition.metric not in TOLD:
                raise UsageError(f"no window has {condition.metric!r}: {nearest(condition.metric, TOLD)}")
        if regime.arm not in table.labels:
            raise UsageError(f"a regime is for {regime.arm!r}: {nearest(regime.arm, table.labels)}")
