"""Models inside the running kernel: every accumulator is the reference's, and nothing else is let in."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests import models

from schedtuna.errors import ModelError, UnavailableError
from schedtuna.export.bpf import bpf_files
from schedtuna.kernel.objects import BpfObject
from schedtuna.model.kernel.classes import CLASSES, class_of
from schedtuna.model.kernel.loaded import KernelPrograms, load, put_table, require_parity, told
from schedtuna.model.kernel.tables import pack

pytestmark = pytest.mark.usefixtures("bpf")

NR_ROWS = 10_000
# The verifier's count from values to logits: it does not vary, and an accidental branch multiplies it.
MOST_VERIFIED = {
    "trees_small": 3_000,
    "trees": 3_000,
    "trees_large": 12_000,
    "oblivious": 1_700,
    "oblivious_large": 4_500,
    "mlp": 9_500,
    "mlp_small": 26_000,
    "step": 1_700,
    "step_large": 5_000,
    "linear": 2_000,
}


def random_values(model, count=NR_ROWS, seed=3):
    """Values inside and outside of the bins' bounds, of every magnitude."""
    random = np.random.default_rng(seed)
    columns = []
    for one in model.inputs:
        lo, hi = one.bins.lo, one.bins.hi
        inside = random.integers(lo, hi, count, endpoint=True)
        wide = random.integers(-(1 << 62), 1 << 62, count) >> random.integers(0, 62, count)
        edges = random.choice(one.bins.edges(), count) - random.integers(0, 2, count)
        columns.append(np.choose(random.integers(0, 3, count), [inside, wide, edges]))
    return np.stack(columns, axis=1)


def differing(model, values):
    """How many bins and accumulators of these rows are not the reference's."""
    with load(model, nr_rows=2048) as programs:
        bins, found = told(programs, model, values)
        logits = programs.decide(values)[:, : model.core.nr_logits]
    expected = model.quantise(values)
    reference = model.accumulate(expected)
    return (
        int((bins != expected).sum())
        + int((found != reference).sum())
        + int((logits != reference[:, -model.core.nr_logits :]).sum())
    )


@pytest.mark.parametrize("kind", models.KINDS)
def test_every_accumulator_is_the_references(kind):
    model = models.make(kind)
    assert differing(model, random_values(model)) == 0


@pytest.mark.long
@pytest.mark.parametrize("kind", models.KINDS)
def test_every_accumulator_of_a_million_rows_is_the_references(kind):
    model = models.make(kind, seed=2)
    for seed in range(20):
        assert differing(model, random_values(model, 50_000, seed)) == 0


@pytest.mark.parametrize("geometry", CLASSES, ids=lambda geometry: geometry.name)
def test_the_verifier_goes_through_few_instructions(geometry):
    with KernelPrograms(geometry) as programs:
        cost = programs.cost()
    assert 0 < cost.verified_insns <= MOST_VERIFIED[geometry.name]
    assert cost.insns <= cost.verified_insns
    assert 0 < cost.stack_bytes <= 512


@pytest.mark.parametrize("geometry", CLASSES, ids=lambda geometry: geometry.name)
def test_a_table_may_hold_anything(geometry):
    random = np.random.default_rng(5)
    size = geometry.table_dtype.itemsize
    values = random.integers(-(1 << 62), 1 << 62, (64, geometry.inputs))
    with KernelPrograms(geometry, nr_rows=64) as programs:
        for table in (random.bytes(size), b"\xff" * size, b"\x7f" * size, bytes(size)):
            programs.put(table)
            assert programs.run("decide", 64) < 10_000_000  # a loop that the kernel has to end takes 250 ms
            logits = programs.decide(values)
            assert np.array_equal(programs.explain(values)["logits"], logits)


def test_a_swap_changes_the_decision_whole():
    one, other = models.make("mlp", 1), models.make("mlp", 2)
    geometry = class_of(one)
    values = random_values(one, 500)
    with load(one) as programs:
        for model in (other, one, other):
            programs.put(pack(model, geometry))
            bins = model.quantise(values)
            assert np.array_equal(programs.decide(values)[:, :1], model.core.logits(bins))


def test_no_model_is_no_decision():
    with KernelPrograms(CLASSES[0]) as programs, pytest.raises(UnavailableError, match="no model is loaded"):
        programs.decide(np.zeros((1, 2), int))


def test_a_table_of_another_class_is_refused():
    model = models.make("step")
    with KernelPrograms(CLASSES[0]) as programs, pytest.raises(UnavailableError, match="another class"):
        put_table(programs.bpf.map_fd("models"), pack(model, class_of(model)))


def with_one_number_changed(model, random):
    """The same model with one number of its arrays off by one, or None where that can't be."""
    arrays = {name: array.copy() for name, array in model.core.arrays().items()}
    array = arrays[random.choice(list(arrays))]
    place = tuple(random.integers(0, size) for size in array.shape)
    try:
        array[place] += random.choice([-1, 1]) if array.dtype.kind == "i" else 1
        return replace(model, core=type(model.core).of(arrays, model.core.settings()))
    except ModelError:
        return None


@pytest.mark.parametrize("kind", ["trees", "oblivious", "mlp", "step", "linear"])
def test_another_models_numbers_are_found_by_the_models_own_rows(kind):
    model, random = models.make(kind), np.random.default_rng(7)
    geometry, found = class_of(model), 0
    with KernelPrograms(geometry) as programs:
        for _ in range(30):
            other = with_one_number_changed(model, random)
            if other is None:
                continue
            programs.put(pack(other, geometry))
            if np.array_equal(other.accumulate(model.rows.bins), model.rows.accumulators):
                require_parity(programs, model)  # a number that no row depends on
            else:
                found += 1
                with pytest.raises(ModelError, match="wrongly"):
                    require_parity(programs, model)
    assert found > 2


@pytest.mark.parametrize(
    ("kind", "field", "index"),
    [
        ("trees", "start", ()),
        ("oblivious", "start", ()),
        ("mlp", "starts1", (0,)),
        ("step", "starts", (0, 0)),
    ],
)
def test_another_rounding_is_found_by_the_models_own_rows(kind, field, index):
    model = models.make(kind)
    geometry = class_of(model)
    table = np.frombuffer(pack(model, geometry), geometry.table_dtype).copy()
    table[field][(0, *index)] += 1
    with KernelPrograms(geometry) as programs:
        programs.put(table.tobytes())
        with pytest.raises(ModelError, match="wrongly"):
            require_parity(programs, model)


def test_another_bin_edge_is_found_by_the_models_own_rows():
    model, found = models.make("linear"), 0
    geometry = class_of(model)
    with KernelPrograms(geometry) as programs:
        for index, one in enumerate(model.inputs):
            inputs = list(model.inputs)
            inputs[index] = one._replace(bins=replace(one.bins, lo=one.bins.lo + 1))
            other = replace(model, inputs=tuple(inputs), rows=None)
            if np.array_equal(other.quantise(model.rows.values), model.rows.bins):
                continue  # bins of many values each, whose edges stay
            found += 1
            programs.put(pack(other, geometry))
            with pytest.raises(ModelError, match="wrongly: bin"):
                require_parity(programs, model)
    assert found > 2


def test_a_model_without_rows_of_its_own_does_not_act():
    model = models.make("linear")
    with pytest.raises(ModelError, match="no rows"):
        load(replace(model, rows=None))


OWN_PROGRAM = """
#include "kernel_types.h"
#include "own.bpf.h"

struct xdp_md;
__s64 values[MODEL_INPUTS], logit;

SEC("xdp") int own(struct xdp_md *ctx)
{
	const struct model_table *table = current_model();
	struct model_decision decision;
	__u64 bins[MODEL_INPUTS];

	if (!table)
		return 1;
	quantise(&table->head, values, bins);
	model_run(table, bins, &decision, NULL);
	logit = decision.logits[0];
	return 2;
}

char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize("kind", ["trees", "oblivious", "mlp", "step", "linear"])
def test_an_exported_model_decides_in_a_program_of_others(kind, tmp_path):
    clang = shutil.which("clang") or pytest.skip("no clang")
    model, root = models.make(kind), Path(__file__).parents[2]
    for name, content in bpf_files(model, "own", False).items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "program.c").write_text(OWN_PROGRAM)
    (tmp_path / "bpf").symlink_to(root / "third_party/libbpf/src")
    folders = [f"-I{tmp_path}", f"-I{root / 'bpf/record'}"]
    options = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", *folders]
    compiled = [clang, *options, "-c", tmp_path / "program.c", "-o", tmp_path / "own.o"]
    subprocess.run(compiled, check=True, timeout=60)
    with BpfObject("own", content=(tmp_path / "own.o").read_bytes()) as own:
        own.load()
        put_table(own.map_fd("models"), (tmp_path / "own.table").read_bytes())
        for row, expected in zip(model.rows.values[::97], model.rows.accumulators[::97], strict=True):
            own.set_variable(".bss", "values", row.astype("<i8").tobytes())
            own.run_packet("own", 1)
            logit = int.from_bytes(own.variable_bytes(".bss", "logit"), "little", signed=True)
            assert logit == expected[-1]
