"""How do texts of other programs end their lines, and which files are no texts that can be read?

Where a file has no newline, a carriage return ends its lines; terminals add one before each newline
(readers strip that), and colours (`printable.without_sequences()` takes them out).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schedtuna.errors import TraceError

HEAD_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 20
_LONGEST_MATCH = 1 << 12
_BOM = b"\xef\xbb\xbf"
# How a file begins that holds something else: what it is, and what makes a text of it.
_NO_TEXTS = {
    b"\x1f\x8b": ("compressed by gzip", "gunzip -k FILE"),
    b"\xfd7zXZ\x00": ("compressed by xz", "unxz -k FILE"),
    b"BZh": ("compressed by bzip2", "bunzip2 -k FILE"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "unzstd FILE"),
    b"PK\x03\x04": ("a zip archive", "unzip FILE"),
    b"\xff\xfe": ("UTF-16 text", "iconv -f UTF-16 -t UTF-8 FILE > TEXT"),
    b"\xfe\xff": ("UTF-16 text", "iconv -f UTF-16 -t UTF-8 FILE > TEXT"),
    b"\x96\xd5": ("a binary file of sar", "LC_ALL=C S_TIME_FORMAT=ISO sar -u ALL -q -w -f FILE > TEXT"),
    b"\xd5\x96": ("a binary file of sar", "LC_ALL=C S_TIME_FORMAT=ISO sar -u ALL -q -w -f FILE > TEXT"),
}


class _Newlines(io.RawIOBase):
    """A file whose carriage returns are newlines."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def open_text(path: Path) -> io.BufferedReader:
    """Open a text, whatever ends its lines, behind its byte order mark.

    Raises:
        TraceError: It is compressed, or something else that is no text.
        OSError: It can't be read.
    """
    file = path.open("rb", buffering=0)
    head = file.read(HEAD_BYTES)
    file.seek(len(_BOM) if head.startswith(_BOM) else 0)
    for magic, (what, command) in _NO_TEXTS.items():
        if head.startswith(magic):
            file.close()
            raise TraceError(f"{path} is {what}", hint=f"make text of it: {command}")
    return io.BufferedReader(_Newlines(file) if b"\r" in head and b"\n" not in head else file)


def blocks(stream: io.BufferedReader) -> Iterator[bytes]:
    """Yield a text in pieces that overlap by more than a pattern is long, up to where it is no text."""
    rest = b""
    while data := stream.read(_BLOCK_BYTES):
        yield rest + data
        if b"\0" in data:
            return
        rest = data[-_LONGEST_MATCH:]
