"""How does a model become the table of its class, and what do the program's words mean?

docs/model-kernel.md has the arithmetic. Sums of signed numbers share a word as the digits of one number: what
is packed is taken modulo 2^64, and whether each sum fits its lane was proven when the model was built.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from schedtuna.model.core import Accumulators, AnyArray, IntArray
from schedtuna.model.kernel.classes import LAYOUT, MLP_UNITS, MLP_WORDS, KernelClass, row_words
from schedtuna.model.model import DecisionModel
from schedtuna.model.nets import RELU_LANE, STEP_LANE, Linear, Mlp, StepNet, round_shift
from schedtuna.model.trees import BoxTrees, ObliviousTrees

Words = npt.NDArray[np.uint64]
Table = npt.NDArray[np.void]

_DE_BRUIJN = 0x077CB531  # bpf/model/trees.bpf.h
_LEAF_OFFSET = 1 << 15
_TREES_GROUP = 5
_OBLIVIOUS_GROUP = 7
_PER_WORD = 3  # lanes of RELU_LANE bits
_LOGIT_LANE = 32
_UNIT_ROWS = 8  # step units that choose a row together


def pack(model: DecisionModel, geometry: KernelClass) -> bytes:
    """Return a model's table.

    Args:
        model: What fits the class.
        geometry: The class: see `class_of`.
    """
    table = np.zeros(1, geometry.table_dtype)[0]
    head = table["head"]
    head["layout"], head["nr_inputs"], head["version"] = LAYOUT, len(model.inputs), int(model.version, 16)
    for index, one in enumerate(model.inputs):
        rule = one.bins.constants()
        for name in rule._fields:
            head["bins"][index][name] = getattr(rule, name)
    _PACKERS[geometry.family](model, geometry, table)
    return bytes(table.tobytes())


def accumulators(model: DecisionModel, geometry: KernelClass, traces: npt.NDArray[np.void]) -> Accumulators:
    """Return what the program told, as the reference has it: int32 [rows, accumulators].

    Args:
        model: The model that ran.
        geometry: Its class.
        traces: TRACE_DTYPE [rows]
    """
    stages = _READERS[geometry.family](model, geometry, traces["words"])
    return np.concatenate([*stages, traces["logits"][:, : model.core.nr_logits]], axis=1).astype(np.int32)


def lanes(values: IntArray, bits: int) -> Words:
    """Pack numbers along the last axis into a word each: the sum of value[k] * 2^(bits * k), modulo 2^64."""
    shifts = np.arange(values.shape[-1], dtype=np.uint64) * np.uint64(bits)
    packed: Words = (values.astype(np.int64).astype(np.uint64) << shifts).sum(axis=-1, dtype=np.uint64)
    return packed


def _grouped(values: IntArray, size: int, length: int) -> IntArray:
    """Cut the last axis into groups, with zeros up to `length` groups."""
    padded = np.zeros((*values.shape[:-1], size * length), np.int64)
    padded[..., : values.shape[-1]] = values
    return padded.reshape(*values.shape[:-1], length, size)


def _digits(words: Words, bits: int, per_word: int, count: int) -> IntArray:
    """Undo `lanes` for numbers that are not negative: [rows, words] become [rows, count]."""
    shifts = np.arange(per_word, dtype=np.uint64) * np.uint64(bits)
    found = (words[:, :, None] >> shifts) & np.uint64((1 << bits) - 1)
    return found.reshape(len(words), -1)[:, :count].astype(np.int64)


def _put_rows(table: Table, name: str, rows: list[AnyArray], row_bytes: int, spare: bytes) -> None:
    """Store the inputs' rows one after the other, and one more for the inputs that there are not."""
    start, room = 0, table[name].view(np.uint8)
    for index, row in enumerate(rows):
        table["rows"]["starts"][index] = start
        size = len(row) * row_bytes
        room[start : start + size].reshape(len(row), row_bytes)[:, : row[0].nbytes] = np.ascontiguousarray(
            row
        ).view(np.uint8)
        start += size
    if len(rows) < len(table["rows"]["starts"]):
        table["rows"]["starts"][len(rows) :] = start
        room[start : start + len(spare)] = np.frombuffer(spare, np.uint8)
    table["rows"]["bytes"] = row_bytes


def _pack_trees(model: DecisionModel, _geometry: KernelClass, table: Table) -> None:
    core, words = model.core, row_words(model)
    assert isinstance(core, BoxTrees)
    _put_rows(table, "masks", list(core.masks(model.nr_bins)), 8 * words, b"\xff" * 8 * words)
    place = (np.left_shift(1, np.arange(32, dtype=np.uint64)) * _DE_BRUIJN & 0xFFFFFFFF) >> 27
    leaves = table["leaves"].reshape(-1, 32)
    leaves[:] = _LEAF_OFFSET
    leaves[: core.nr_trees, place] = core.leaves.astype(np.int64) + _LEAF_OFFSET
    groups = -(-words // _TREES_GROUP)
    table["nr_groups"] = groups
    table["start"] = _modulo(core.base - _LEAF_OFFSET * 2 * _TREES_GROUP * groups)


def _pack_oblivious(model: DecisionModel, geometry: KernelClass, table: Table) -> None:
    core, words = model.core, row_words(model)
    assert isinstance(core, ObliviousTrees)
    _put_rows(table, "answers", list(core.masks(model.nr_bins)), 8 * words, bytes(8 * words))
    leaves = table["leaves"].reshape(-1, 1 << geometry.levels)
    leaves[:] = _LEAF_OFFSET
    leaves[: core.nr_trees, : 1 << core.nr_levels] = core.leaves.astype(np.int64) + _LEAF_OFFSET
    groups = -(-words // _OBLIVIOUS_GROUP)
    table["nr_groups"] = groups
    table["start"] = _modulo(core.base - _LEAF_OFFSET * 8 * _OBLIVIOUS_GROUP * groups)


def _modulo(number: int) -> int:
    return number % (1 << 64)


def _pack_linear(model: DecisionModel, _geometry: KernelClass, table: Table) -> None:
    core = model.core
    assert isinstance(core, Linear)
    table["starts"][: core.nr_logits] = core.biases
    table["weights"][: core.nr_inputs, : core.nr_logits] = core.weights.T


def _two_hidden(core: Mlp | StepNet, identity_bias: int) -> tuple[list[IntArray], list[IntArray]]:
    """Weights and biases of three layers: a missing second one hands each unit on."""
    weights = [array.astype(np.int64) for array in core.weights]
    biases = [array.astype(np.int64) for array in core.biases]
    if len(weights) == 2:
        units = len(weights[0])
        weights.insert(1, np.eye(units, dtype=np.int64))
        biases.insert(1, np.full(units, identity_bias))
    return weights, biases


def _pack_mlp(model: DecisionModel, geometry: KernelClass, table: Table) -> None:
    core = model.core
    assert isinstance(core, Mlp)
    (w1, w2, w3), (b1, b2, b3) = _two_hidden(core, 0)
    first, second = (*core.shifts, 0)[:2]
    half1, half2, middle = (1 << first) >> 1, (1 << second) >> 1, 1 << (RELU_LANE - 1)
    units1, units2 = len(w1), len(w2)
    over = RELU_LANE - 1 - first
    ones = int(lanes(np.ones(_PER_WORD, np.int64), RELU_LANE))
    table["nr_pairs"], table["nr_blocks"] = -(-w1.shape[1] // 2), -(-units1 // (4 * _PER_WORD))
    table["nr_fours"], table["nr_rounds"] = table["nr_blocks"], -(-units2 // 4)
    table["first_shift"], table["over_shift"] = first, over
    table["over"], table["first_mask"] = ones * ((1 << over) - 128), ones * ((1 << over) - 1)
    table["second_shift"] = 64 - RELU_LANE + second
    starts = np.zeros(MLP_WORDS * _PER_WORD, np.int64)
    starts[:units1] = b1 + half1
    table["starts1"] = lanes((starts + middle).reshape(-1, _PER_WORD), RELU_LANE)
    packed = lanes(_grouped(w1.T, _PER_WORD, MLP_WORDS), RELU_LANE)  # [inputs, words]
    table["weights1"][:, : len(packed)] = packed.reshape(len(packed), -1, 4).transpose(1, 0, 2)
    # Dot form: the sum is in the highest lane, and what is below must stay digits.
    table["starts2"][:] = lanes(np.array([middle, middle, 0]), RELU_LANE)
    table["starts2"][:units2] += (b2 + half2).astype(np.uint64) << np.uint64(2 * RELU_LANE)
    dots = np.zeros((MLP_UNITS, MLP_WORDS), np.uint64)
    dots[:units2] = lanes(_grouped(w2, _PER_WORD, MLP_WORDS)[..., ::-1], RELU_LANE)
    table["weights2"][:] = dots.reshape(-1, 4, MLP_WORDS).transpose(0, 2, 1)
    table["weights3"][:units2] = lanes(_grouped(w3.T, 2, geometry.logits // 2), _LOGIT_LANE)
    table["starts3"][:] = _logit_starts(b3, geometry)


def _logit_starts(biases: IntArray, geometry: KernelClass) -> Words:
    return lanes(_grouped(biases, 2, geometry.logits // 2) + (1 << (_LOGIT_LANE - 1)), _LOGIT_LANE)


def _pack_step(model: DecisionModel, geometry: KernelClass, table: Table) -> None:
    core = model.core
    assert isinstance(core, StepNet)
    (w1, w2, w3), (b1, b2, b3) = _two_hidden(core, -1)
    words, nr_rows = geometry.units // 4, geometry.units // _UNIT_ROWS
    rows = []
    for index, count in enumerate(model.nr_bins):
        terms = round_shift(np.arange(count)[:, None] * w1[None, :, index], core.shift)
        rows.append(lanes(_grouped(terms, 4, words), STEP_LANE))
    _put_rows(table, "first", rows, 8 * words, bytes(8 * words))
    middle = 1 << (STEP_LANE - 1)
    for layer, biases in enumerate((b1, b2)):
        starts = np.zeros(geometry.units, np.int64)
        starts[: len(biases)] = biases + middle
        table["starts"][layer] = lanes(starts.reshape(-1, 4), STEP_LANE)
    bits = (np.arange(256)[:, None] >> np.arange(_UNIT_ROWS)) & 1
    for name, weights, size, bits_each in (("second", w2, 4, STEP_LANE), ("third", w3, 2, _LOGIT_LANE)):
        groups = _grouped(weights, _UNIT_ROWS, nr_rows)  # [to, rows, 8]
        sums = np.einsum("vb,trb->rvt", bits, groups)
        table[name][:] = lanes(_grouped(sums, size, table[name].shape[-1]), bits_each)
    table["starts3"][:] = _logit_starts(b3, geometry)


_PACKERS: dict[str, Callable[[DecisionModel, KernelClass, Table], None]] = {
    "trees": _pack_trees,
    "oblivious": _pack_oblivious,
    "linear": _pack_linear,
    "mlp": _pack_mlp,
    "step": _pack_step,
}


def _read_trees(model: DecisionModel, _geometry: KernelClass, words: Words) -> list[IntArray]:
    boxes = _digits(words, 32, 2, model.core.nr_accumulators - 1)
    one_bit = (boxes != 0) & (boxes & (boxes - 1) == 0)
    return [np.where(one_bit, np.log2(np.maximum(boxes, 1)).astype(np.int64), -1)]


def _read_oblivious(model: DecisionModel, _geometry: KernelClass, words: Words) -> list[IntArray]:
    return [_digits(words, 8, 8, model.core.nr_accumulators - 1)]


def _read_linear(_model: DecisionModel, _geometry: KernelClass, _words: Words) -> list[IntArray]:
    return []


def _read_mlp(model: DecisionModel, _geometry: KernelClass, words: Words) -> list[IntArray]:
    core = model.core
    assert isinstance(core, Mlp)
    units = [len(weights) for weights in core.weights[:-1]]
    half = [(1 << shift) >> 1 for shift in core.shifts]
    told = [words[:, MLP_WORDS * k : MLP_WORDS * (k + 1)] for k in range(2)]
    sums, hidden = (_digits(part, RELU_LANE, _PER_WORD, units[0]) for part in told)
    stages = [sums - (1 << (RELU_LANE - 1)) - half[0], hidden]
    if len(units) == 2:
        first = 2 * MLP_WORDS
        highest = (words[:, first : first + units[1]] << np.uint64(1)).astype(np.int64) >> (64 - RELU_LANE)
        stages += [highest - half[1], words[:, first + MLP_UNITS :][:, : units[1]].astype(np.int64)]
    return stages


def _read_step(model: DecisionModel, geometry: KernelClass, words: Words) -> list[IntArray]:
    core = model.core
    assert isinstance(core, StepNet)
    stages, nr_words, nr_rows = [], geometry.units // 4, geometry.units // _UNIT_ROWS
    for layer, weights in enumerate(core.weights[:-1]):
        sums = words[:, layer * nr_words : (layer + 1) * nr_words]
        units = words[:, 2 * nr_words + layer * nr_rows : 2 * nr_words + (layer + 1) * nr_rows]
        stages += [
            _digits(sums, STEP_LANE, 4, len(weights)) - (1 << (STEP_LANE - 1)),
            _digits(units, 1, _UNIT_ROWS, len(weights)),
        ]
    return stages


_READERS: dict[str, Callable[[DecisionModel, KernelClass, Words], list[IntArray]]] = {
    "trees": _read_trees,
    "oblivious": _read_oblivious,
    "linear": _read_linear,
    "mlp": _read_mlp,
    "step": _read_step,
}
