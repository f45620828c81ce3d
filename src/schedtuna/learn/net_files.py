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
from schedtuna.learn.torch_net import read_pt2, read_state

READERS: dict[str, Callable[[bytes, str], FloatNet]] = {
    ".onnx": read_onnx,
    ".keras": read_keras,
    ".h5": read_h5,
    ".pt2": read_pt2,
    ".pt": read_state,
    ".pth": read_state,
}


def read_net(path: Path) -> FloatNet:
    """Read a net.

    Args:
        path: `.onnx`, `.keras`, `.h5`, `.pt2` (torch.export), or `.pt` or `.pth` (a state).

    Raises:
        ModelError: It is none of these, damaged, or a net that a canonical model can't be; it says what.
        MissingExtraError: Its library is not installed.
        OSError: It can't be read.
    """
    if path.is_dir():
        raise ModelError(
            f"{path.name} is a folder: TensorFlow's SavedModel is not read",
            hint="by Keras, save it as model.save('net.keras'), or model.export('net.onnx', format='onnx')",
        )
    if path.suffix not in READERS:
        raise ModelError(f"{path.name}: no such kind of net", hint=nearest(path.suffix, READERS))
    if path.stat().st_size > MOST_BYTES:
        raise ModelError(f"{path.name} is larger than {MOST_BYTES >> 20} MiB, and no small net")
    try:
        return READERS[path.suffix](path.read_bytes(), path.name)
    except (KeyError, TypeError, IndexError, AttributeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path.name} is damaged, or of another form: {error!r}") from None
