"""Loaded BPF programs that are run from here (BPF_PROG_TEST_RUN), and found by their names."""

from __future__ import annotations

import ctypes
import os

from schedtuna.errors import NotLoadedError
from schedtuna.kernel.libbpf import libbpf

_PACKET_BYTES = 64
_INFO_BYTES = 80  # struct bpf_prog_info, up to its name
_NAME_AT = 64


class _TestRunOptions(ctypes.Structure):
    """struct bpf_test_run_opts."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


def run_syscall(program_fd: int, context: bytes | bytearray) -> tuple[int, int]:
    """Run a `syscall` program once; returns 0 or minus the kernel's errno, and its result.

    The kernel copies the context back: into a bytearray goes what the program made of it.
    """
    given = (ctypes.c_char * len(context)).from_buffer_copy(context)
    options = _TestRunOptions(
        sz=ctypes.sizeof(_TestRunOptions),
        ctx_in=ctypes.addressof(given),
        ctx_size_in=len(context),
    )
    code = int(libbpf().bpf_prog_test_run_opts(program_fd, ctypes.byref(options)))
    if isinstance(context, bytearray):
        context[:] = given.raw
    return code, int(options.retval)


def run_packet(program_fd: int, repeat: int) -> tuple[int, int]:
    """Run an `xdp` program on an empty packet so many times; returns 0 or minus errno, and ns per run."""
    packet = ctypes.create_string_buffer(_PACKET_BYTES)
    options = _TestRunOptions(
        sz=ctypes.sizeof(_TestRunOptions),
        data_in=ctypes.addressof(packet),
        data_size_in=_PACKET_BYTES,
        repeat=repeat,
    )
    code = int(libbpf().bpf_prog_test_run_opts(program_fd, ctypes.byref(options)))
    return code, int(options.duration)


def loaded_program(name: str) -> int:
    """Return a descriptor of a program that is loaded, by whichever process; of several, of the last.

    Raises:
        UnavailableError: None has this name.
    """
    id_, found = ctypes.c_uint32(0), -1
    while not libbpf().bpf_prog_get_next_id(id_, ctypes.byref(id_)):
        fd = int(libbpf().bpf_prog_get_fd_by_id(id_))
        if fd < 0:  # gone meanwhile
            continue
        info, size = ctypes.create_string_buffer(_INFO_BYTES), ctypes.c_uint32(_INFO_BYTES)
        libbpf().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(size))
        if info.raw[_NAME_AT:].rstrip(b"\0") != name.encode()[:15]:
            os.close(fd)
            continue
        if found >= 0:
            os.close(found)
        found = fd
    if found < 0:
        raise NotLoadedError(f"no BPF program named {name} is loaded")
    return found
