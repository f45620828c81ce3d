"""The classes that BPF programs were compiled for: what Python and C say of them is the same."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests import models

from schedtuna.errors import ModelError, UsageError
from schedtuna.export.bpf import bpf_files, class_header
from schedtuna.model.core import MOST_LOGITS
from schedtuna.model.kernel import classes
from schedtuna.model.kernel.classes import CLASSES, class_of
from schedtuna.model.kernel.tables import lanes, pack
from schedtuna.model.nets import Mlp

ROOT = Path(__file__).parents[3]
DEFINE = re.compile(r"^#define (\w+)(?: (.+?))?(?:\s*/\*.*)?$", re.MULTILINE)


def defines(path):
    return dict(DEFINE.findall(path.read_text()))


@pytest.mark.parametrize("geometry", CLASSES, ids=lambda geometry: geometry.name)
def test_a_class_is_what_its_program_was_compiled_for(geometry):
    written = defines(ROOT / f"bpf/model/model_{geometry.name}.bpf.c")
    prefix = geometry.family.upper()
    constants = defines(ROOT / "include/model.h")
    for name, value in geometry.defines().items():
        text = written[f"{prefix}_{name}"]
        text = constants.get(text, text)
        shifted = re.fullmatch(r"\((\d+) << (\d+)\)", text)
        found = int(shifted[1]) << int(shifted[2]) if shifted else text
        assert str(found) == str(value)
    assert f"#define {prefix}_INPUTS {geometry.inputs}\n" in class_header(geometry)


def test_constants_are_those_of_the_header():
    constants = defines(ROOT / "include/model.h")
    assert int(constants["MODEL_LAYOUT"]) == classes.LAYOUT
    assert int(constants["MODEL_INPUTS"]) == classes.MOST_KERNEL_INPUTS
    assert int(constants["MODEL_TRACE_WORDS"]) == classes.TRACE_WORDS
    assert int(constants["MODEL_LOGITS"]) == MOST_LOGITS


@pytest.mark.parametrize("kind", models.KINDS)
def test_a_table_has_the_size_of_its_class(kind):
    model = models.make(kind)
    geometry = class_of(model)
    assert len(pack(model, geometry)) == geometry.table_dtype.itemsize


def test_what_is_too_large_is_refused_with_what_it_needs():
    random = np.random.default_rng(1)
    many = models.trees(random, nr_trees=300, nr_bins=(256,) * 10)
    with pytest.raises(ModelError, match="150 words a row of at most 125"):
        class_of(models.model(many, models.byte_inputs()))
    wide = models.linear(random, 20)
    with pytest.raises(ModelError, match="20 inputs of at most 16"):
        class_of(models.model(wide, models.byte_inputs(20)))


def test_a_narrow_net_takes_the_class_whose_time_is_its_own_size():
    random = np.random.default_rng(1)
    for sizes, name in (
        ((10, 64, 64, 1), "mlp"),
        ((10, 16, 16, 1), "mlp_small"),
        ((16, 64, 64, 1), "mlp_small"),
    ):
        core = models.mlp(random, *sizes)
        assert isinstance(core, Mlp)
        assert class_of(models.model(core, models.byte_inputs(sizes[0]))).name == name


def test_lanes_are_the_digits_of_one_number():
    random = np.random.default_rng(1)
    for bits, count in ((21, 3), (16, 4), (32, 2)):
        values = random.integers(-(1 << 15), 1 << 15, (200, count))
        for row, packed in zip(values.tolist(), lanes(values, bits).tolist(), strict=True):
            assert packed == sum(value << (bits * k) for k, value in enumerate(row)) % (1 << 64)


def test_an_export_refuses_what_it_does_not_do():
    model = replace(models.make("linear"), name="A model")
    with pytest.raises(UsageError, match="--small"):
        bpf_files(model, None, True)
