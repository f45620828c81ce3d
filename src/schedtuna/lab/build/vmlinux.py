"""Can a guest boot a kernel without unpacking it first? If so: the vmlinux that is in its vmlinuz.

QEMU starts an ELF kernel directly where its notes name an entry for that (PVH; CONFIG_PVH): then
nothing need be unpacked in the guest, at every boot, at the pace of emulation.
"""

from __future__ import annotations

import ctypes
import gzip
import lzma
import struct
from pathlib import Path

from schedtuna.files import write_bytes
from schedtuna.lab.store import Kernel

NAME = "vmlinux"
_LIBZSTD = "usr/lib/x86_64-linux-gnu/libzstd.so.1"
_LONGEST = 1 << 30  # bytes; no kernel is that large
# Documentation/arch/x86/boot.rst: where the real-mode code ends, and the payload lies behind it
_SETUP_SECTORS, _PAYLOAD = 0x1F1, 0x248
_SECTOR = 512
_PT_NOTE = 4
_PVH_NOTE = (b"Xen\0", 18)  # XEN_ELFNOTE_PHYS32_ENTRY


def unpacked(kernel: Kernel, root: Path) -> Kernel:
    """Return the kernel with its unpacked image beside it, or as it is where guests can't boot that.

    Args:
        kernel: An installed kernel.
        root: The lab's unpacked packages, for their libzstd.
    """
    file = kernel.image.with_name(NAME)
    if kernel.unpacked == file and file.exists():
        return kernel
    content = vmlinux(kernel.image.read_bytes(), root / _LIBZSTD)
    if content is None:
        return kernel.model_copy(update={"unpacked": None})
    write_bytes(file, content)
    return kernel.model_copy(update={"unpacked": file})


def vmlinux(image: bytes, libzstd: Path) -> bytes | None:
    """Return the ELF kernel in a vmlinuz, if QEMU can start it; None otherwise."""
    start, size = struct.unpack_from("<II", image, _PAYLOAD)
    begin = ((image[_SETUP_SECTORS] or 4) + 1) * _SECTOR + start
    payload = image[begin : begin + size]
    try:
        content = _decompressed(payload, libzstd)
        return content if content is not None and has_pvh(content) else None
    except (OSError, EOFError, lzma.LZMAError, struct.error):
        return None


def _decompressed(payload: bytes, libzstd: Path) -> bytes | None:
    if payload.startswith(b"\x1f\x8b"):
        return gzip.decompress(payload[:-4])
    if payload.startswith(b"\xfd7zXZ"):
        return lzma.decompress(payload[:-4])
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstd(payload[:-4], int.from_bytes(payload[-4:], "little"), libzstd)
    return None


def _zstd(data: bytes, size: int, library: Path) -> bytes | None:
    """Decompress with the lab's own library: Python has zstd from 3.14 on only."""
    if size > _LONGEST:
        return None
    decompress = ctypes.CDLL(str(library)).ZSTD_decompress
    decompress.restype = ctypes.c_size_t
    decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    out = ctypes.create_string_buffer(size)
    return out.raw if decompress(out, size, data, len(data)) == size else None


def has_pvh(elf: bytes) -> bool:
    """Whether an ELF kernel for x86-64 names an entry for PVH."""
    if elf[:6] != b"\x7fELF\x02\x01":
        return False
    offset, entry_size, count = (
        *struct.unpack_from("<Q", elf, 32),
        *struct.unpack_from("<HH", elf, 54),
    )
    for at in range(offset, offset + entry_size * count, entry_size):
        kind, _, start, _, _, size = struct.unpack_from("<IIQQQQ", elf, at)
        if kind == _PT_NOTE and _has_note(elf[start : start + size]):
            return True
    return False


def _has_note(notes: bytes) -> bool:
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("<III", notes, at)
        if (notes[at + 12 : at + 12 + name_size], kind) == _PVH_NOTE:
            return True
        at += 12 + -(-name_size // 4) * 4 + -(-size // 4) * 4
    return False
