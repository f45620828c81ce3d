"""The native part of trace analysis (native/trace/), through ctypes."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from schedtuna.resources import resource_path

_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "schedtuna_take_events": (_POINTER, _POINTER, _COUNT),
    "schedtuna_add_up": (_POINTER,),
    "schedtuna_count": (_COUNT, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER),
    "schedtuna_scatter": (_COUNT, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER),
    "schedtuna_select": (_COUNT, _POINTER, _POINTER, _POINTER, _COUNT, _POINTER, _POINTER, _POINTER),
    "schedtuna_sweep": (_POINTER,),
    "schedtuna_read_perf": (_POINTER,),
    "schedtuna_read_text": (_POINTER,),
    "schedtuna_radix_sort": (_COUNT, ctypes.c_uint64, _POINTER, _POINTER, _POINTER, _POINTER),
}


@cache
def library() -> Any:
    """Return the library, with the types of its functions; they run outside of Python's lock.

    Raises:
        UnavailableError: The installation lacks it.
    """
    loaded = ctypes.CDLL(str(resource_path("native/schedtuna-trace.so")))
    for name, arguments in FUNCTIONS.items():
        getattr(loaded, name).argtypes = arguments
        getattr(loaded, name).restype = None
    for name in ("schedtuna_radix_sort", "schedtuna_read_perf", "schedtuna_read_text"):
        getattr(loaded, name).restype = ctypes.c_int
    return loaded
