"""The native part of trace analysis (native/task_states.c), through ctypes."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from schedtuna.resources import resource_path


@cache
def library() -> Any:
    """Return the library, with the types of its functions.

    Raises:
        UnavailableError: The installation lacks it.
    """
    loaded = ctypes.CDLL(str(resource_path("native/schedtuna-trace.so")))
    loaded.schedtuna_take_events.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    loaded.schedtuna_take_events.restype = None
    loaded.schedtuna_add_up.argtypes = (ctypes.c_void_p,)
    loaded.schedtuna_add_up.restype = None
    return loaded
