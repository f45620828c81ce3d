"""A net as torch stores it: a state, or a program of torch.export, which is read without torch.

torch itself opens programs as pickles where it fails otherwise, and a pickle runs what it likes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, cast

import numpy as np

from schedtuna.configfile import parse_json
from schedtuna.errors import MissingExtraError, ModelError
from schedtuna.learn.float_nets import FloatNet, NetStep, net_of, require_small

_PLAIN = {"relu": "relu", "relu_": "relu", "sigmoid": "sigmoid", "softmax": "softmax", "_softmax": "softmax"}
_DTYPES = {7: "<f4", 8: "<f8"}  # as torch's schema numbers them


def read_pt2(content: bytes, name: str) -> FloatNet:
    """Read a program of torch.export: see `schedtuna.learn.net_files.read_net`."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            require_small(archive, name)
            root = archive.namelist()[0].partition("/")[0]
            model = parse_json(archive.read(f"{root}/models/model.json"))
            weights = f"{root}/data/weights"
            config = parse_json(archive.read(f"{weights}/model_weights_config.json"))["config"]
            arrays = {
                key: _array(one, archive.read(f"{weights}/{one['path_name']}")) for key, one in config.items()
            }
    except (zipfile.BadZipFile, ValueError, KeyError, IndexError) as error:
        raise ModelError(f"{name} is no program of torch.export: {error}") from None
    module = model["graph_module"]
    parameters, inputs = {}, []
    for spec in module["signature"]["input_specs"]:
        if "parameter" in spec:
            parameters[spec["parameter"]["arg"]["name"]] = arrays[spec["parameter"]["parameter_name"]]
        else:
            inputs += [one["arg"]["as_tensor"]["name"] for one in spec.values()]
    if len(inputs) != 1 or len(module["graph"]["outputs"]) != 1:
        raise ModelError(
            f"{name} takes {len(inputs)} arrays beside its parameters, expected one, and one result"
        )
    output = module["graph"]["outputs"][0]["as_tensor"]["name"]
    return net_of(list(_steps(module["graph"]["nodes"], inputs[0], output, parameters)), name)


def _array(told: Mapping[str, Any], content: bytes) -> Any:
    meta = told["tensor_meta"]
    shape = [one["as_int"] for one in meta["sizes"]]
    strides = [one["as_int"] for one in meta["strides"]]
    plain = [prod(shape[index + 1 :]) for index in range(len(shape))]
    if (
        told["use_pickle"]
        or strides != plain
        or meta["storage_offset"]["as_int"]
        or meta["dtype"] not in _DTYPES
    ):
        raise ValueError(f"{told['path_name']} is no plain array of floats")
    return np.frombuffer(content, _DTYPES[meta["dtype"]]).reshape(shape)


def _steps(nodes: Any, current: str, output: str, parameters: Mapping[str, Any]) -> Iterator[NetStep]:
    for node in nodes:
        call = node["target"].removeprefix("torch.ops.aten.").partition(".")[0]
        given = [one["arg"].get("as_tensor", {}).get("name") for one in node["inputs"]]
        if not given or given[0] != current:
            raise ModelError(f"{call}: the net is no chain of layers")
        if call in _PLAIN:
            yield NetStep(cast("Any", _PLAIN[call]), told=call)
        elif call == "linear":
            weights, *bias = (parameters[one] for one in given[1:] if one)
            yield NetStep("dense", weights, bias[0] if bias else np.zeros(len(weights)), call)
        elif call not in ("dropout", "alias", "clone"):
            raise ModelError(
                f"torch's {call} can't be represented",
                hint="a net is Linear with ReLU between, and Sigmoid or Softmax in the end",
            )
        current = node["outputs"][0]["as_tensor"]["name"]
    if current != output:
        raise ModelError("what the net puts out is not its last layer")


def read_state(content: bytes, name: str) -> FloatNet:
    """Read a state: see `schedtuna.learn.net_files.read_net`."""
    try:
        import torch
    except ImportError:
        raise MissingExtraError("reading torch's states", "rl") from None
    try:
        state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes of it
        hint = "save its state: torch.save(net.state_dict(), 'net.pt'); modules hold code, and stay closed"
        raise ModelError(
            f"{name} is no state of torch: {str(error).splitlines()[0][:200]}", hint=hint
        ) from None
    if not isinstance(state, Mapping) or not all(hasattr(one, "detach") for one in state.values()):
        raise ModelError(f"{name} is no state of torch: expected names of tensors")
    steps: list[NetStep] = []
    arrays = {key: value.detach().cpu().numpy() for key, value in state.items()}
    for key, array in arrays.items():
        layer, _, kind = key.rpartition(".")
        if kind == "bias" and f"{layer}.weight" in arrays:
            continue
        if kind != "weight" or array.ndim != 2:
            raise ModelError(
                f"{key} of {list(array.shape)} can't be represented", hint="a net is Linear and ReLU"
            )
        bias = arrays.get(f"{layer}.bias", np.zeros(len(array)))
        steps += [NetStep("relu")] * bool(steps) + [NetStep("dense", array, bias, told=layer)]
    return net_of(steps, name, assumed="a state says nothing of what lies between layers: ReLU is assumed")
