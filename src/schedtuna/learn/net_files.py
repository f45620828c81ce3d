"""Nets as other libraries store them: by which kind of file, and in which module, is each read?

Nothing of a file is run, but of ONNX by its own runtime, on rows, to be compared with what was read; and no
pickle is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from schedtuna.errors import ModelError, nearest
from schedtuna.learn.float_nets import MOST_BYTES, FloatNet
from schedtuna.learn.keras_net import read_h5, read_keras
from schedtuna.learn.onnx_net import read_onnx
from schedtuna.learn.saved_model import read_saved_model
from schedtuna.learn.tflite_net import read_tflite
from schedtuna.learn.torch_net import read_pt2, read_state

READERS: dict[str, Callable[[bytes, str], FloatNet]] = {
    ".onnx": read_onnx,
    ".keras": read_keras,
    ".h5": read_h5,
    ".pt2": read_pt2,
    ".pt": read_state,
    ".pth": read_state,
    ".tflite": read_tflite,
}


def read_net(path: Path) -> FloatNet:
    """Read a net.

    Args:
        path: `.onnx`, `.keras`, `.h5`, `.tflite`, `.pt2` (torch.export), `.pt` or `.pth` (a state), or the
            folder of a SavedModel.

    Raises:
        ModelError: It is none of these, damaged, or a net that a canonical model can't be; it says what.
        MissingExtraError: Its library is not installed.
        OSError: It can't be read.
    """
    try:
        if path.is_dir():
            return read_saved_model(path)
        if path.suffix not in READERS:
            raise ModelError(f"{path.name}: no such kind of net", hint=nearest(path.suffix, READERS))
        if path.stat().st_size > MOST_BYTES:
            raise ModelError(f"{path.name} is larger than {MOST_BYTES >> 20} MiB, and no small net")
        return READERS[path.suffix](path.read_bytes(), path.name)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError) as error:
        raise ModelError(f"{path.name} is damaged, or of another form: {error!r}") from None
