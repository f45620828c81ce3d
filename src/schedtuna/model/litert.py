"""What does LiteRT, the runtime of TensorFlow Lite, compute of a file? Asked in a process of its own.

It is C++ that believes files: what a damaged one does to it must not happen here.
"""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
from typing import Any

import numpy as np

from schedtuna.errors import MissingExtraError, ModelError

_WAIT_S = 120
_BATCH = 256  # rows at a time: what a graph holds of them in between may be large
_LIBRARY = "ai_edge_litert"


def has_litert() -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec(_LIBRARY) is not None


def require_litert(purpose: str) -> None:
    """Refuse where it is not installed.

    Raises:
        MissingExtraError: It is not.
    """
    if not has_litert():
        raise MissingExtraError(purpose, "tflite")


def run_tflite(content: bytes, values: np.ndarray) -> list[np.ndarray]:
    """Return the arrays that a file's graph puts out, in its order.

    Args:
        content: Of the file.
        values: [rows, inputs] of the type that the graph takes.

    Raises:
        ModelError: LiteRT can't run it, ends, or takes longer than two minutes.
    """
    given = io.BytesIO()
    np.savez(given, content=np.frombuffer(content, np.uint8), values=values)
    command = [sys.executable, "-I", "-m", __name__]
    try:
        done = subprocess.run(
            command, input=given.getvalue(), capture_output=True, timeout=_WAIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"LiteRT has not answered for {_WAIT_S} s") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        why = lines[-1][:300] if lines else f"it ended with {done.returncode}"
        raise ModelError(f"LiteRT can't run the file: {why}")
    with np.load(io.BytesIO(done.stdout)) as found:
        return [found[f"output_{number}"] for number in range(len(found.files))]


def _answer() -> None:
    """In that process: from stdin to stdout."""
    from ai_edge_litert.interpreter import Interpreter

    with np.load(io.BytesIO(sys.stdin.buffer.read())) as given:
        content, values = given["content"].tobytes(), given["values"]
    interpreter: Any = Interpreter(model_content=content)
    (taken,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(taken["index"], (_BATCH, values.shape[1]))
    interpreter.allocate_tensors()
    made = [one["index"] for one in interpreter.get_output_details()]
    padded = np.concatenate([values, np.zeros((-len(values) % _BATCH, values.shape[1]), values.dtype)])
    parts = []
    for rows in padded.reshape(-1, _BATCH, values.shape[1]):
        interpreter.set_tensor(taken["index"], rows)
        interpreter.invoke()
        parts.append([interpreter.get_tensor(index) for index in made])
    outputs = [np.concatenate(arrays)[: len(values)] for arrays in zip(*parts, strict=True)]
    found = io.BytesIO()
    named: Any = {f"output_{number}": one for number, one in enumerate(outputs)}
    np.savez(found, **named)
    sys.stdout.buffer.write(found.getvalue())


if __name__ == "__main__":
    _answer()
