"""Reading numbers out of text, for thousands of lines at once.

A position's "word" is the 8 bytes there as a little-endian integer, so that its lowest byte is the
first character. Digits become numbers by three multiplications (Lemire, "Quickly parsing eight
digits", 2018); where a number begins or ends is found from the lowest or highest byte that is not a
digit.
"""

from __future__ import annotations

from io import BufferedIOBase

import numpy as np
import numpy.typing as npt

from schedtuna.trace.schema import IntArray

Words = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.intp]

PADDING = 16  # bytes that must be readable before the first and after the last position

HIGH_BITS = np.uint64(0x8080808080808080)
_LOW7 = np.uint64(0x7F7F7F7F7F7F7F7F)
_ZEROS = np.uint64(0x3030303030303030)
_SIXES = np.uint64(0x7676767676767676)
_NIBBLES = np.uint64(0x0F0F0F0F0F0F0F0F)


class Text:
    """A buffer of text that is read over and over, and the words at any position in it.

    Args:
        capacity: How many bytes it holds; `PADDING` bytes are before and after them.
    """

    def __init__(self, capacity: int) -> None:
        self._buffer = np.zeros(capacity + 2 * PADDING, np.uint8)
        self._scratch = np.zeros((2, capacity), np.bool_)
        # From the text on; a position before it is in what comes after, as Python counts, and harmless.
        self._bytes = self._buffer[PADDING:]
        self._words: Words = np.ndarray((capacity + PADDING - 7,), "<u8", self._bytes.data, strides=(1,))
        self.size = 0

    @property
    def raw(self) -> npt.NDArray[np.uint8]:
        """The text."""
        return self._buffer[PADDING : PADDING + self.size]

    def fill(self, stream: BufferedIOBase, rest: bytes) -> bool:
        """Begin anew with `rest`, and read on; return False if there was nothing more to read."""
        self._buffer[PADDING : PADDING + len(rest)] = np.frombuffer(rest, np.uint8)
        space = self._buffer.data[PADDING + len(rest) : -PADDING]
        nr_read = _read_into(stream, space)
        self.size = len(rest) + nr_read
        self._buffer[PADDING + self.size : PADDING + self.size + PADDING] = 0
        return nr_read > 0

    def append(self, character: str) -> None:
        """Put a character behind the text."""
        self._buffer[PADDING + self.size] = ord(character)
        self.size += 1

    def find(self, character: str) -> Positions:
        """Return where a character is."""
        mask = np.equal(self.raw, ord(character), out=self._scratch[0, : self.size])
        return np.flatnonzero(mask)

    def find_pair(self, characters: str) -> Positions:
        """Return where two characters are, one right after the other."""
        raw = self.raw
        size = max(self.size - 1, 0)
        first = np.equal(raw[:size], ord(characters[0]), out=self._scratch[0, :size])
        second = np.equal(raw[1:], ord(characters[1]), out=self._scratch[1, :size])
        return np.flatnonzero(np.logical_and(first, second, out=first))

    def at(self, position: Positions) -> npt.NDArray[np.uint8]:
        """Return the bytes at positions."""
        return self._bytes[position]

    def words(self, position: Positions) -> Words:
        """Return the 8 bytes that begin at positions."""
        return self._words[position]

    def slice(self, start: int, end: int) -> bytes:
        """Return the text between two positions."""
        return self.raw[start:end].tobytes()


def _read_into(stream: BufferedIOBase, space: memoryview) -> int:
    """Fill `space` as far as the stream goes."""
    done = 0
    while done < len(space):
        nr_read = stream.readinto(space[done:])
        if not nr_read:
            break
        done += nr_read
    return done


def word(text: str) -> np.uint64:
    """Return up to 8 characters as a word.

    >>> hex(word("ab"))
    '0x6261'
    """
    return np.uint64(int.from_bytes(text.encode(), "little"))


def ends_with(words: Words, text: str) -> npt.NDArray[np.bool_]:
    """Return whether the last characters of words are these (8 at most)."""
    shift = np.uint64(8 * (8 - len(text)))
    return np.asarray(words >> shift == word(text))


def starts_with(words: Words, text: str) -> npt.NDArray[np.bool_]:
    """Return whether the first characters of words are these (8 at most)."""
    shift = np.uint64(8 * (8 - len(text)))
    return np.asarray(words << shift == word(text) << shift)


def leading_number(words: Words) -> tuple[IntArray, IntArray]:
    """Return the number that each word begins with, and how many digits it has (8: perhaps more)."""
    count = lowest_byte(_not_digits(words))
    return _eight_digits(_shift_left(words, 8 - count)), count


def trailing_number(words: Words) -> tuple[IntArray, IntArray]:
    """Return the number that each word ends with, and how many digits it has (8: perhaps more)."""
    count = 7 - highest_byte(_not_digits(words))
    cleared = _shift_left(words >> ((8 - count).astype(np.uint64) * np.uint64(8) & np.uint64(63)), 8 - count)
    return _eight_digits(np.where(count == 0, np.uint64(0), cleared)), count


def matching(words: Words, character: str) -> Words:
    """Return words with the top bit set in the bytes that are this character."""
    difference = words ^ np.uint64(int.from_bytes(character.encode() * 8, "little"))
    return ~(((difference & _LOW7) + _LOW7) | difference | _LOW7)


def lowest_byte(marks: Words) -> IntArray:
    """Return the index of the first marked byte (8 if none is)."""
    isolated = marks & (~marks + np.uint64(1))
    exponent = np.frexp(isolated.astype(np.float64))[1].astype(np.int64)
    return np.where(marks == 0, 8, (exponent - 1) >> 3)


def highest_byte(marks: Words) -> IntArray:
    """Return the index of the last marked byte (-1 if none is)."""
    # Marks have at most one bit per byte, so that rounding to a float never carries into the next byte.
    exponent = np.frexp(marks.astype(np.float64))[1].astype(np.int64)
    return np.where(marks == 0, -1, (exponent - 1) >> 3)


def _not_digits(words: Words) -> Words:
    difference = words ^ _ZEROS
    # A digit leaves 0 to 9, which plus 0x76 stays below 0x80; the addition can't carry out of a byte.
    return (((difference & _LOW7) + _SIXES) | difference) & HIGH_BITS


def _shift_left(words: Words, nr_bytes: IntArray) -> Words:
    shift = nr_bytes.astype(np.uint64) * np.uint64(8)
    return np.where(nr_bytes >= 8, np.uint64(0), words << (shift & np.uint64(63)))


def _eight_digits(words: Words) -> IntArray:
    """Return the number of 8 digits; zero bytes at the front count as zeros."""
    value = words & _NIBBLES
    value = (value * np.uint64(2561)) >> np.uint64(8)
    value = ((value & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601)) >> np.uint64(16)
    value = ((value & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001)) >> np.uint64(32)
    return value.astype(np.int64)
