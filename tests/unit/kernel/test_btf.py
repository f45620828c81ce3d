import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.errors import UnavailableError
from schedtuna.kernel.btf import Integer, StructLayout, parse_btf

STRINGS = b"\0point\0x\0y\0.rodata\0wanted\0int\0"
INT, PTR, STRUCT, TYPEDEF, VOLATILE, CONST, VAR, DATASEC = 1, 2, 4, 8, 9, 10, 14, 15


def name(text):
    return STRINGS.index(b"\0" + text + b"\0") + 1 if text else 0


def kind(number, count=0):
    return number << 24 | count


TYPES = b"".join(
    [
        struct.pack("<IIII", name(b"int"), kind(INT), 4, 32),
        struct.pack("<III", name(b"point"), kind(STRUCT, 2), 8),
        struct.pack("<III", name(b"x"), 1, 0),
        struct.pack("<III", name(b"y"), 1, 32),
        struct.pack("<IIII", name(b"wanted"), kind(VAR), 1, 1),
        struct.pack("<IIIIII", name(b".rodata"), kind(DATASEC, 1), 4, 3, 16, 4),
    ]
)


def btf(types=TYPES, strings=STRINGS, magic=0xEB9F):
    return (
        struct.pack("<HBBIIIII", magic, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings
    )


def test_structures_and_variables_are_found():
    read = parse_btf(btf())
    assert read.structs == {"point": StructLayout(8, {"x": 0, "y": 4})}
    assert read.sections == {".rodata": {"wanted": (16, 4)}}


@pytest.mark.parametrize(
    ("encoding", "size", "expected"),
    [
        (0, 4, Integer(4)),
        (1, 8, Integer(8, signed=True)),
        (4, 1, Integer(1, boolean=True)),
        (2, 1, Integer(1)),  # a character
    ],
)
def test_integers_are_known_through_what_names_and_qualifies_them(encoding, size, expected):
    types = b"".join(
        [
            struct.pack("<IIII", name(b"int"), kind(INT), size, encoding << 24 | 8 * size),
            struct.pack("<III", name(b"x"), kind(TYPEDEF), 1),
            struct.pack("<III", 0, kind(VOLATILE), 2),
            struct.pack("<III", 0, kind(CONST), 3),
            struct.pack("<IIII", name(b"wanted"), kind(VAR), 4, 1),
            struct.pack("<III", 0, kind(PTR), 1),
            struct.pack("<IIII", name(b"y"), kind(VAR), 6, 1),
            struct.pack("<IIIIIIIII", name(b".rodata"), kind(DATASEC, 2), 16, 5, 0, size, 7, 8, 8),
            struct.pack("<III", name(b"point"), kind(STRUCT, 2), 16),
            struct.pack("<III", name(b"x"), 2, 0),
            struct.pack("<III", name(b"y"), 6, 64),
        ]
    )
    read = parse_btf(btf(types))
    assert read.integers == {"wanted": expected}
    assert read.structs["point"].integers == {"x": expected}


def test_types_that_refer_to_themselves_are_no_integers():
    types = struct.pack("<III", name(b"x"), kind(TYPEDEF), 1) + struct.pack(
        "<IIII", name(b"wanted"), kind(VAR), 1, 1
    )
    types += struct.pack("<IIIIII", name(b".rodata"), kind(DATASEC, 1), 4, 2, 0, 4)
    assert parse_btf(btf(types)).integers == {}


@pytest.mark.parametrize(
    "data", [b"", b"\x7fELF", btf(magic=0x1234), btf()[:60], btf(types=TYPES[:-4] + b"\xff\xff\xff\xff")[:-9]]
)
def test_malformed_btf_is_refused(data):
    with pytest.raises(UnavailableError, match="malformed BTF"):
        parse_btf(data)


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(btf()) - 1))
def test_any_bytes_give_btf_or_an_error(noise, at):
    data = btf()
    for damaged in (noise, data[:at] + noise + data[at + len(noise) :]):
        try:
            parse_btf(damaged)
        except UnavailableError as error:
            assert "malformed BTF" in str(error)  # noqa: PT017 - not raising is right, too
