"""Where a decider's learning is kept: safetensors and JSON, refused where it is of other arms or features."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schedtuna.agent.swap.deciders import SwapDecider
from schedtuna.configfile import first_fault
from schedtuna.errors import PolicyError
from schedtuna.features.observed import OBSERVED
from schedtuna.rl.tensors import read_tensors, write_tensors


class StateManifest(BaseModel):
    """Whose learning a file holds.

    Attributes:
        decider: Its name.
        arms: What the schedulers are called in what was learned, the default first.
        features: What the numbers of an observation stand for, without which scheduler is on.
        weights: Of the terms of L and of switching, complete.
        nr_learned: Outcomes that it has learned from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["schedtuna swap decider"] = "schedtuna swap decider"
    version: Literal[1] = 1
    decider: str
    arms: tuple[str, ...]
    features: tuple[str, ...]
    weights: dict[str, float]
    nr_learned: int = Field(ge=0)


def save_state(path: Path, decider: SwapDecider, arms: tuple[str, ...], weights: dict[str, float]) -> None:
    """Write what a decider has learned, whole or not at all.

    Raises:
        PolicyError: It can't be written.
        MissingExtraError: safetensors is not installed.
    """
    manifest = StateManifest(
        decider=decider.name, arms=arms, features=OBSERVED, weights=weights, nr_learned=decider.nr_learned
    )
    write_tensors(path, decider.state(), manifest.model_dump(mode="json"))


def load_state(path: Path, decider: SwapDecider, arms: tuple[str, ...], weights: dict[str, float]) -> None:
    """Have a decider take back what it, or one like it, has learned.

    Raises:
        PolicyError: It is of another decider, of other arms, features or weights, or damaged.
        MissingExtraError: safetensors is not installed.
    """
    arrays, content = read_tensors(path)
    try:
        found = StateManifest.model_validate(content)
    except ValidationError as error:
        raise PolicyError(f"{path} is no state of the policy swap: {first_fault(error)}") from None
    expected = {"decider": decider.name, "arms": arms, "features": OBSERVED, "weights": weights}
    for name, wanted in expected.items():
        if (has := getattr(found, name)) != wanted:
            raise PolicyError(
                f"{path} was learned with other {name}: {_told(has)}, and not {_told(wanted)}",
                hint="name another file as `state`, which begins anew; or take back what was changed",
            )
    try:
        decider.restore(arrays)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None


def _told(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
