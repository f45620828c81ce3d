"""Damaged and hostile variants of valid files: bytes replaced, cut or doubled, and values of other kinds."""

# ruff: noqa: E501  # tables of values

from __future__ import annotations

import copy
import json
import random
import tomllib
from collections.abc import Callable
from typing import Any

import tomli_w
import yaml

# Written into a document as a text, and replaced by what no library would write.
_RAW = "@@{}@@"
_DEEP = 50_000
RAW_JSON = (
    "[" * _DEEP + "]" * _DEEP,
    '{"a":' * _DEEP + "1" + "}" * _DEEP,
    "9" * 5000,
    "-" + "9" * 400,
    "1e999",
    "-1e999",
    "NaN",
    "-Infinity",
    '"\\ud800"',
    '{"a": 1, "a": 2}',
)
RAW_YAML = (
    "[" * 3000 + "]" * 3000,
    "9" * 5000,
    "1e999",
    ".nan",
    "-.inf",
    "2026-99-99",
    "1:2:3",
    "0o17",
    "0b1",
    "!!int \u00b2",
    "!!float x",
    "!!bool 7",
    "!!null x",
    "!!binary \u00b2",
    "!!binary AA==",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!omap 7",
    "!!pairs [a: 1]",
    "!!timestamp x",
    "!!timestamp 2026-99-99",
    "!!map 7",
    "!!seq {a: 1}",
    "!!str [a]",
    "!!python/name:os.system x",
    "!unknown x",
    "&a [*a]",
    "&a {b: *a}",
    "*nowhere",
    "{<<: 7}",
    "{<<: [7]}",
    "&m {<<: *m}",
    "{? [a] : 1}",
    "{? {a: 1} : 1}",
    "{[a]: 1}",
    "{!!set {a}: 1}",
    "{1: 2}",
    "{.nan: 1}",
    "{=: 1}",
    "=",
    "2026-01-01",
    "2026-01-01T00:00:00+99:99",
    '"\\uD800"',
    '"\\x00"',
)
RAW_TOML = (
    "[" * 3000 + "]" * 3000,
    "{a = " * 3000 + "1" + "}" * 3000,
    "9" * 5000,
    "nan",
    "-inf",
    "1e999",
    "2026-99-99",
    "2026-01-01",
    "00:00:61",
    "1979-05-27T07:32:00+99:99",
    '"\\uD800"',
    '"\\u0000"',
    "{a = 1, a = 2}",
    "[{}]",
    "0xFFFFFFFFFFFFFFFFFFFF",
)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, -0.0, 1 << 31, (1 << 63) - 1, 1 << 63, -(1 << 63) - 1, 1 << 64, 10**30,
    1e308, -1e308, 5e-324, float("inf"), float("nan"),
    "", " ", "0", "-1", "nan", "inf", "1e999", "\u00b2", "\u0663", "\u2460", "\0", "\ud800", "a\udfffb", "\n",
    "\x1b[2J", "%s", "{value}", "{0}", "..", "/", "../../x", "x" * 5000, "a.b", "a[", "(", "(a+)+$", "9" * 400,
    [], [[]], [None], [0], ["\u00b2"], [""], {}, {"": 0}, {"\u00b2": "/"}, {"a": {}}, {"\ud800": 1}, {"1": [1]},
)  # fmt: skip
BYTES = (
    b"", b"\0", b"\n", b"\r", b" ", b"\t", b",", b":", b"=", b"\"", b"'", b"[", b"{", b"-", b"%", b"\xff", b"\xc2\xb2",
    b"\xed\xa0\x80", b"\xd9\xa3", b"\xe2\x91\xa0", b"\xc2\xa0", b"\xef\xbb\xbf", b"\x1b[2J", b"0", b"-1", b"nan", b"1e999",
    b"9" * 20, b"9" * 400, b"9" * 5000, b"9223372036854775808", b"18446744073709551616", b"0x10", b"1_0", b"1.2.3",
)  # fmt: skip


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Replace, cut, double or move some places of a file."""
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(data))
        end = min(len(data), at + rng.choice((0, 1, 2, 4, 8, 40)))
        piece = rng.choice(
            (rng.choice(BYTES), rng.randbytes(rng.randint(1, 8)), data[at:end] * 2, _word(rng, data))
        )
        if rng.random() < 0.4:  # a whole word, such as a number
            at, end = _word_at(data, at)
        data = data[:at] + piece + data[end:]
    return data[: rng.randint(0, len(data))] if rng.random() < 0.1 else data


def _word(rng: random.Random, data: bytes) -> bytes:
    at, end = _word_at(data, rng.randint(0, len(data)))
    return data[at:end]


def _word_at(data: bytes, at: int) -> tuple[int, int]:
    while at and data[at - 1 : at].isalnum():
        at -= 1
    end = at
    while end < len(data) and data[end : end + 1].isalnum():
        end += 1
    return at, end


def hostile(rng: random.Random, document: Any, raw: tuple[str, ...]) -> tuple[Any, dict[str, str]]:
    """Put hostile values, and none, into some places of a document.

    Returns:
        The document, and what its texts are to be replaced by once it is written.
    """
    document, written = copy.deepcopy(document), {}
    for number in range(rng.choice((1, 1, 1, 2, 4))):
        places = [*_places(document)]
        if not places:
            break
        inside, key = rng.choice(places)
        how = rng.random()
        if how < 0.1:
            del inside[key]
            continue
        value: Any = copy.deepcopy(rng.choice(VALUES))  # it may be changed next
        if how < 0.3:
            value = _RAW.format(number)
            written[value] = rng.choice(raw)
        elif how < 0.4 and isinstance(inside, dict):
            inside[rng.choice(("\u00b2", "", "version", "\ud800", "a" * 300, "-1"))] = inside.pop(key)
            continue
        elif how < 0.45:
            value = [inside[key]] * 2
        elif how < 0.5 and isinstance(inside[key], str):
            value = inside[key] + rng.choice(("\0", "\u00b2", "\ud800", "\n"))
        elif how < 0.55 and isinstance(inside[key], (int, float)):
            value = rng.choice(
                (-inside[key], str(inside[key]), inside[key] * 10**20, _and_a_half(inside[key]))
            )
        inside[key] = value
    return document, written


def _and_a_half(value: float) -> float:
    return value + 0.5 if abs(value) < 1e300 else value


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            found += [(value, key), *_places(value[key])]
    return found


def filled(text: str, written: dict[str, str]) -> bytes:
    """Put what no library would write into a document's text."""
    for name, raw in written.items():
        text = text.replace(f'"{name}"', raw).replace(f"'{name}'", raw).replace(name, raw)
    return text.encode(errors="surrogatepass")


def hostile_json(rng: random.Random, data: bytes) -> bytes:
    """Return a JSON document with hostile values."""
    document, written = hostile(rng, json.loads(data), RAW_JSON)
    return filled(json.dumps(document, indent=rng.choice((None, 1))), written)


def hostile_lines(rng: random.Random, data: bytes) -> bytes:
    """Return JSON lines of which some have hostile values."""
    lines = data.splitlines()
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        try:
            line = json.loads(lines[at])
        except (ValueError, RecursionError):  # torn, or made hostile before
            continue
        document, written = hostile(rng, line, RAW_JSON)
        lines[at] = filled(json.dumps(document), written)
    return b"\n".join(lines) + b"\n"


def hostile_yaml(rng: random.Random, data: bytes) -> bytes:
    """Return a YAML document with hostile values."""
    document, written = hostile(rng, yaml.safe_load(data), RAW_YAML)
    flow = rng.choice((None, True, False))
    return filled(yaml.safe_dump(document, default_flow_style=flow, allow_unicode=True, width=10**6), written)


def hostile_toml(rng: random.Random, data: bytes) -> bytes:
    """Return a TOML document with hostile values."""
    document, written = hostile(rng, tomllib.loads(data.decode()), RAW_TOML)
    return filled(tomli_w.dumps(_without_nothing(document)), written)


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nothing(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nothing(inner) for inner in value if inner is not None]
    return value


Mutator = Callable[[random.Random, bytes], bytes]
