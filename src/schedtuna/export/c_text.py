"""How are names, numbers and texts of others written in C?"""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import UsageError
from schedtuna.model.core import AnyArray

_WIDTH = 118
_LONGEST_NAME = 40
_KEYWORDS = re.compile(
    "auto|break|case|char|const|continue|default|do|double|else|enum|extern|float|for|"
    "goto|if|inline|int|long|register|restrict|return|short|signed|sizeof|static|struct|"
    "switch|typedef|union|unsigned|void|volatile|while|and|asm|bool|catch|class|compl|"
    "delete|explicit|export|false|friend|mutable|namespace|new|not|operator|or|private|"
    "protected|public|template|this|throw|true|try|typeid|typename|using|virtual|xor|main"
)
_TYPES = {
    "u1": "uint8_t",
    "i1": "int8_t",
    "u2": "uint16_t",
    "i2": "int16_t",
    "u4": "uint32_t",
    "i4": "int32_t",
    "u8": "uint64_t",
    "i8": "int64_t",
}

# What all of them are: x has the bins, none beyond its last; accumulators may be null.
HEAD = "static inline void run(const uint16_t *x, int32_t *accumulators, int32_t *logits)\n{\n"


def identifier(name: str) -> str:
    """Return a name that C and C++ take, of a model's: small letters, digits and underscores.

    >>> identifier("Migrate, v2")
    'migrate_v2'
    >>> identifier("2")
    'model_2'
    """
    made = re.sub(r"[^a-z0-9]+", "_", name.lower())[:_LONGEST_NAME].strip("_")
    if not made or made[0].isdigit() or _KEYWORDS.fullmatch(made) or keyword.iskeyword(made):
        made = f"model_{made}".rstrip("_")
    return made


def require_identifier(name: str) -> str:
    """Return a name that a user chose.

    Raises:
        UsageError: C or C++ don't take it.
    """
    if identifier(name) != name:
        raise UsageError(
            f"{name!r} is no name for C: small letters, digits and underscores, and no word of the language",
            hint=f"such as {identifier(name)}",
        )
    return name


def number(value: int) -> str:
    """Return a number as a constant that has its type whatever its size.

    >>> number(-(2**63))
    '(-9223372036854775807LL - 1)'
    """
    if value < -(2**63) + 1:
        return "(-9223372036854775807LL - 1)"
    if value >= 2**63:
        return f"{value}ULL"
    if not -(2**31) < value < 2**31:
        return f"{value}LL" if abs(value) >= 2**32 or value < 0 else f"{value}U"
    return str(value)


def comment(text: str) -> str:
    """Return a text of others as it can stand in a comment: in ASCII, and it ends nothing."""
    return re.sub(r"[^ -~]|\*/|/\*|\?\?|\\", "?", text)


def array(name: str, values: AnyArray) -> str:
    """Return the definition of a constant array, of the type that the values have.

    Args:
        name: Of the array.
        values: Integers of any number of dimensions.
    """
    shape = "".join(f"[{size}]" for size in values.shape)
    kind = _TYPES[values.dtype.str[1:]]
    rows = values.reshape(-1, values.shape[-1])
    inner = "".join(_row(row.tolist(), values.ndim > 1) for row in rows)
    if values.ndim > 2:
        size = values.shape[1]
        lines = [_row(row.tolist(), True) for row in rows]
        inner = "".join(
            "\t{\n" + "".join(lines[at : at + size]) + "\t},\n" for at in range(0, len(lines), size)
        )
    return f"static const {kind} {name}{shape} = {{\n{inner}}};\n"


def float_array(name: str, values: npt.NDArray[np.float32]) -> str:
    """Return the definition of a constant array of floats, of one dimension or two."""
    shape = "".join(f"[{size}]" for size in values.shape)
    rows = values.reshape(-1, values.shape[-1])
    inner = "".join(_row(row, values.ndim > 1, _float) for row in rows)
    return f"static const float {name}{shape} = {{\n{inner}}};\n"


def _float(value: np.float32) -> str:
    return f"{value!s}f"


def _row(values: Iterable[Any], braces: bool, spelled: Callable[[Any], str] = number) -> str:
    text = ", ".join(map(spelled, values))
    filled = textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "{" + filled + "},\n" if braces else filled + "\n"


def smallest(values: AnyArray) -> AnyArray:
    """Return values in the smallest unsigned type that holds them."""
    most = int(values.max(initial=0))
    return values.astype(np.uint8 if most < 1 << 8 else np.uint16 if most < 1 << 16 else np.uint32)
