"""Which scheduler is in a BPF object? Its operations fill the kernel's struct sched_ext_ops."""

from __future__ import annotations

import re
from pathlib import Path

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.kernel.objects import BpfObject

SUFFIX = ".bpf.o"
# What scx's headers call constants that a loader fills in from the kernel's types: __SCX_DSQ_LOCAL.
KERNELS_CONSTANT = "__SCX_"
_STRUCTURE = "sched_ext_ops"
_NAME_BYTES = 128  # SCX_OPS_NAME_LEN
_NAME = re.compile(r"[A-Za-z0-9_.]+")  # what the kernel takes


def find_operations(bpf: BpfObject) -> tuple[str, str]:
    """Return the scheduler's operations in an open object, and the name that it has in the kernel.

    Raises:
        UsageError: There is no scheduler in it, or more than one, or it has no name.
    """
    found = [name for name, structure in bpf.operations().items() if structure == _STRUCTURE]
    if len(found) != 1:
        count = f"{len(found)} sched_ext schedulers" if found else "no sched_ext scheduler"
        raise UsageError(
            f"the BPF object {bpf.name} has {count}, expected one struct {_STRUCTURE} in .struct_ops.link"
        )
    try:
        name = bytes(bpf.member(found[0], "name", _NAME_BYTES)).partition(b"\0")[0].decode(errors="replace")
    except KeyError:
        name = ""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"the scheduler of the BPF object {bpf.name} is named {name!r}, which is not a valid name"
        )
    return found[0], name


def scheduler_name(path: Path) -> str:
    """Return the name that the scheduler of an object has in the kernel; it is only read, not loaded.

    Raises:
        UsageError: It is not a BPF object, or has not one scheduler.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = (
            "name a compiled object: docs/lab.md (A guest that stays) builds one of the examples with clang"
        )
        raise UsageError(f"{path} can't be read: {error.strerror}", hint=hint) from None
    try:
        with BpfObject(path.name, content=content) as bpf:
            return find_operations(bpf)[1]
    except UnavailableError as error:
        raise UsageError(f"{path} is not a BPF object: {error}") from None
