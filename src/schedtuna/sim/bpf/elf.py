"""What is in an ELF file? Of 64-bit little-endian ones, as BPF objects and kernels are."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from schedtuna.errors import UsageError

MAGIC: Final = b"\x7fELF\x02\x01\x01"
EM_BPF: Final = 247
SHT_PROGBITS, SHT_SYMTAB, SHT_NOBITS, SHT_REL = 1, 2, 8, 9
SHF_WRITE, SHF_EXECINSTR = 1, 4
STT_OBJECT, STT_FUNC, STT_SECTION = 1, 2, 3
STB_WEAK: Final = 2

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_REL = struct.Struct("<QQ")


@dataclass(frozen=True, slots=True)
class ElfSection:
    """One section.

    Attributes:
        name: Its name.
        type: SHT_*.
        flags: SHF_*.
        offset: Where it is in the file, in bytes.
        size: Its bytes; of SHT_NOBITS none are in the file.
        link: The section that it refers to: names of a symbol table, symbols of relocations.
        info: Of relocations: the section that they are of.
    """

    name: str
    type: int
    flags: int
    offset: int
    size: int
    link: int
    info: int


@dataclass(frozen=True, slots=True)
class ElfSymbol:
    """One symbol; `section` 0 means that it is defined elsewhere."""

    name: str
    type: int
    binding: int
    section: int
    value: int
    size: int


@dataclass(frozen=True, slots=True)
class ElfRelocation:
    """What a place refers to."""

    type: int
    symbol: ElfSymbol


@dataclass
class Elf:
    """An ELF file.

    Args:
        data: All of it, or a memory map.
        name: What to call it in errors.
        kind: What it is to be, in errors.

    Raises:
        UsageError: It is no such file, or damaged.
    """

    data: bytes | memoryview
    name: str
    kind: str = "a BPF object"
    machine: int = field(init=False)
    sections: list[ElfSection] = field(init=False)

    def __post_init__(self) -> None:
        try:
            self._read()
        except (struct.error, IndexError, ValueError) as error:
            raise self.damaged(str(error)) from error

    def _read(self) -> None:
        if bytes(self.data[: len(MAGIC)]) != MAGIC:
            raise ValueError("it does not begin like a 64-bit ELF file")
        header = _HEADER.unpack_from(self.data)
        self.machine = header[2]
        start, width, count, names = header[6], header[11], header[12], header[13]
        if width != _SECTION.size:
            raise ValueError(f"its section headers are {width} bytes long")
        rows = [_SECTION.unpack_from(self.data, start + width * place) for place in range(count)]
        strings = rows[names]
        self.sections = [
            ElfSection(self._text(strings[4] + row[0]), row[1], row[2], row[4], row[5], row[6], row[7])
            for row in rows
        ]
        for section in self.sections:
            if section.type not in (0, SHT_NOBITS) and section.offset + section.size > len(self.data):
                raise ValueError(f"section {section.name} goes beyond its end")

    def damaged(self, why: str) -> UsageError:
        """What to raise where it does not make sense."""
        return UsageError(
            f"{self.name} can't be read as {self.kind}: {why}",
            hint="is it complete, and of a 64-bit machine?",
        )

    def _text(self, start: int) -> str:
        stop = start
        while self.data[stop]:
            stop += 1
        return bytes(self.data[start:stop]).decode()

    def index(self, name: str) -> int | None:
        """The number of the first section of that name."""
        return next((place for place, one in enumerate(self.sections) if one.name == name), None)

    def content(self, section: int) -> bytes:
        """The bytes of a section; zeros where the file has none of them."""
        one = self.sections[section]
        if one.type == SHT_NOBITS:
            return bytes(one.size)
        return bytes(self.data[one.offset : one.offset + one.size])

    @cached_property
    def symbols(self) -> list[ElfSymbol]:
        """All symbols, in the file's order.

        Raises:
            UsageError: The table is damaged.
        """
        table = next((place for place, one in enumerate(self.sections) if one.type == SHT_SYMTAB), None)
        if table is None:
            return []
        try:
            strings = self.sections[self.sections[table].link].offset
            return [
                ElfSymbol(self._text(strings + name), info & 15, info >> 4, section, value, size)
                for name, info, _, section, value, size in _SYMBOL.iter_unpack(self.content(table))
            ]
        except (struct.error, IndexError, ValueError) as error:
            raise self.damaged(f"its symbols: {error}") from error

    @cached_property
    def relocations(self) -> Mapping[int, Mapping[int, ElfRelocation]]:
        """ElfSection -> offset in bytes -> what that place refers to.

        Raises:
            UsageError: A table is damaged.
        """
        found: dict[int, dict[int, ElfRelocation]] = {}
        try:
            for place, one in enumerate(self.sections):
                if one.type == SHT_REL:
                    rows = found.setdefault(one.info, {})
                    for offset, info in _REL.iter_unpack(self.content(place)):
                        rows[offset] = ElfRelocation(info & 0xFFFFFFFF, self.symbols[info >> 32])
        except (struct.error, IndexError) as error:
            raise self.damaged(f"its relocations: {error}") from error
        return found
