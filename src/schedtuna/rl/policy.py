"""What is a trained policy, and where does it fit? A network over observations, and its manifest.

A policy scores every action; the best that is allowed is taken. All algorithms come down to this form: the
actor of PPO, A2C and REINFORCE, the action values of DQN, and the arms of a bandit, whose scores see nothing.
Where an action is a point, as for SAC's actor, the hyperbolic tangents of the scores are its coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from schedtuna.configfile import first_fault
from schedtuna.errors import PolicyError, UsageError
from schedtuna.files.versions import StoredFormat
from schedtuna.rl.tensors import Arrays, read_tensors, write_tensors

STORED = StoredFormat(PolicyError)
FILE_NAME = "model.safetensors"
CLIP = 10.0  # standard deviations of an observation's numbers
EPSILON = 1e-8  # of a variance
_MOST_WIDE = 4096
_MOST_ACTIONS = 65_536

Activation = Literal["tanh", "relu"]
ActionKind = Literal["discrete", "continuous"]  # one of so many; a point of the cube from -1 to 1


class PolicyFit(BaseModel):
    """What an environment must be like for a policy to fit it.

    Attributes:
        environment: Its id in Gymnasium.
        nr_observed: Numbers of an observation.
        nr_actions: Actions, from 0, or coordinates of one.
        action_kind: Which of both.
        features: What the numbers stand for, as the environment names them; empty: it does not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    environment: str
    nr_observed: int = Field(ge=1, le=1_000_000)
    nr_actions: int = Field(ge=1, le=_MOST_ACTIONS)
    action_kind: ActionKind = "discrete"
    features: list[str] = []


class Splits(BaseModel):
    """The loads that a policy is trained on, chosen by, and judged on; none is in two of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: list[str] = []
    validation: list[str] = []
    test: list[str] = []


class PolicyManifest(BaseModel):
    """Where a policy comes from.

    Attributes:
        version: Of this format.
        schedtuna_version: What wrote it.
        algorithm: A name of `rl list`.
        fit: What it fits.
        parameters: Keywords that the environment was made with.
        hidden: Widths of the network's hidden layers.
        activation: After each of those.
        seed: Of its training.
        nr_steps: How many it was trained for.
        cpu_seconds: What the training took of CPU time.
        warm_start: Whose decisions it imitated first; empty: nobody's.
        packages: Versions that it was trained with.
        splits: Its loads.
        validation: The score that it was chosen for; None: it was not validated.
        test: The score on the loads that were kept back; None: they were not touched.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = STORED.newest
    schedtuna_version: str
    algorithm: str
    fit: PolicyFit
    parameters: dict[str, JsonValue] = {}
    hidden: list[int] = Field(default=[], max_length=8)
    activation: Activation = "tanh"
    seed: int = Field(ge=0)
    nr_steps: int = Field(ge=0)
    cpu_seconds: float = Field(ge=0, allow_inf_nan=False)
    warm_start: str = ""
    packages: dict[str, str] = {}
    splits: Splits = Splits()
    validation: float | None = Field(default=None, allow_inf_nan=False)
    test: float | None = Field(default=None, allow_inf_nan=False)


@dataclass(frozen=True)
class Network:
    """A perceptron in numpy: scores of actions from observations.

    Attributes:
        layers: Weights (out x in) and biases (out), float32.
        activation: Between two layers.
        mean, variance: Of each of an observation's numbers in training.
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    activation: Activation
    mean: np.ndarray
    variance: np.ndarray

    def scores(self, observations: np.ndarray) -> np.ndarray:
        """Return a score per action: (n, actions) of (n, observed)."""
        hidden = normalised(observations, self.mean, self.variance)
        for weights, biases in self.layers[:-1]:
            hidden = hidden @ weights.T + biases
            hidden = np.tanh(hidden) if self.activation == "tanh" else np.maximum(hidden, 0)
        weights, biases = self.layers[-1]
        scores: np.ndarray = hidden @ weights.T + biases
        return scores


def normalised(observations: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return observations in standard deviations from the mean, clipped, as float32."""
    scaled = (observations - mean) / np.sqrt(variance + EPSILON)
    clipped: np.ndarray = np.clip(scaled, -CLIP, CLIP).astype(np.float32)
    return clipped


def best_allowed(scores: np.ndarray, masks: np.ndarray | None) -> np.ndarray:
    """Return the action with the highest score among those that its mask allows; the first of equal ones.

    Raises:
        PolicyError: A mask allows none.
    """
    if masks is not None:
        require_choice(masks)
        scores = np.where(masks, scores, -np.inf)
    best: np.ndarray = scores.argmax(axis=1)
    return best


def require_choice(masks: np.ndarray) -> None:
    """Refuse masks of which one allows nothing.

    Raises:
        PolicyError: One does.
    """
    if not masks.any(axis=1).all():
        raise PolicyError("an action mask allows no action", hint="every decision needs one that is allowed")


@dataclass(frozen=True)
class TrainedPolicy:
    """A trained policy.

    Attributes:
        manifest: Where it comes from.
        network: What scores actions.
    """

    manifest: PolicyManifest
    network: Network

    def act(self, observations: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
        """Return an action, (n,) or (n, coordinates), per observation (n, observed) and mask (n, actions)."""
        scores = self.network.scores(observations)
        return best_allowed(scores, masks) if self.manifest.fit.action_kind == "discrete" else np.tanh(scores)

    def require_fit(self, fit: PolicyFit) -> None:
        """Refuse another environment than the one that this policy was trained for.

        Raises:
            UsageError: It has another name, other features or other actions.
        """
        own = self.manifest.fit
        if own.environment != fit.environment:
            raise UsageError(f"the policy is for {own.environment}, not for {fit.environment}")
        if own.action_kind != fit.action_kind:
            raise UsageError(
                f"the policy takes {own.action_kind} actions, and the environment {fit.action_kind} ones",
                hint=_made_as(self.manifest.parameters),
            )
        if own.nr_actions != fit.nr_actions:
            raise UsageError(
                f"the policy has {own.nr_actions} actions, and the environment {fit.nr_actions}",
                hint=_made_as(self.manifest.parameters),
            )
        if own.nr_observed != fit.nr_observed or own.features != fit.features:
            other = sorted(set(own.features) ^ set(fit.features))
            named = f": {', '.join(other[:5])}" if other else ""
            raise UsageError(
                f"the policy sees {own.nr_observed} numbers, and the environment shows {fit.nr_observed} "
                f"or other ones{named}",
                hint=_made_as(self.manifest.parameters),
            )

    def tested(self, score: float) -> TrainedPolicy:
        """Return the same with its score on the loads that were kept back."""
        return replace(self, manifest=self.manifest.model_copy(update={"test": score}))


def _made_as(parameters: Mapping[str, Any]) -> str:
    said = ", ".join(f"{name}={value!r}" for name, value in sorted(parameters.items())) or "nothing"
    return f"make it as in training, with {said}; or train a policy for it"


def save_policy(policy: TrainedPolicy, path: Path) -> None:
    """Write a policy, whole or not at all.

    Raises:
        PolicyError: It can't be written.
    """
    arrays: Arrays = {
        "observation.mean": policy.network.mean,
        "observation.variance": policy.network.variance,
    }
    for i, (weights, biases) in enumerate(policy.network.layers):
        arrays |= {f"layer{i}.weight": weights, f"layer{i}.bias": biases}
    content = policy.manifest.model_dump(mode="json")
    write_tensors(path, {name: array.astype(np.float32) for name, array in arrays.items()}, content)


def load_policy(path: Path) -> TrainedPolicy:
    """Read a policy from a file, or from the folder of a training.

    Raises:
        PolicyError: There is none, it is damaged, or a newer version wrote it.
    """
    file = path / FILE_NAME if path.is_dir() else path
    arrays, content = read_tensors(file)
    content = STORED.upgrade(content, file)
    try:
        manifest = PolicyManifest.model_validate(content)
    except ValidationError as error:
        raise PolicyError(f"{file} is no policy: {first_fault(error)}") from None
    return TrainedPolicy(manifest, _network(file, arrays, manifest))


def _network(file: Path, arrays: Arrays, manifest: PolicyManifest) -> Network:
    if any(not 1 <= width <= _MOST_WIDE for width in manifest.hidden):
        raise PolicyError(f"{file} is no policy: a hidden layer is not 1 to {_MOST_WIDE} wide")
    expected = shapes(manifest.fit.nr_observed, manifest.hidden, manifest.fit.nr_actions)
    found = {name: array.shape for name, array in arrays.items()}
    if found != expected:
        other = sorted(name for name in expected | found if expected.get(name) != found.get(name))
        raise PolicyError(f"{file} is damaged: its manifest does not describe {', '.join(other[:4])}")
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise PolicyError(f"{file} is damaged: {name} has values that are no finite float32 numbers")
    if (arrays["observation.variance"] < 0).any():
        raise PolicyError(f"{file} is damaged: a variance is negative")
    layers = tuple(
        (arrays[f"layer{i}.weight"], arrays[f"layer{i}.bias"]) for i in range(len(manifest.hidden) + 1)
    )
    return Network(layers, manifest.activation, arrays["observation.mean"], arrays["observation.variance"])


def shapes(nr_observed: int, hidden: Sequence[int], nr_actions: int) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the arrays of a network."""
    widths = [nr_observed, *hidden, nr_actions]
    found: dict[str, tuple[int, ...]] = {
        "observation.mean": (nr_observed,),
        "observation.variance": (nr_observed,),
    }
    for i in range(len(widths) - 1):
        found |= {f"layer{i}.weight": (widths[i + 1], widths[i]), f"layer{i}.bias": (widths[i + 1],)}
    return found
