"""How is a model stored? As a safetensors file: a header of JSON, then arrays (docs/model-format.md).

Nothing in a file is executed, and nothing is believed: what comes out was built by the constructors, which
prove each bound.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from schedtuna import __version__
from schedtuna.configfile import parse_json
from schedtuna.errors import ModelError
from schedtuna.files import open_to_read, write_output
from schedtuna.files.versions import StoredFormat
from schedtuna.model.bins import Bins
from schedtuna.model.core import AnyArray, Core
from schedtuna.model.model import CheckRows, DecisionModel, ModelInput
from schedtuna.model.nets import Linear, Mlp, StepNet
from schedtuna.model.trees import BoxTrees, ObliviousTrees

STORED = StoredFormat(ModelError, key="format_version")
FAMILIES: dict[str, type[Core]] = {
    core.family: core for core in (BoxTrees, ObliviousTrees, Linear, Mlp, StepNet)
}
LARGEST_FILE = 64 << 20
_LARGEST_HEADER = 1 << 20
_KEY = "schedtuna"  # of the metadata: what is no array, as JSON
_ROWS = ("values", "bins", "accumulators")
_DTYPES = {"U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "I32": "<i4", "I64": "<i8"}
_NAMES = {np.dtype(value): name for name, value in _DTYPES.items()}


def write_model(model: DecisionModel, path: Path) -> None:
    """Write a model into a file, whole or not at all.

    Raises:
        ModelError: It has no rows to check it with.
        OSError: It can't be written.
    """
    write_output(path, dump_model(model))


def read_model(path: Path) -> DecisionModel:
    """Read a model of a file.

    Raises:
        ModelError: The file holds none, or is damaged.
        OSError: It can't be read.
    """
    with os.fdopen(open_to_read(path), "rb") as file:
        content = file.read(LARGEST_FILE + 1)
    return parse_model(content, str(path))


def dump_model(model: DecisionModel) -> bytes:
    """Return the content of a model's file.

    Raises:
        ModelError: It has no rows to check it with.
    """
    if model.rows is None:
        raise ModelError("a model without rows to check it with is not stored", hint="add them by `checked`")
    arrays = {f"core.{name}": array for name, array in model.core.arrays().items()}
    arrays |= {f"rows.{name}": getattr(model.rows, name) for name in _ROWS}
    data = b"".join(array.astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays.values())
    told = {
        "format_version": STORED.newest,
        "schedtuna_version": __version__,
        "name": model.name,
        "made_by": model.made_by,
        "family": model.core.family,
        "settings": model.core.settings(),
        "inputs": [
            {
                "name": one.name,
                "kind": one.bins.kind,
                "lo": one.bins.lo,
                "hi": one.bins.hi,
                "nr_bins": one.bins.nr_bins,
                "per_octave": one.bins.per_octave,
            }
            for one in model.inputs
        ],
        "labels": list(model.labels),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    header: dict[str, Any] = {"__metadata__": {_KEY: json.dumps(told)}}
    offset = 0
    for name, array in arrays.items():
        end = offset + array.nbytes
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def parse_model(content: bytes, where: str) -> DecisionModel:
    """Return the model that a file's content is of.

    Args:
        content: The file's bytes.
        where: Names it in messages.

    Raises:
        ModelError: It is none, or is damaged.
    """
    told, arrays = _split(content, where)
    told = STORED.upgrade(told, where)
    try:
        return _build(told, arrays)
    except ModelError as error:
        raise ModelError(f"{where} is damaged: {error}", hint=error.hint) from None
    except (LookupError, TypeError, ValueError) as error:
        raise ModelError(f"{where} is damaged: {error!r}") from None


def _build(told: Mapping[str, Any], arrays: Mapping[str, AnyArray]) -> DecisionModel:
    family = FAMILIES.get(told["family"]) if isinstance(told["family"], str) else None
    if family is None:
        raise ModelError(f"its family is {str(told['family'])[:50]!r}, expected one of {', '.join(FAMILIES)}")
    inputs = []
    for given in told["inputs"]:
        fields = dict(given)
        inputs.append(ModelInput(fields.pop("name"), Bins(**fields)))
    core = family.of(_under("core.", arrays), dict(told["settings"]))
    rows = CheckRows(**_under("rows.", arrays))
    if len(core.arrays()) + len(_ROWS) != len(arrays) or core.settings() != told["settings"]:
        raise ModelError("it holds what its family hasn't")
    model = DecisionModel(told["name"], tuple(inputs), tuple(told["labels"]), core, told["made_by"], rows)
    if not np.array_equal(model.quantise(rows.values), rows.bins):
        raise ModelError("its rows' values have other bins")
    if not np.array_equal(model.accumulate(rows.bins), rows.accumulators):
        raise ModelError("its rows have other accumulators than its numbers give")
    return model


def _under(prefix: str, arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _split(content: bytes, where: str) -> tuple[Any, dict[str, AnyArray]]:
    """Tell the description from the arrays, which lie one after the other and leave nothing over."""
    if len(content) > LARGEST_FILE:
        raise ModelError(f"{where} is no model: it is larger than {LARGEST_FILE >> 20} MiB")
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= length <= min(_LARGEST_HEADER, len(content) - 8):
        raise ModelError(f"{where} is no model, or cut short")
    data = memoryview(content)[8 + length :]
    try:
        header = parse_json(content[8 : 8 + length])
        told = parse_json(header.pop("__metadata__")[_KEY])
        written = told["sha256"]
        arrays = _arrays(header, data)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(
            f"{where} is no model, or damaged: {error}",
            hint="a policy of `rl train` is another kind of file: `schedtuna rl export` has its forms",
        ) from None
    if written != hashlib.sha256(data).hexdigest():
        raise ModelError(f"{where} is damaged: its arrays are not those that were written")
    return told, arrays


def _arrays(header: Mapping[str, Any], data: memoryview) -> dict[str, AnyArray]:
    arrays, offset = {}, 0
    for name, entry in header.items():
        array = _array(entry, data[offset:], np.dtype(_DTYPES[entry["dtype"]]))
        if entry["data_offsets"] != [offset, offset + array.nbytes]:
            raise ValueError(f"{name} is not where it belongs")
        arrays[name] = array
        offset += array.nbytes
    if offset != len(data):
        raise ValueError("bytes after the last array")
    return arrays


def _array(entry: Mapping[str, Any], data: memoryview, dtype: np.dtype[Any]) -> AnyArray:
    shape = entry["shape"]
    if not isinstance(shape, list) or not all(
        type(size) is int and 0 <= size <= LARGEST_FILE for size in shape
    ):
        raise ValueError("a shape is a list of sizes")
    count = 1
    for size in shape:
        count *= size
    if count * dtype.itemsize > len(data):
        raise ValueError("an array is cut short")
    return np.frombuffer(data, dtype, count).reshape(shape).astype(dtype.newbyteorder("="))
