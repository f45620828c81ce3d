"""A net as Keras stores it: a description in JSON, and arrays in HDF5. Keras itself is not needed."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np

from schedtuna.configfile import parse_json
from schedtuna.errors import MissingExtraError, ModelError
from schedtuna.learn.float_nets import FloatNet, NetStep, net_of, require_small

_IGNORED = {"Dropout", "InputLayer"}  # they do nothing when a net decides
_ACTIVATIONS = {"relu": "relu", "sigmoid": "sigmoid", "softmax": "softmax", "linear": None, None: None}


def read_keras(content: bytes, name: str) -> FloatNet:
    """Read `.keras`: see `schedtuna.learn.net_files.read_net`."""
    h5py = _h5py()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            require_small(archive, name)
            config = parse_json(archive.read("config.json"))
            weights = archive.read("model.weights.h5")
        with h5py.File(io.BytesIO(weights), "r") as file:
            numbers = iter(range(len(_dense_layers(config))))
            return net_of(_keras_steps(config, lambda _: _numbered(file["layers"], next(numbers))), name)
    except (zipfile.BadZipFile, OSError, ValueError, KeyError) as error:
        raise ModelError(f"{name} is no net of Keras: {error}") from None


def read_h5(content: bytes, name: str) -> FloatNet:
    """Read `.h5`: see `schedtuna.learn.net_files.read_net`."""
    h5py = _h5py()
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            config = parse_json(file.attrs["model_config"])

            def arrays(layer: str) -> list[Any]:
                group = file["model_weights"][layer]
                return [np.asarray(group[one]) for one in group.attrs["weight_names"]]

            return net_of(_keras_steps(config, arrays), name)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{name} is no net of Keras: {error}") from None


def _numbered(layers: Any, number: int) -> list[Any]:
    """The arrays of the dense layer of that number: Keras numbers layers of a kind in their order."""
    found = layers["dense" if number == 0 else f"dense_{number}"]["vars"]
    return [np.asarray(found[str(index)]) for index in range(len(found))]


def _dense_layers(config: Mapping[str, Any]) -> list[Any]:
    return [one for one in config["config"]["layers"] if one["class_name"] == "Dense"]


def _keras_steps(config: Mapping[str, Any], arrays_of: Callable[[str], list[Any]]) -> list[NetStep]:
    if config["class_name"] not in ("Sequential", "Functional"):
        raise ModelError(
            f"Keras' {config['class_name']} can't be represented: expected Sequential or Functional"
        )
    steps: list[NetStep] = []
    before = None
    for layer in config["config"]["layers"]:
        kind, settings = layer["class_name"], layer["config"]
        name = settings["name"]
        if config["class_name"] == "Functional" and kind != "InputLayer":
            sources = set(_names_in(layer["inbound_nodes"]))
            if sources != {before}:
                raise ModelError(f"{kind} {name}: the net is no chain of layers")
        before = name
        if kind == "Dense":
            weights, *bias = arrays_of(name)
            steps.append(
                NetStep("dense", weights.T, bias[0] if bias else np.zeros(weights.shape[1]), told=name)
            )
        elif kind not in (*_IGNORED, "Activation", "ReLU", "Softmax"):
            raise ModelError(
                f"Keras' {kind} can't be represented", hint="a net is Dense layers with relu between"
            )
        if kind == "ReLU" and (
            settings.get("max_value") or settings.get("negative_slope") or settings.get("threshold")
        ):
            raise ModelError(f"{name}: a ReLU with bounds or a slope can't be represented")
        activation = settings.get("activation") if kind in ("Dense", "Activation") else kind.lower()
        if kind in _IGNORED:
            continue
        if activation not in _ACTIVATIONS:
            raise ModelError(
                f"Keras' activation {activation!r} can't be represented", hint="use relu between layers"
            )
        if (known := _ACTIVATIONS[activation]) is not None:
            steps.append(NetStep(cast("Any", known), told=f"{activation} of {name}"))
    return steps


def _names_in(nodes: Any) -> Iterator[str]:
    """The layers that a layer's inputs come from: of Keras 3 and of 2."""
    if isinstance(nodes, Mapping):
        if "keras_history" in nodes:
            yield nodes["keras_history"][0]
        for value in nodes.values():
            yield from _names_in(value)
    elif isinstance(nodes, list):
        if len(nodes) >= 3 and isinstance(nodes[0], str) and isinstance(nodes[1], int):
            yield nodes[0]
        else:
            for value in nodes:
                yield from _names_in(value)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("reading nets of Keras", "keras") from None
    return h5py
