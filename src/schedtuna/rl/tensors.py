"""How are networks, and what a training remembers, stored? As safetensors and JSON, never as code.

A file is one of safetensors; its metadata has one entry, the JSON. It is written whole or not at all, and
nothing of it is run when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from schedtuna.configfile import parse_json
from schedtuna.errors import MissingExtraError, PolicyError
from schedtuna.files import write_output

Arrays = dict[str, np.ndarray]

ENTRY = "schedtuna"  # of the metadata
MOST_BYTES = 64 << 20  # of a policy; a checkpoint with a replay buffer may be larger
_MOST_HEADER_BYTES = 4 << 20
_LENGTH_BYTES = 8  # of the header's length: little-endian, as the format says
_DTYPES = {"F32", "F64", "I64", "U8", "BOOL"}


def write_tensors(path: Path, arrays: Mapping[str, np.ndarray], content: Mapping[str, Any]) -> None:
    """Write arrays and JSON values, whole or not at all.

    Raises:
        PolicyError: It can't be written.
        MissingExtraError: safetensors is not installed.
    """
    try:
        from safetensors.numpy import save
    except ImportError:
        raise MissingExtraError("storing a policy", "rl") from None
    text = json.dumps(content, allow_nan=False, sort_keys=True)
    data = save(
        {name: np.asarray(array, order="C") for name, array in arrays.items()}, metadata={ENTRY: text}
    )
    try:
        write_output(path, data)
    except OSError as error:
        raise PolicyError(
            f"can't write {path}: {error.strerror}", hint="free some space, or choose another folder with -o"
        ) from None


def read_tensors(path: Path, *, most_bytes: int = MOST_BYTES) -> tuple[Arrays, dict[str, Any]]:
    """Return what `write_tensors` wrote.

    Raises:
        PolicyError: There is no such file, or it is another, cut off or damaged.
        MissingExtraError: safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ImportError:
        raise MissingExtraError("reading a policy", "rl") from None
    data = _bytes_of(path, most_bytes)
    content = _content(path, data)
    try:
        return load(data), content
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, str(error)) from None


def _bytes_of(path: Path, most_bytes: int) -> bytes:
    if not path.exists():
        raise PolicyError(f"there is no {path}", hint="`schedtuna rl train` writes model.safetensors")
    if not path.is_file():
        raise PolicyError(f"{path} is not a file")
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise PolicyError(f"can't read {path}: {error.strerror}") from None
    if len(data) > most_bytes:
        raise PolicyError(f"{path} is larger than {most_bytes >> 20} MiB: not a file of `schedtuna rl`")
    return data


def _content(path: Path, data: bytes) -> dict[str, Any]:
    """The JSON of a file; the header is looked at before the library sees it."""
    size = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < _LENGTH_BYTES or size > min(_MOST_HEADER_BYTES, len(data) - _LENGTH_BYTES):
        raise _damaged(path, "it is no file of safetensors, or was cut off")
    try:
        header = parse_json(data[_LENGTH_BYTES : _LENGTH_BYTES + size])
        content = parse_json(header["__metadata__"][ENTRY])
        dtypes = {row["dtype"] for name, row in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(path, "it was not written by `schedtuna rl`") from None
    if not dtypes <= _DTYPES or not isinstance(content, dict):
        raise _damaged(path, "it holds numbers of a kind that no policy has")
    return content


def _damaged(path: Path, problem: str) -> PolicyError:
    return PolicyError(
        f"{path} can't be used: {problem}", hint="train it again, or take the file from where it is whole"
    )


# ---------------------------------------------------------------- trees of arrays, numbers and texts


def flatten(tree: Any, arrays: Arrays, name: str = "") -> Any:
    """Move a tree's arrays into `arrays`, and return what is left of it as JSON values.

    Dictionaries may have any plain keys; tuples become lists. Whatever has `detach` counts as a tensor.
    """
    if hasattr(tree, "detach"):
        tree = tree.detach().cpu().numpy()
    if isinstance(tree, np.ndarray | np.generic):
        name = f"{len(arrays)}:{name}"  # keys may have dots in them
        arrays[name] = np.asarray(tree)
        return {"array": name}
    if isinstance(tree, Mapping):
        pairs = [[key, flatten(value, arrays, f"{name}.{key}".strip("."))] for key, value in tree.items()]
        return {"pairs": pairs}
    if isinstance(tree, list | tuple):
        return {"list": [flatten(value, arrays, f"{name}.{i}") for i, value in enumerate(tree)]}
    return {"value": tree}


def restore(skeleton: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the tree that `flatten` took apart.

    Raises:
        KeyError: An array is missing, or it is no such skeleton.
    """
    if "array" in skeleton:
        return arrays[skeleton["array"]]
    if "pairs" in skeleton:
        return {key: restore(value, arrays) for key, value in skeleton["pairs"]}
    if "list" in skeleton:
        return [restore(value, arrays) for value in skeleton["list"]]
    return skeleton["value"]


def as_tensors(tree: Any) -> Any:
    """Return a tree with torch's tensors in place of arrays."""
    import torch

    if isinstance(tree, dict):
        return {key: as_tensors(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [as_tensors(value) for value in tree]
    return torch.as_tensor(tree) if isinstance(tree, np.ndarray) else tree
