"""Trees of LightGBM and XGBoost, as these store them, decide over whole numbers as the libraries do."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from tests.unit.cli.test_model import run
from tests.unit.cli.test_model_import import NAMES, made_rows

from schedtuna.errors import ModelError
from schedtuna.learn.float_trees import FloatTree, FloatTrees, Leaf, TreeSplit
from schedtuna.learn.importing import import_file
from schedtuna.learn.tree_import import import_trees
from schedtuna.learn.ubjson import parse_ubjson
from schedtuna.model.decider import MigrationDecider
from schedtuna.model.file import read_model

lightgbm = pytest.importorskip("lightgbm", reason="the extra 'learn' is not installed")
xgboost = pytest.importorskip("xgboost", reason="the extra 'learn' is not installed")

ROWS = made_rows(3000)
TARGET = (
    ROWS[:, 3] - ROWS[:, 4] + ROWS[:, 1] / 200 + np.random.default_rng(4).normal(0, 0.2, 3000) > 0.1
).astype(float)
OTHERS = made_rows(3000, seed=9)


def of_lightgbm(path, names=NAMES):
    data = lightgbm.Dataset(ROWS, TARGET, feature_name=list(names))
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1, "seed": 1}, data, 20)
    booster.save_model(path)
    return booster.predict(OTHERS, raw_score=True) > 0


def of_xgboost(path):
    data = xgboost.DMatrix(ROWS.astype(np.float32), TARGET, feature_names=list(NAMES))
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1, "max_depth": 5}, data, 20)
    booster.save_model(path)
    others = xgboost.DMatrix(OTHERS.astype(np.float32), feature_names=list(NAMES))
    return booster.predict(others, output_margin=True) > 0


WRITERS = {".txt": of_lightgbm, ".json": of_xgboost, ".ubj": of_xgboost}


def written_rows(path, rows=ROWS, names=NAMES):
    lines = [",".join(names), *(",".join(map(repr, row)) for row in rows.tolist())]
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("suffix", WRITERS)
def test_trees_decide_as_their_library(suffix, capsys, tmp_path):
    file, out = tmp_path / f"trees{suffix}", tmp_path / "mine.safetensors"
    expected = WRITERS[suffix](file)
    rows = written_rows(tmp_path / "rows.csv")
    code, text, error = run(capsys, "import", file, "--rows", rows, "-o", out, "--json")
    assert code == 0, error
    told = json.loads(text)
    assert told["decisions_changed"] < 0.01 and set(NAMES[5:]) <= set(told["unasked"])
    assert read_model(out).labels == ("stay", "migrate") and 0.2 < expected.mean() < 0.8
    found = MigrationDecider(out).decide_batch(OTHERS.astype(np.float32))
    assert (found != expected).mean() < 0.01


def test_both_forms_of_xgboost_are_one_model(tmp_path):
    columns = dict(zip(NAMES, ROWS.T, strict=True))
    of_xgboost(tmp_path / "trees.json")
    of_xgboost(tmp_path / "trees.ubj")
    versions = {
        import_file(tmp_path / f"trees{s}", columns, "one").model.core.arrays()["leaves"].tobytes()
        for s in (".json", ".ubj")
    }
    assert len(versions) == 1


def test_names_say_more_than_places(tmp_path):
    """Columns in another order are the same inputs; others are refused."""
    of_lightgbm(tmp_path / "trees.txt")
    columns = dict(zip(NAMES, ROWS.T, strict=True))
    turned = dict(reversed(columns.items()))
    first, second = (import_file(tmp_path / "trees.txt", one) for one in (columns, turned))
    assert first.model.version == second.model.version
    with pytest.raises(ModelError, match="other columns"):
        import_file(tmp_path / "trees.txt", {f"x_{name}": values for name, values in columns.items()})


def counted_trees(*thresholds: float) -> FloatTrees:
    """One more for each threshold that is exceeded; above the half of them is the second label."""
    trees = tuple(TreeSplit(0, one, Leaf(-1.0), Leaf(1.0)) for one in thresholds)
    return FloatTrees(trees, 0.0, (), 1)


def test_whole_numbers_are_exact_where_bins_hold_them():
    trees = counted_trees(17.0, 42.5, 99.9)
    values = np.arange(0.0, 150.0)
    made = import_trees(trees, "made", {"nr": values}, "made")
    assert made.decisions_changed == 0 and made.model.inputs[0].bins.nr_bins <= 256
    found = made.model.core.logits(made.model.quantise(np.arange(150)[:, None]))[:, 0]
    np.testing.assert_array_equal(np.sign(found), np.where(values > 42, 1, -1))


def test_octaves_serve_where_linear_bins_do_not():
    """Thresholds of 100, 1,000 ... 10^9 ns: linear bins of 4 ms would make the small ones one."""
    thresholds = [10.0**power for power in range(2, 10)]
    values = np.round(10 ** np.random.default_rng(1).uniform(1, 10, 4000))
    made = import_trees(counted_trees(*thresholds[:3]), "made", {"burst_ns": values}, "made")
    assert made.model.inputs[0].bins.kind == "log2" and made.decisions_changed < 0.01


def test_what_it_costs_is_counted():
    """Fractions that lie between two thousandths can't be told apart any more, and that is said."""
    values = np.array([50.0001, 50.0004, 0.1, 99.5])
    made = import_trees(counted_trees(50.00025), "made", {"share": values}, "made")
    assert made.decisions_changed == 0.25 and "25% of 4 rows" in made.model.made_by


def test_trees_that_ask_nothing_are_refused():
    with pytest.raises(ModelError, match="asks nothing"):
        import_trees(FloatTrees((Leaf(1.0),), 0.0, (), 1), "made", {"nr": np.arange(9.0)}, "made")


def test_trees_too_deep_to_walk_are_refused():
    tree: FloatTree = Leaf(0.0)
    for threshold in range(3000):
        tree = TreeSplit(0, float(threshold), tree, Leaf(1.0))
    with pytest.raises(ModelError, match="deep"):
        import_trees(FloatTrees((tree,), 0.0, (), 1), "made", {"nr": np.arange(9.0)}, "made")


@pytest.mark.parametrize("suffix", WRITERS)
def test_mutations_are_read_or_refused(suffix, tmp_path):
    path = tmp_path / f"trees{suffix}"
    WRITERS[suffix](path)
    whole, random = path.read_bytes(), np.random.default_rng(3)
    columns = dict(zip(NAMES, ROWS[:50].T, strict=True))
    for _ in range(12):
        content = bytearray(whole)
        for at in random.integers(0, len(content), random.integers(1, 8)).tolist():
            content[at] = int(random.integers(256))
        if random.random() < 0.2:
            del content[int(random.integers(len(content))) :]
        path.write_bytes(content)
        with contextlib.suppress(ModelError):
            import_file(path, columns)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"{i\x01aU\xff}", {"a": 255}),
        (b"{L\0\0\0\0\0\0\0\x01a[$d#i\x02\x3f\x80\0\0\xc0\0\0\0}", {"a": [1.0, -2.0]}),
        (b"[#i\x03ZTF", [None, True, False]),
        (b"[SU\x02okCxI\xff\xfe]", ["ok", "x", -2]),
        (b"{$i#i\x01i\x01a\x07", {"a": 7}),
    ],
)
def test_ubjson_is_read_as_it_is_specified(content, value):
    assert parse_ubjson(content) == value


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[i",
        b"[" * 99,
        b"[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"[$Z#l\x7f\xff\xff\xff",
        b"Sd\0\0\0\0",
        b"x",
        b"ZZ",
        b"[$d]",
        b"Si\xff",
    ],
)
def test_ubjson_that_is_none_is_refused(content):
    with pytest.raises(ValueError, match="UBJSON"):
        parse_ubjson(content)
