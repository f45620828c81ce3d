"""Universal Binary JSON (ubjson.org, draft 12), as XGBoost writes its models."""

from __future__ import annotations

from typing import Any

import numpy as np

_NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_WORDS = {b"Z": None, b"T": True, b"F": False}
_DEEPEST = 64


def parse_ubjson(content: bytes) -> Any:
    """Return the value of a document.

    Raises:
        ValueError: It is none.
    """
    reader = _Reader(content)
    value = reader.value(reader.take(1), 0)
    if reader.at != len(content):
        raise ValueError("something follows a document of UBJSON")
    return value


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content, self.at = content, 0

    def take(self, size: int) -> bytes:
        found = self._content[self.at : self.at + size]
        if size < 0 or len(found) < size:
            raise ValueError("a document of UBJSON ends too soon")
        self.at += size
        return found

    def value(self, kind: bytes, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError(f"a document of UBJSON is deeper than {_DEEPEST}")
        if kind in _NUMBERS:
            dtype = np.dtype(_NUMBERS[kind])
            return np.frombuffer(self.take(dtype.itemsize), dtype)[0].item()
        if kind in _WORDS:
            return _WORDS[kind]
        if kind == b"S":
            return self._text()
        if kind == b"C":
            return self.take(1).decode("ascii")
        if kind == b"[":
            return self._array(depth)
        if kind == b"{":
            return self._object(depth)
        raise ValueError(f"UBJSON has no value that begins with {kind!r}")

    def _length(self) -> int:
        length = self.value(self.take(1), 0)
        if isinstance(length, bool) or not isinstance(length, int) or length < 0:
            raise ValueError(f"{length!r} is no length in UBJSON")
        return length

    def _text(self) -> str:
        return self.take(self._length()).decode()

    def _head(self) -> tuple[bytes | None, int | None]:
        """The type of all that follows, and how much that is, where a container says so."""
        kind = None
        if self._next() == b"$":
            self.take(1)
            kind = self.take(1)
        if self._next() == b"#":
            self.take(1)
            return kind, self._length()
        if kind is not None:
            raise ValueError("a container of UBJSON has a type, and no count")
        return None, None

    def _next(self) -> bytes:
        return self._content[self.at : self.at + 1]

    def _array(self, depth: int) -> list[Any]:
        kind, count = self._head()
        if kind in _NUMBERS and count is not None:
            dtype = np.dtype(_NUMBERS[kind])
            values: list[Any] = np.frombuffer(self.take(count * dtype.itemsize), dtype).tolist()
            return values
        if kind in _WORDS and count is not None:
            raise ValueError("an array of UBJSON without content can't be read")  # it may be of any length
        found: list[Any] = []
        while self._goes_on(b"]", count, len(found)):
            found.append(self.value(kind or self.take(1), depth + 1))
        return found

    def _object(self, depth: int) -> dict[str, Any]:
        kind, count = self._head()
        found: dict[str, Any] = {}
        number = 0
        while self._goes_on(b"}", count, number):
            name = self._text()
            found[name] = self.value(kind or self.take(1), depth + 1)
            number += 1
        return found

    def _goes_on(self, end: bytes, count: int | None, number: int) -> bool:
        if count is not None:
            return number < count
        if self._next() != end:
            return True
        self.take(1)
        return False
