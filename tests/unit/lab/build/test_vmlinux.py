import gzip
import lzma
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from schedtuna.lab.build.vmlinux import has_pvh, unpacked, vmlinux
from schedtuna.lab.store import Kernel

NOWHERE = Path("/nonexistent/libzstd.so.1")


def elf(notes):
    """An ELF file with one program header: these notes."""
    header = struct.pack("<6s26xQ14xHH6x", b"\x7fELF\x02\x01", 64, 56, 1)
    return header + struct.pack("<IIQQQQQQ", 4, 0, 120, 0, 0, len(notes), len(notes), 4) + notes


def note(name, kind, content=b"1234"):
    padded = name + b"\0" * (-len(name) % 4)
    return struct.pack("<III", len(name), len(content), kind) + padded + content


PVH = elf(note(b"GNU\0", 3, b"12345678") + note(b"Xen\0", 18))


def image(payload):
    head = bytearray(0x400)
    head[0x1F1] = 1  # sector of setup code, besides the boot sector
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    return bytes(head) + b"\0" * 16 + payload


def with_size(data):
    return data + struct.pack("<I", len(PVH))


def test_only_kernels_with_an_entry_for_it_are_started_directly():
    assert has_pvh(PVH)
    assert not has_pvh(elf(note(b"Xen\0", 17)))
    assert not has_pvh(elf(note(b"XenX", 18)))
    assert not has_pvh(b"MZ" + PVH)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_the_payload_is_unpacked(compress):
    assert vmlinux(image(with_size(compress(PVH))), NOWHERE) == PVH


def test_a_payload_of_zstd_is_unpacked_with_the_named_library():
    zstd = shutil.which("zstd")
    if zstd is None:
        pytest.skip("no zstd here")
    packed = subprocess.run([zstd, "-c"], input=PVH, capture_output=True, check=True).stdout
    assert vmlinux(image(with_size(packed)), NOWHERE) is None
    assert vmlinux(image(with_size(packed)), Path("libzstd.so.1")) == PVH
    assert vmlinux(image(packed[:-8] + b"damaged!" + with_size(b"")), Path("libzstd.so.1")) is None


@pytest.mark.parametrize(
    "payload",
    [b"", b"LZO?", with_size(gzip.compress(PVH)[:-20]), with_size(gzip.compress(elf(note(b"GNU\0", 3))))],
    ids=["empty", "unknown", "cut off", "without the entry"],
)
def test_other_kernels_stay_as_they_are(tmp_path, payload):
    file = tmp_path / "vmlinuz"
    file.write_bytes(image(payload))
    kernel = Kernel(version="1", image=file, config=file, sha256="", origin="")
    assert unpacked(kernel, tmp_path) == kernel


def test_it_is_kept_beside_the_kernel(tmp_path):
    file = tmp_path / "vmlinuz"
    file.write_bytes(image(with_size(gzip.compress(PVH))))
    kernel = unpacked(Kernel(version="1", image=file, config=file, sha256="", origin=""), tmp_path)
    assert kernel.unpacked == tmp_path / "vmlinux"
    assert kernel.unpacked.read_bytes() == PVH
    file.unlink()
    assert unpacked(kernel, tmp_path) == kernel
