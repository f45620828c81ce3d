import struct

import pytest

from schedtuna.kernel.kernel_btf import KernelBtf

STRINGS = b"\0colour\0RED\0GREEN\0wide\0HUGE\0LOWEST\0int\0"
INT, ENUM, ENUM64 = 1, 6, 19
SIGNED = 1 << 31


def name(text):
    return STRINGS.index(b"\0" + text + b"\0") + 1


def kind(number, count=0):
    return number << 24 | count


# The integer's size is the place of RED's name: a number that only looks like an enumerator.
TYPES = b"".join(
    [
        struct.pack("<IIII", name(b"int"), kind(INT), name(b"RED"), 32),
        struct.pack(
            "<IIIIIII", name(b"colour"), kind(ENUM, 2), 4, name(b"RED"), 7, name(b"GREEN"), 2**32 - 1
        ),
        struct.pack("<IIIIII", name(b"wide"), kind(ENUM64, 1), 8, name(b"HUGE"), 5, 1 << 31),
        struct.pack("<IIIIII", 0, kind(ENUM64, 1) | SIGNED, 8, name(b"LOWEST"), 0, 1 << 31),
    ]
)


@pytest.fixture
def types(tmp_path):
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(TYPES), len(TYPES), len(STRINGS))
    (tmp_path / "btf").write_bytes(header + TYPES + STRINGS)
    with KernelBtf(tmp_path / "btf") as opened:
        yield opened


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("RED", 7),
        ("GREEN", 2**32 - 1),
        ("HUGE", (1 << 63) + 5),
        ("LOWEST", -(1 << 63)),
        ("colour", None),  # the name of an enumeration, not of one of its values
        ("int", None),
        ("ED", None),  # the end of a name
        ("absent", None),
    ],
)
def test_a_constant_is_found_in_whichever_enumeration_it_is(types, text, value):
    assert types.enum_value(text) == value
