"""A BPF object of bare instructions, for tests that need no compiler."""

from __future__ import annotations

import struct
from collections.abc import Sequence

EMPTY_BTF = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_EXECUTABLE, _GLOBAL_FUNCTION = 6, 0x12


def write_object(functions: Sequence[tuple[str, bytes]]) -> bytes:
    """Return an object whose section .text has these functions, one behind the other."""
    text = b"".join(code for _, code in functions)
    names, symbols, place = b"\0", _SYMBOL.pack(0, 0, 0, 0, 0, 0), 0
    for name, code in functions:
        symbols += _SYMBOL.pack(len(names), _GLOBAL_FUNCTION, 0, 1, place, len(code))
        names += name.encode() + b"\0"
        place += len(code)
    sections = [
        ("", 0, 0, b"", 0, 0),
        (".text", 1, _EXECUTABLE, text, 0, 0),
        (".symtab", 2, 0, symbols, 3, 24),
        (".strtab", 3, 0, names, 0, 0),
        (".BTF", 1, 0, EMPTY_BTF, 0, 0),
        (".shstrtab", 3, 0, b"", 0, 0),
    ]
    titles = b"".join(title.encode() + b"\0" for title, *_ in sections)
    body, rows, at = b"", b"", 0
    for title, kind, flags, content, link, width in sections:
        data = titles if title == ".shstrtab" else content
        rows += _SECTION.pack(at, kind, flags, 0, _HEADER.size + len(body), len(data), link, 0, 8, width)
        body += data + bytes(-len(data) % 8)
        at += len(title) + 1
    table = _HEADER.size + len(body)
    head = _HEADER.pack(
        b"\x7fELF\x02\x01\x01", 1, 247, 1, 0, 0, table, 0, 64, 0, 0, 64, len(sections), len(sections) - 1
    )
    return head + body + rows
