"""Which scheduler is in a BPF object, and what does it expect of its loader?

Its operations fill the kernel's struct sched_ext_ops. What a loader does for it is in the headers of scx:
tools/sched_ext/include/scx/{compat,enums,user_exit_info}.h.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.kernel.kernel_btf import KernelBtf
from schedtuna.kernel.objects import BpfObject

SUFFIX = ".bpf.o"
OPS_NAME = "--ops-name"  # the argument of the loader that names a scheduler in the kernel
HOTPLUGS = Path("/sys/kernel/sched_ext/hotplug_seq")
UNREGISTERED = 64  # SCX_EXIT_UNREG: user space has let it go
# What scx's headers call constants that a loader fills in from the kernel's types: __SCX_DSQ_LOCAL.
KERNELS_CONSTANT = "__SCX_"
_STRUCTURE = "sched_ext_ops"
_NAME_BYTES = 128  # SCX_OPS_NAME_LEN
_EXIT, _DUMP, _DUMP_LENGTH = "uei", ".data.uei_dump", "uei_dump_len"
_DUMP_BYTES = 32768  # UEI_DUMP_DFL_LEN
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
    with opened(path) as bpf:
        return find_operations(bpf)[1]


@contextmanager
def opened(path: Path) -> Iterator[BpfObject]:
    """Open a user's object, without loading it.

    Raises:
        UsageError: It can't be read, or is not a BPF object.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = (
            "name a compiled object: docs/lab.md (A guest that stays) builds one of the examples with clang"
        )
        raise UsageError(f"{path} can't be read: {error.strerror}", hint=hint) from None
    try:
        bpf = BpfObject(path.name, content=content)
    except UnavailableError as error:
        raise UsageError(f"{path} is not a BPF object: {error}") from None
    with bpf:
        yield bpf


def fill_in(bpf: BpfObject, operations: str, *, name: str = "") -> list[str]:
    """Set what a scheduler leaves to its loader, before it is loaded.

    These are the kernel's constants, 0 where this kernel lacks them: the object is to find out by itself;
    the count of CPU hotplugs; and room for the kernel's dump. What this kernel can't call is left out.

    Args:
        bpf: The open object.
        operations: Its operations.
        name: What the scheduler is called in the kernel; empty: as in the object.

    Returns:
        The members of its operations that are left out, because this kernel has none of the name.

    Raises:
        UsageError: The kernel takes no such name.
    """
    constants = [key for key in bpf.btf.sections.get(".rodata", {}) if key.startswith(KERNELS_CONSTANT)]
    with KernelBtf() as kernel:
        bpf.set_constants({key: kernel.enum_value(key[2:]) or 0 for key in constants})
        known = kernel.members(_STRUCTURE)
    layout = bpf.btf.structs[bpf.operations()[operations]]
    dropped = []
    for member, end in zip(layout.offsets, [*list(layout.offsets.values())[1:], layout.size], strict=True):
        data = bpf.member(operations, member, end - layout.offsets[member])
        if known and member not in known and any(data):
            data[:] = bytes(len(data))
            dropped.append(member)
    if "hotplug_seq" in layout.offsets and HOTPLUGS.exists():
        number = int(HOTPLUGS.read_text())
        bpf.member(operations, "hotplug_seq", 8)[:] = number.to_bytes(8, sys.byteorder)
    if name:
        if not _NAME.fullmatch(name) or len(name) >= _NAME_BYTES:
            raise UsageError(f"a scheduler can't be called {name!r} in the kernel")
        data = bpf.member(operations, "name", _NAME_BYTES)
        data[:] = name.encode().ljust(len(data), b"\0")
    if _DUMP_LENGTH in bpf.btf.sections.get(".rodata", {}) and _DUMP in bpf.btf.sections:
        bpf.set_constants({_DUMP_LENGTH: _DUMP_BYTES})
        bpf.resize_section(_DUMP, _DUMP_BYTES)
    return dropped


@dataclass(frozen=True)
class ScxExit:
    """What the kernel has told a scheduler on its way out.

    Attributes:
        kind: `enum scx_exit_kind`; 0: nothing yet.
        code: The scheduler's own, or the kernel's `enum scx_exit_code`.
        reason: Of the kind, in words.
        message: More of it.
        dump: Of all tasks and CPUs, where there was an error.
    """

    kind: int
    code: int
    reason: str
    message: str
    dump: str

    def lines(self) -> list[str]:
        """The same in the form of scx's own loaders."""
        bar = "=" * 80
        dump = ["", "DEBUG DUMP", bar, "", self.dump.rstrip(), "", bar, ""] if self.dump else []
        code = [f"EXIT CODE: {self.code:#x}"] if self.code else []
        told = f" ({self.message})" if self.message else ""
        return [*dump, *code, f"EXIT: {self.reason}{told}"]


def read_exit(bpf: BpfObject) -> ScxExit | None:
    """Return what the kernel has told a loaded scheduler; None: the object keeps nothing of it."""
    layout = bpf.btf.structs.get("user_exit_info")
    if layout is None or _EXIT not in bpf.btf.sections.get(".data", {}):
        return None
    told = bpf.variable_bytes(".data", _EXIT)

    def text(data: bytes) -> str:
        return data.partition(b"\0")[0].decode(errors="replace")

    def number(name: str, size: int) -> int:
        at = layout.offsets.get(name)
        return 0 if at is None else int.from_bytes(told[at : at + size], sys.byteorder, signed=True)

    dump = text(bpf.section_bytes(_DUMP)) if _DUMP in bpf.btf.sections else ""
    return ScxExit(
        kind=number("kind", 4),
        code=number("exit_code", 8),
        reason=text(told[layout.offsets["reason"] :]),
        message=text(told[layout.offsets["msg"] :]),
        dump=dump,
    )
