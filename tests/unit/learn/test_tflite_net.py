"""TensorFlow Lite's files are read as LiteRT means them; damaged and hostile ones are refused."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.cli.test_model_import import DATA, KERAS_SIZES, made_layers, made_rows

from schedtuna.errors import ModelError
from schedtuna.learn.tflite_net import read_tflite
from schedtuna.model.litert import run_tflite

pytest.importorskip("ai_edge_litert", reason="the extra 'tflite' is not installed")
WHOLE = (DATA / "tensorflow_2.21.0.tflite").read_bytes()


def test_weights_are_what_was_converted():
    for (weights, biases), (w, b) in zip(
        read_tflite(WHOLE, "net").layers, made_layers(KERAS_SIZES), strict=True
    ):
        np.testing.assert_array_equal(weights, w)
        np.testing.assert_array_equal(biases, b)


def test_halves_are_what_they_were_rounded_to():
    net = read_tflite((DATA / "tensorflow_2.21.0_float16.tflite").read_bytes(), "net")
    for (weights, _), (w, _) in zip(net.layers, made_layers(KERAS_SIZES), strict=True):
        np.testing.assert_array_equal(weights, w.astype(np.float16))


@pytest.mark.parametrize("name", ["tensorflow_2.21.0", "tensorflow_2.21.0_float16"])
def test_its_runtime_says_the_same(name):
    content = (DATA / f"{name}.tflite").read_bytes()
    rows = made_rows(40)
    logits = read_tflite(content, name).logits(rows)
    found = run_tflite(content, rows.astype(np.float32))[0]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=1e-4)


def test_a_file_that_its_runtime_can_not_take_is_an_error():
    with pytest.raises(ModelError, match="LiteRT can't run the file"):
        run_tflite(b"\x1c\0\0\0TFL3" + bytes(60), np.zeros((1, 10), np.float32))


def test_mutations_are_read_or_refused():
    random = np.random.default_rng(7)
    refused = 0
    for _ in range(300):
        content = bytearray(WHOLE)
        for at in random.integers(0, len(content), random.integers(1, 6)).tolist():
            content[at] = int(random.integers(256))
        if random.random() < 0.2:
            del content[int(random.integers(8, len(content))) :]
        try:
            assert len(read_tflite(bytes(content), "net").layers) in (2, 3)
        except ModelError:
            refused += 1
    assert refused > 50
