"""Models that have to be smaller: what is left out, that limits are kept, and what is said of it."""

import csv
import json
import os

import numpy as np
import pytest
from tests import models
from tests.unit.cli.test_model import run

from schedtuna.errors import ModelError, UsageError
from schedtuna.export.limits import ExportLimits, even_rows, shrink
from schedtuna.model.file import read_model, write_model
from schedtuna.model.nets import Linear
from schedtuna.model.smaller import line_of, nr_parts, reduced

NETS = ("mlp", "step")


@pytest.mark.parametrize("kind", ["trees", "oblivious", *NETS])
def test_what_matters_stays_and_the_rest_is_its_mean(kind):
    model = models.make(kind)
    bins = even_rows(model)
    whole = nr_parts(model.core)
    counts = [whole, whole * 3 // 4, whole // 4]
    smaller = [reduced(model, count, bins) for count in counts]
    assert [nr_parts(one.core) for one in smaller] == counts
    logits = model.core.logits(bins)[:, 0].astype(float)
    apart = [one.core.logits(bins)[:, 0] - logits for one in smaller]
    assert not apart[0].any()
    spreads = [float(one.std()) for one in apart]
    assert spreads[0] < spreads[1] < spreads[2]
    if kind not in NETS:  # of nets the means are those of each layer, not of what follows
        assert all(abs(one.mean()) < 1 for one in apart)


def test_the_trees_that_add_the_most_stay():
    model = models.make("trees")
    bins, leaves = even_rows(model), model.core.arrays()["leaves"]
    leaf = model.core.accumulate(bins)[:, :-1]
    spread = leaves[np.arange(len(leaves)), leaf].std(axis=0)
    (kept,) = reduced(model, 1, bins).core.arrays()["leaves"]
    assert (kept == leaves[spread.argmax()]).all()


def test_a_line_decides_as_what_was_one():
    random = np.random.default_rng(3)
    rows = models.byte_inputs(4)
    model = models.model(Linear(np.array([[900, -500, 40, 0]]), np.array([-30_000])), rows)
    bins = random.integers(0, 256, (4000, 4)).astype(np.uint16)
    assert (line_of(model, bins).decide(bins) == model.decide(bins)).mean() > 0.95


@pytest.mark.parametrize(
    ("kind", "to"), [("trees", "bpf"), ("oblivious", "bpf"), ("step", "bpf"), ("mlp", "c")]
)
def test_limits_are_kept_and_what_was_changed_is_counted(kind, to):
    model = models.make(kind)
    bins = even_rows(model)
    before = ExportLimits(to).cost(model)
    limits = ExportLimits(to, max_bytes=before.bytes * 2 // 3)
    with pytest.raises(ModelError, match=f"takes {before.bytes} bytes, and .* are allowed"):
        limits.require(model)
    found = shrink(model, limits, bins, before)
    assert found.before == before
    assert found.after.bytes <= before.bytes * 2 // 3
    assert limits.require(found.model) == found.after
    decided, then = model.decide(bins), found.model.decide(bins)
    assert sum(count for count, _ in found.changed.values()) == len(bins)
    assert {label: changed for label, (_, changed) in found.changed.items()} == {
        label: int(((decided == k) & (then != k)).sum()) for k, label in enumerate(model.labels)
    }
    assert found.how in found.model.made_by


def test_what_fits_nowhere_is_refused():
    model = models.make("trees")
    with pytest.raises(ModelError, match="can't be made so small"):
        shrink(model, ExportLimits("bpf", max_bytes=8), even_rows(model), None)


def test_instructions_are_the_kernels():
    with pytest.raises(UsageError, match="--to bpf"):
        ExportLimits("c", max_instructions=1000)


@pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF needs root")
def test_the_verifiers_instructions_are_a_limit():
    model = models.make("trees")
    limits = ExportLimits("bpf", max_instructions=1)
    with pytest.raises(ModelError, match="instructions verified, and 1 instructions are allowed"):
        limits.require(model)
    line = ExportLimits("bpf", max_instructions=10**6).cost(line_of(model, even_rows(model))).instructions
    found = shrink(model, ExportLimits("bpf", max_instructions=line), even_rows(model), None)
    assert found.model.core.family == "linear"
    assert found.after.instructions == line


def test_export_shrinks_and_writes_the_model_and_its_card(capsys, tmp_path):
    model, path, rows = models.make("trees"), tmp_path / "m", tmp_path / "rows.csv"
    write_model(model, path)
    values = np.stack(
        [one.bins.edges()[column] for one, column in zip(model.inputs, even_rows(model, 500).T, strict=True)],
        1,
    )
    with rows.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["other", *(one.name for one in model.inputs)], *([7, *row] for row in values)]
        )
    asked = ("export", path, "--to", "bpf", "--max-bytes", ExportLimits("bpf").cost(model).bytes * 2 // 3)
    code, _, err = run(capsys, *asked, "-o", tmp_path / "refused")
    assert code == 1 and "--shrink" in err and not (tmp_path / "refused").exists()
    code, out, err = run(capsys, *asked, "--shrink", "--rows", rows, "-o", tmp_path / "o", "--json")
    assert code == 0, err
    assert "of decisions changed" in err
    smaller = read_model(tmp_path / "o/shrunk.model")
    assert nr_parts(smaller.core) < nr_parts(model.core)
    assert "shrunk.md" in json.loads(out)["files"]
    card = (tmp_path / "o/shrunk.md").read_text()
    assert "of 500 rows (rows.csv)" in card and smaller.version in card and model.version in card


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--shrink",), "how small"),
        (("--rows", "r.csv"), "--rows is of --shrink"),
        (("--max-bytes", "100", "--shrink", "--rows", "r.csv"), "no column"),
    ],
)
def test_what_makes_no_sense_is_told(capsys, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    code, _, err = run(capsys, "export", "default", "--to", "bpf", "-o", "o", *arguments)
    assert code in (1, 2) and told in err
    assert not (tmp_path / "o").exists()
