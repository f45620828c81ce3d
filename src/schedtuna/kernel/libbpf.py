"""libbpf through ctypes: the functions that `objects` calls, with their types, and nothing more.

The library is the one that ships with the package. SCHEDTUNA_LIBBPF names another one, such as
/usr/lib/x86_64-linux-gnu/libbpf.so.1 (1.1 or newer).
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Callable
from ctypes import POINTER, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from schedtuna.errors import UnavailableError
from schedtuna.resources import resource_path

# Function -> (result, arguments).
_PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "bpf_iter_create": (c_int, (c_int,)),
    "bpf_link__destroy": (c_int, (c_void_p,)),
    "bpf_link__fd": (c_int, (c_void_p,)),
    "bpf_map__attach_struct_ops": (c_void_p, (c_void_p,)),
    "bpf_map__btf_value_type_id": (c_uint32, (c_void_p,)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__initial_value": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "bpf_map__max_entries": (c_uint32, (c_void_p,)),
    "bpf_map__name": (c_char_p, (c_void_p,)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map__set_value_size": (c_int, (c_void_p, c_uint32)),
    "bpf_map__type": (c_uint32, (c_void_p,)),
    "bpf_map__value_size": (c_uint32, (c_void_p,)),
    "bpf_map_create": (c_int, (c_uint32, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_freeze": (c_int, (c_int,)),
    "bpf_map_get_fd_by_id": (c_int, (c_uint32,)),
    "bpf_map_get_next_id": (c_int, (c_uint32, POINTER(c_uint32))),
    "bpf_map_get_next_key": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, c_uint64)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
    "bpf_object__btf": (c_void_p, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__find_map_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__find_program_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__next_map": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__open_mem": (c_void_p, (c_void_p, c_size_t, c_void_p)),
    "bpf_prog_get_fd_by_id": (c_int, (c_uint32,)),
    "bpf_prog_get_next_id": (c_int, (c_uint32, POINTER(c_uint32))),
    "bpf_prog_load": (c_int, (c_uint32, c_char_p, c_char_p, c_char_p, c_size_t, c_void_p)),
    "bpf_prog_test_run_opts": (c_int, (c_int, c_void_p)),
    "bpf_program__attach": (c_void_p, (c_void_p,)),
    "bpf_program__autoload": (c_bool, (c_void_p,)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__set_autoload": (c_int, (c_void_p, c_bool)),
    "bpf_program__set_log_buf": (c_int, (c_void_p, c_char_p, c_size_t)),
    "bpf_program__set_log_level": (c_int, (c_void_p, c_uint32)),
    "btf__find_by_name_kind": (c_int, (c_void_p, c_char_p, c_uint32)),
    "btf__free": (None, (c_void_p,)),
    "btf__load_vmlinux_btf": (c_void_p, ()),
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
    "btf__parse": (c_void_p, (c_char_p, c_void_p)),
    "btf__raw_data": (c_void_p, (c_void_p, POINTER(c_uint32))),
    "btf__type_by_id": (c_void_p, (c_void_p, c_uint32)),
    "btf__type_cnt": (c_uint32, (c_void_p,)),
    "libbpf_set_print": (c_void_p, (c_void_p,)),
    "libbpf_version_string": (c_char_p, ()),
}

_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_PRINTERS: list[object] = []  # the library keeps a pointer to the last one as long as the process lives


_OWN_LIBRARY = (
    "SCHEDTUNA_LIBBPF must name a library that only root can write; unset it to use the one that ships"
)


class Libbpf:
    """The loaded library. Its functions are attributes; its messages are in `log`."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._library = ctypes.CDLL(path, use_errno=True)
            for name, (result, arguments) in _PROTOTYPES.items():
                function = getattr(self._library, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            raise UnavailableError(
                f"can't use {path} as libbpf: {error}",
                hint="SCHEDTUNA_LIBBPF must name a libbpf 1.1 or newer; unset it to use the one that ships",
            ) from error
        self.log: deque[str] = deque(maxlen=400)
        self._format = ctypes.CDLL(None).vsnprintf
        self._format.argtypes = (c_void_p, c_size_t, c_char_p, c_void_p)
        printer = _PRINT(self._note)
        _PRINTERS.append(printer)
        self.libbpf_set_print(ctypes.cast(printer, c_void_p))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in _PROTOTYPES:
            raise AttributeError(name)
        return getattr(self._library, name)  # type: ignore[no-any-return]  # ctypes knows it as Any

    @property
    def version(self) -> str:
        """Such as `1.7`, as the library tells it."""
        return str(self.libbpf_version_string().decode()).lstrip("v")

    def _note(self, level: int, template: bytes, arguments: int) -> int:
        """Keep a message of libbpf, which would otherwise go to stderr."""
        if level > 1:  # LIBBPF_DEBUG
            return 0
        buffer = ctypes.create_string_buffer(1 << 20)  # the verifier's words are one message, its end matters
        self._format(buffer, len(buffer), template, arguments)
        self.log.extend(buffer.value.decode(errors="replace").splitlines())
        return 0


@cache
def libbpf() -> Libbpf:
    """Return the library, loaded once.

    Raises:
        UnavailableError: It can't be loaded, others can change it, or the installation lacks it.
    """
    path = os.environ.get("SCHEDTUNA_LIBBPF")
    if path:
        if "/" not in path:  # the loader's own folders have it
            return Libbpf(path)
        from schedtuna.files import require_trusted  # guests, whose library nobody else can change, lack it

        return Libbpf(str(require_trusted(Path(path), "as libbpf", hint=_OWN_LIBRARY)))
    try:
        return Libbpf(str(resource_path("native/libbpf.so")))
    except UnavailableError as error:
        if isinstance(error.__cause__, OSError):
            raise
        raise UnavailableError(
            "this installation was built without BPF, which recording needs",
            hint="reinstall with clang and libelf-dev installed and without -DSCHEDTUNA_BPF=OFF",
        ) from error
