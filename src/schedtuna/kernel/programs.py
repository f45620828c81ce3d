"""What a loaded BPF program cost, how long it runs, and maps that are made at run time for a map of maps."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from schedtuna.errors import UnavailableError
from schedtuna.kernel.kernel_btf import KernelBtf
from schedtuna.kernel.libbpf import libbpf

_ARRAY = 2  # BPF_MAP_TYPE_ARRAY, include/uapi/linux/bpf.h
# struct bpf_prog_info: (jited_prog_len, xlated_prog_len), and verified_insns since 5.16.
_INFO_BYTES = 232
_LENGTHS_AT = 16
_VERIFIED_AT = 216
_INSN_BYTES = 8
_RETURN_0 = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)  # r0 = 0; exit
_TRACING, _FEXIT = 26, 25  # BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT
_STACK_DEPTH = re.compile(r"^stack depth ([\d+]+)", re.MULTILINE)


def refuses_fexit(function_id: int) -> str | None:
    """Return what the kernel has against programs at a function's end, such as "Operation not permitted".

    It is asked by a program of two instructions: an object's are refused only once all of it was read.

    Args:
        function_id: Of the function, in the running kernel's types.
    """
    # struct bpf_prog_load_opts, up to attach_btf_id; its size comes first.
    options = struct.pack("=iiIIIII4x", 0, _FEXIT, 0, 0, 0, 0, function_id)
    options = struct.pack("=Q", 8 + len(options)) + options
    fd = libbpf().bpf_prog_load(_TRACING, b"probe", b"GPL", _RETURN_0, len(_RETURN_0) // _INSN_BYTES, options)
    if fd < 0:
        return os.strerror(ctypes.get_errno())
    os.close(fd)
    return None


def why_not_followed(functions: Iterable[str], btf: Path | None = None) -> str | None:
    """Return why programs can't see the ends of the kernel's functions; None: they can, as far as it tells.

    Args:
        functions: Their names.
        btf: Another kernel's types; that one can't be asked, but for what they say.
    """
    with KernelBtf(btf) as kernel:
        ids = {function: kernel.function_id(function) for function in functions}
    missing = [function for function, id_ in ids.items() if id_ <= 0]
    if missing:
        return f"this kernel has no function {', '.join(missing)} to attach to"
    for function, id_ in ids.items() if btf is None else ():
        if refusal := refuses_fexit(id_):
            return f"the kernel lets no program attach to the function {function}: {refusal}"
    return None


@dataclass(frozen=True)
class ProgramCost:
    """What the kernel says of a loaded program.

    Attributes:
        verified_insns: Instructions that the verifier went through, on all paths.
        insns: Of the program, as the kernel holds it.
        jited_bytes: Of machine code; 0 where the kernel interprets.
        stack_bytes: All functions together; None where it wasn't told.
    """

    verified_insns: int
    insns: int
    jited_bytes: int
    stack_bytes: int | None


def program_cost(fd: int, log: str = "") -> ProgramCost:
    """Ask what a loaded program cost.

    Args:
        fd: The program's.
        log: What the verifier said at level 4: it knows the stack.

    Raises:
        OSError: The kernel's errno.
    """
    info, size = ctypes.create_string_buffer(_INFO_BYTES), ctypes.c_uint32(_INFO_BYTES)
    _require(libbpf().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(size)))
    jited, xlated = struct.unpack_from("=II", info, _LENGTHS_AT)
    (verified,) = struct.unpack_from("=I", info, _VERIFIED_AT)
    depth = _STACK_DEPTH.search(log)
    stack = sum(map(int, depth.group(1).split("+"))) if depth else None
    return ProgramCost(verified, xlated // _INSN_BYTES, jited, stack)


class InnerArray:
    """An array of one element that a map of maps is to hold; it lives as long as the map refers to it.

    Args:
        name: At most 15 characters.
        value: What it holds.

    Raises:
        UnavailableError: The kernel makes no such map.
    """

    def __init__(self, name: str, value: bytes) -> None:
        self.fd = int(libbpf().bpf_map_create(_ARRAY, name.encode(), 4, len(value), 1, None))
        if self.fd < 0:
            code = ctypes.get_errno()
            raise UnavailableError(
                f"the kernel makes no map of {len(value)} bytes: {os.strerror(code)}",
                hint="free memory" if code == errno.ENOMEM else "see `schedtuna doctor`",
            )
        try:
            _require(libbpf().bpf_map_update_elem(self.fd, _zero(), ctypes.c_char_p(value), 0))
        except OSError:
            self.close()
            raise

    def put_into(self, outer_fd: int) -> None:
        """Take the only place of a map of maps, at once and whole.

        Raises:
            OSError: The kernel's errno; EINVAL: the outer map is of other values.
        """
        _require(libbpf().bpf_map_update_elem(outer_fd, _zero(), ctypes.byref(ctypes.c_uint32(self.fd)), 0))

    def close(self) -> None:
        """Let go of it; a map that it was put into keeps it."""
        descriptor, self.fd = self.fd, -1
        if descriptor >= 0:
            os.close(descriptor)


def _zero() -> object:
    return ctypes.byref(ctypes.c_uint32(0))


def _require(code: int) -> None:
    if code:
        number = ctypes.get_errno() or -code
        raise OSError(number, os.strerror(number))
