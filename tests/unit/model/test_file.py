"""Models in files: they come back as they were, and damaged or forged ones don't."""

import hashlib
import json
import os
import re

import numpy as np
import pytest
from tests import models

from schedtuna.errors import ModelError
from schedtuna.model.file import LARGEST_FILE, dump_model, parse_model, read_model, write_model
from schedtuna.model.model import DecisionModel

NR_MUTATIONS = 100


def split(content: bytes) -> tuple[dict, dict, bytes]:
    """The header, the description in it, and the arrays' bytes."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["schedtuna"]), content[8 + length :]


def join(header: dict, told: dict, data: bytes, *, signed: bool = True) -> bytes:
    """The file of these, with the digest that its arrays have."""
    if signed:
        told["sha256"] = hashlib.sha256(data).hexdigest()
    header["__metadata__"] = {"schedtuna": json.dumps(told)}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize("kind", models.KINDS)
def test_a_model_comes_back_as_it_was(kind, tmp_path):
    model = models.make(kind)
    write_model(model, tmp_path / "m.safetensors")
    again = read_model(tmp_path / "m.safetensors")
    assert again.version == model.version
    assert (again.name, again.labels, again.inputs) == (model.name, model.labels, model.inputs)
    assert np.array_equal(again.rows.values, model.rows.values)
    assert dump_model(again) == dump_model(model)


def test_the_header_is_what_the_document_says():
    model = models.make("small mlp")
    weights = model.core.arrays()["weights0"]
    header, told, data = split(dump_model(model))
    assert list(header)[:1] == ["__metadata__"]
    assert header["core.weights0"]["dtype"] == "I8" and header["core.weights0"]["shape"] == [16, 5]
    begin, end = header["core.weights0"]["data_offsets"]
    assert np.array_equal(np.frombuffer(data[begin:end], np.int8).reshape(16, 5), weights)
    assert header["rows.values"]["dtype"] == "I64" and header["rows.accumulators"]["dtype"] == "I32"
    assert told["settings"] == {"shifts": [8]} and told["family"] == "mlp" and told["format_version"] == 1


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """The file with a few bytes changed, cut, doubled or left out, in the header or in the arrays."""
    header, told, data = split(content)
    place = random.integers(4)
    if place == 0:  # anywhere: bytes that the digest covers, or not
        whole = bytearray(content)
        for _ in range(random.integers(1, 5)):
            whole[random.integers(len(whole))] = random.integers(256)
        return bytes(whole)
    if place == 1:  # the arrays, with a digest of what they now are
        changed = bytearray(data)
        for _ in range(random.integers(1, 5)):
            changed[random.integers(len(changed))] = random.integers(256)
        return join(header, told, bytes(changed))
    if place == 2:  # a value of the header
        name = random.choice([key for key in header if key != "__metadata__"])
        wrong = [-1, 0, 1, 2**40, 2**70, "x", None, [], [[]], [-1], [2**62, 2**62], True, 0.5]
        key = random.choice(["dtype", "shape", "data_offsets"])
        header[name][key] = wrong[random.integers(len(wrong))]
        if random.integers(2):
            told[random.choice(list(told))] = wrong[random.integers(len(wrong))]
        return join(header, told, data)
    return content[: random.integers(len(content))] if random.integers(2) else content + b"\0"


def try_mutations(kind: str, count: int, seed: int) -> None:
    content = dump_model(models.make(kind))
    random = np.random.default_rng(seed)
    for _ in range(count):
        damaged = mutated(content, random)
        try:
            model = parse_model(damaged, "m")
        except ModelError:
            continue
        assert isinstance(model, DecisionModel)  # such as a name with another letter: all is proven anew
        assert np.array_equal(model.accumulate(model.rows.bins), model.rows.accumulators)


@pytest.mark.parametrize("kind", ["trees", "oblivious", "linear", "small mlp", "small step"])
def test_damaged_files_are_refused_or_whole(kind):
    try_mutations(kind, NR_MUTATIONS // 5, 1)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["trees", "oblivious", "linear", "small mlp", "small step"])
def test_many_damaged_files_are_refused_or_whole(kind):
    try_mutations(kind, 3_000, 2)


def forged(change) -> bytes:
    header, told, data = split(dump_model(models.make("small mlp")))
    change(header, told)
    return join(header, told, data)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _, told: told.update(format_version=2), "newer"),
        (lambda _, told: told.update(family="forest"), "family"),
        (lambda _, told: told.update(family=["mlp"]), "family"),
        (lambda _, told: told.pop("labels"), "labels"),
        (lambda _, told: told.update(labels=["a"]), "labels"),
        (lambda _, told: told.update(settings={"shifts": [13]}), "0 to 12"),
        (lambda _, told: told.update(settings={"shifts": [8], "more": 1}), "hasn't"),
        (lambda _, told: told["inputs"][0].update(lo=0.5), "integer"),
        (lambda _, told: told["inputs"][0].update(more=1), "damaged"),
        (lambda _, told: told["inputs"][0].update(nr_bins=3, kind="linear", lo=0, hi=9), "other bins"),
        (lambda header, _: header.pop("rows.values"), "where it belongs|cut short|damaged"),
        (lambda header, _: header["core.weights0"].update(dtype="F32"), "F32"),
        (lambda header, _: header["core.weights0"].update(shape=[5, 16]), "take|inputs|units|damaged"),
    ],
)
def test_forged_headers_are_refused(change, says):
    content = forged(change)
    with pytest.raises(ModelError) as error:
        parse_model(content, "m")
    assert re.search(says, f"{error.value} {error.value.hint}")


def test_rows_that_its_numbers_do_not_give_are_refused():
    header, told, data = split(dump_model(models.make("small mlp")))
    begin, _ = header["rows.accumulators"]["data_offsets"]
    wrong = bytearray(data)
    wrong[begin] ^= 1
    with pytest.raises(ModelError, match="not those that were written"):
        parse_model(join(header, told, bytes(wrong), signed=False), "m")
    with pytest.raises(ModelError, match="other accumulators"):
        parse_model(join(header, told, bytes(wrong)), "m")


def test_what_is_no_model_is_told(tmp_path):
    for content in (b"", b"x", b"\0" * 8, b"\xff" * 100, b"{}" * 50, json.dumps({}).encode()):
        with pytest.raises(ModelError, match="no model"):
            parse_model(content, "m")
    with pytest.raises(FileNotFoundError):
        read_model(tmp_path / "none")
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(ModelError, match="larger than 64 MiB"):
        read_model(large)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="no model"):
        read_model(tmp_path / "pipe")


def test_a_model_without_rows_is_not_stored():
    model = models.make("linear")
    bare = DecisionModel(model.name, model.inputs, model.labels, model.core, model.made_by)
    with pytest.raises(ModelError, match="without rows"):
        dump_model(bare)
