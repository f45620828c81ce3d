"""What a guest sends of a command's output comes out as it was, however the line cuts it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.lab.errors import GuestError
from schedtuna.lab.named.guest import _frame

PIECES = st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=300)), max_size=8)


@given(PIECES, st.data())
def test_pieces_come_out_whole_and_in_order(pieces, data):
    sent = b"".join(b"%d %d\n" % (number, len(piece)) + piece for number, piece in pieces)
    buffer, found = bytearray(), []
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        buffer += sent[:size]
        sent = sent[size:]
        while (frame := _frame(buffer)) is not None:
            found.append(frame)
    assert found == pieces
    assert not buffer


@pytest.mark.parametrize("sent", [b"3 1\nx", b"0 9999999\n" + b"x" * 16, b"0 -1\nxxxxxxxxxxx", b"x" * 16])
def test_what_can_not_be_is_refused(sent):
    with pytest.raises(GuestError, match="can't be read"):
        _frame(bytearray(sent))
