"""Decompressing a stream of zstd with the system's library: a module for it comes with Python 3.14 only."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cache
from typing import Any

from schedtuna.errors import TraceError

_OUTPUT_BYTES = 1 << 17
_LIBRARY = "libzstd.so.1"


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("at", ctypes.c_size_t))


@cache
def _library() -> Any:
    loaded = ctypes.CDLL(_LIBRARY)
    loaded.ZSTD_createDStream.restype = ctypes.c_void_p
    loaded.ZSTD_freeDStream.argtypes = (ctypes.c_void_p,)
    loaded.ZSTD_decompressStream.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    loaded.ZSTD_decompressStream.restype = ctypes.c_size_t
    loaded.ZSTD_isError.argtypes = (ctypes.c_size_t,)
    loaded.ZSTD_isError.restype = ctypes.c_uint
    loaded.ZSTD_getErrorName.argtypes = (ctypes.c_size_t,)
    loaded.ZSTD_getErrorName.restype = ctypes.c_char_p
    return loaded


def is_available() -> bool:
    """Whether this system has the library."""
    try:
        _library()
    except OSError:
        return False
    return True


class Decompressor:
    """One stream, given in pieces. Memory is bounded by zstd's limit for windows (128 MB).

    Raises:
        OSError: This system lacks the library.
    """

    def __init__(self) -> None:
        self._zstd = _library()
        self._stream = ctypes.c_void_p(self._zstd.ZSTD_createDStream())
        self._output = ctypes.create_string_buffer(_OUTPUT_BYTES)

    def __del__(self) -> None:
        if hasattr(self, "_stream"):
            self._zstd.ZSTD_freeDStream(self._stream)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next bytes stand for.

        Raises:
            TraceError: They are not of a zstd stream.
        """
        held = ctypes.create_string_buffer(data, len(data))
        taken = _Buffer(ctypes.addressof(held), len(data), 0)
        while True:
            given = _Buffer(ctypes.addressof(self._output), _OUTPUT_BYTES, 0)
            status = self._zstd.ZSTD_decompressStream(self._stream, ctypes.byref(given), ctypes.byref(taken))
            if self._zstd.ZSTD_isError(status):
                reason = self._zstd.ZSTD_getErrorName(status).decode()
                raise TraceError(f"the file's compressed records are damaged: {reason}")
            if given.at:
                yield self._output.raw[: given.at]
            if taken.at == len(data) and given.at < _OUTPUT_BYTES:
                return
