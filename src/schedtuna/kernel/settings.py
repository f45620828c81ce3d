"""What can be set of a BPF object by name: integers in .rodata before it is loaded, in .data at any time."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from schedtuna.errors import UsageError, nearest
from schedtuna.kernel.btf import Integer
from schedtuna.kernel.objects import BpfObject

CONSTANTS, VARIABLES = ".rodata", ".data"
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
_LOADERS = ("__", "uei")  # what a loader fills in, or reads, by itself


class Settings:
    """What can be set of an open object.

    Args:
        bpf: The object.

    Attributes:
        types: What can be set, and what it is.
    """

    def __init__(self, bpf: BpfObject) -> None:
        self._bpf = bpf
        self._sections: dict[str, str] = {}
        for section in (CONSTANTS, VARIABLES):
            for name in bpf.btf.sections.get(section, {}):
                if name in bpf.btf.integers and not name.startswith(_LOADERS):
                    self._sections[name] = section
        self.types: dict[str, Integer] = {name: bpf.btf.integers[name] for name in self._sections}

    def is_constant(self, name: str) -> bool:
        """Whether it can only be set before the object is loaded."""
        return self._sections.get(name) == CONSTANTS

    def values(self) -> dict[str, int]:
        """All values, now."""
        return {name: self._read(name) for name in self._sections}

    def set(self, texts: Mapping[str, str]) -> dict[str, int]:
        """Set some, or none where one of them can't be; returns their values, as they read now.

        Raises:
            UsageError: There is no such setting, it takes no such value, or it is a constant of a loaded
                object.
        """
        values = {name: self._parsed(name, text) for name, text in texts.items()}
        for name, value in values.items():
            type_ = self.types[name]
            data = value.to_bytes(type_.size, sys.byteorder, signed=type_.signed)
            self._bpf.set_variable(self._sections[name], name, data)
        return {name: self._read(name) for name in values}

    def _read(self, name: str) -> int:
        data = self._bpf.variable_bytes(self._sections[name], name)
        return int.from_bytes(data, sys.byteorder, signed=self.types[name].signed)

    def _parsed(self, name: str, text: str) -> int:
        if name not in self.types:
            known = nearest(name, self.types) if self.types else "it has none"
            raise UsageError(f"the BPF object {self._bpf.name} has no setting {name!r}: {known}")
        if self.is_constant(name) and self._bpf.is_loaded:
            raise UsageError(
                f"{name} is a constant of the loaded object {self._bpf.name}",
                hint="start the scheduler anew with it; what is in the section .data can be set at any time",
            )
        return parse_integer(name, text, self.types[name])


def parse_integer(name: str, text: str, type_: Integer) -> int:
    """Read a value of an integer type: a number in any of Python's bases, or true or false.

    Raises:
        UsageError: It is none, or out of the type's bounds.
    """
    word = text.lower()
    low, high = type_.bounds
    try:
        value = int(word in _TRUE) if word in (*_TRUE, *_FALSE) else int(text, 0)
    except ValueError:
        raise UsageError(f"{name}={text}: expected a whole number, or true or false") from None
    if not low <= value <= high:
        raise UsageError(f"{name}={text}: out of bounds, expected {low} to {high}")
    return value
