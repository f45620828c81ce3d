import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.trace.append import BLOCK_BYTES, BUFFER_BYTES, DIRECT_BYTES, AppendFile

SIZES = st.one_of(
    st.integers(0, 3 * BLOCK_BYTES),
    st.integers(DIRECT_BYTES - 2, DIRECT_BYTES + BLOCK_BYTES),
    st.integers(BUFFER_BYTES - 2, 2 * BUFFER_BYTES + BLOCK_BYTES),
)


@settings(deadline=None, max_examples=30)
@given(st.lists(SIZES, max_size=8))
def test_a_file_is_what_was_appended(tmp_path_factory, sizes):
    path = tmp_path_factory.mktemp("append") / "file"
    expected = b"before"
    path.write_bytes(expected)
    file = AppendFile(path)
    for index, size in enumerate(sizes):
        data = (bytes([index]) + os.urandom(997)) * (size // 998 + 1)
        file.append(memoryview(data)[:size])
        expected += data[:size]
        assert path.stat().st_size == len(expected)  # it can be read at once
    assert path.read_bytes() == expected
    file.close()
    file.close()


@pytest.fixture
def small_disk(tmp_path):
    """A folder with 2 MB of room."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", tmp_path], check=False)
    if done.returncode:
        pytest.skip("may not mount")
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


def test_on_a_full_disk_the_file_ends_where_the_last_append_did(small_disk):
    file = AppendFile(small_disk / "file")
    file.append(b"x" * 1000)
    file.append(b"y" * DIRECT_BYTES)
    with pytest.raises(OSError, match="No space"):
        file.append(b"z" * (4 << 20))
    assert (small_disk / "file").read_bytes() == b"x" * 1000 + b"y" * DIRECT_BYTES
    file.append(b"w")
    file.close()
    assert (small_disk / "file").read_bytes()[-2:] == b"yw"
