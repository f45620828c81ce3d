"""SavedModels are read without TensorFlow, as it means them; damaged and hostile ones are refused."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.unit.cli.test_model_import import DATA, KERAS_SIZES, made_layers

from schedtuna.errors import ModelError
from schedtuna.learn.net_files import read_net
from schedtuna.learn.protobuf_fields import fields_of, varint
from schedtuna.learn.tensor_bundle import TensorBundle, crc32c

WRITERS = ("keras_3.15.1", "tensorflow_2.21.0")
DATA_FILE = "variables/variables.data-00000-of-00001"


def test_its_checksum_is_castagnolis():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of RFC 3720's polynomial
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


def test_numbers_end():
    assert varint(b"\xac\x02", 0) == (300, 2)
    for content in (b"\x80", b"\xff" * 11):
        with pytest.raises(ModelError, match="number"):
            varint(content, 0)


@pytest.mark.parametrize("writer", WRITERS)
def test_weights_are_what_was_saved_bit_for_bit(writer):
    net = read_net(DATA / f"{writer}.saved_model")
    for (weights, biases), (w, b) in zip(net.layers, made_layers(KERAS_SIZES), strict=True):
        np.testing.assert_array_equal(weights, w)
        np.testing.assert_array_equal(biases, b)


@pytest.fixture(params=WRITERS)
def copied(request, tmp_path) -> Path:
    shutil.copytree(DATA / f"{request.param}.saved_model", tmp_path / "net")
    return Path(tmp_path / "net")


def test_a_weight_that_changed_on_disk_is_found(copied):
    path = copied / DATA_FILE
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="another CRC"):
        read_net(copied)


@pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.index", DATA_FILE])
def test_what_is_missing_is_named(copied, file):
    (copied / file).unlink()
    with pytest.raises((ModelError, FileNotFoundError), match=Path(file).name):
        read_net(copied)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"serving_default", b"serving_defaulf", "no signature serving_default"),
        (b"\x12\x04Relu", b"\x12\x04Tanh", "Tanh"),
        (b"\x12\x06MatMul", b"\x12\x06SatMul", "SatMul"),
        (b"\x12\x06MatMul", b"\x12\x05MatMul", "damaged|protobuf|can't|not there"),
    ],
)
def test_another_net_is_refused_by_name(copied, old, new, why):
    path = copied / "saved_model.pb"
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(ModelError, match=why):
        read_net(copied)


def test_an_old_or_empty_file_is_refused(tmp_path):
    (tmp_path / "net").mkdir()
    path = tmp_path / "net/saved_model.pb"
    for content, why in ((b"", "0 graphs"), (b"\x12\x02\x12\x00", "TensorFlow 1"), (b"\x0f", "unknown kind")):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=why):
            read_net(tmp_path / "net")


def test_arrays_that_are_not_there_are_refused():
    bundle = TensorBundle(DATA / "keras_3.15.1.saved_model/variables/variables")
    with pytest.raises(ModelError, match="has no nothing"):
        bundle.array("nothing")
    with pytest.raises(ModelError, match="expected float"):
        bundle.array("_CHECKPOINTABLE_OBJECT_GRAPH")
    with pytest.raises(ModelError, match="is no text"):
        bundle.text("variables/0/.ATTRIBUTES/VARIABLE_VALUE")


@pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.index", DATA_FILE])
def test_mutations_are_read_or_refused(copied, file):
    """Bytes and slices of each file at random: a net of finite numbers, or a ModelError; nothing else."""
    random = np.random.default_rng(7)
    path = copied / file
    whole = path.read_bytes()
    for _ in range(60):
        content = bytearray(whole)
        for at in random.integers(0, len(content), random.integers(1, 6)).tolist():
            content[at] = int(random.integers(256))
        if random.random() < 0.2:
            del content[int(random.integers(len(content))) :]
        path.write_bytes(content)
        try:
            net = read_net(copied)
        except ModelError:
            continue
        assert all(np.isfinite(weights).all() for weights, _ in net.layers)


def test_fields_of_random_bytes_end():
    random = np.random.default_rng(1)
    for size in random.integers(0, 60, 500).tolist():
        with contextlib.suppress(ModelError):
            fields_of(random.bytes(size))
