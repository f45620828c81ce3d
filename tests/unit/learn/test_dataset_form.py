import json

import numpy as np
import pytest

from schedtuna.errors import DatasetError, UsageError
from schedtuna.features.table import feature
from schedtuna.learn.dataset_form import (
    COLUMNS,
    Dataset,
    DatasetCard,
    DatasetFeature,
    DatasetRun,
    read_dataset,
    write_dataset,
)

pl = pytest.importorskip("polars")
NAMES = ("nice", "waited_ns", "burst_ns")


def made(task="burst", nr_rows=30, **given):
    rng = np.random.default_rng(3)
    runs = [
        DatasetRun(
            name=f"run {number}",
            sha256="0" * 64,
            kind="simulated",
            family="family",
            host="simulated",
            seed=number,
            nr_rows=nr_rows // 3,
        )
        for number in range(3)
    ]
    card = DatasetCard(
        task=task,
        features=[DatasetFeature.of(name) for name in NAMES],
        label="what it is",
        runs=runs,
        split="run",
        seed=1,
        **given,
    )
    rows = pl.DataFrame(
        {
            **{name: rng.integers(-20, 1 << 40, nr_rows) for name in NAMES},
            "label": rng.integers(0, 2, nr_rows),
            "group": np.arange(nr_rows) % 3,
            "family": ["family"] * nr_rows,
            "host": ["simulated"] * nr_rows,
            "time_ns": np.arange(nr_rows),
            "task": np.ones(nr_rows, int),
            "candidate_set": np.zeros(nr_rows, int),
            "weight": np.ones(nr_rows),
            "split": [("train", "validation", "test")[i % 3] for i in range(nr_rows)],
        },
        schema_overrides={name: getattr(pl, dtype) for name, dtype in COLUMNS.items()},
    )
    return Dataset(card, rows)


def test_what_is_written_is_what_is_read(tmp_path):
    written = write_dataset(tmp_path / "d", made())
    read = read_dataset(tmp_path / "d")
    assert read.card == written.card
    assert len(read.card.rows_sha256) == 64
    assert read.rows.equals(written.rows)


def test_bins_are_those_of_the_feature_table():
    data = made()
    assert data.bins().shape == data.features().shape == (30, 3)
    for number, name in enumerate(NAMES):
        expected = [feature(name).bins.quantise(int(value)) for value in data.rows[name]]
        assert data.bins()[:, number].tolist() == expected


def test_parts_are_disjoint_and_all():
    data = made()
    parts = [data.part(name) for name in ("train", "validation", "test", "none")]
    assert [len(part) for part in parts] == [10, 10, 10, 0]
    assert set(parts[2].column("group")) == {2}
    with pytest.raises(UsageError, match="did you mean train"):
        data.part("trian")


def test_what_is_there_is_not_replaced_unless_asked(tmp_path):
    write_dataset(tmp_path / "d", made())
    with pytest.raises(UsageError, match="holds a dataset already"):
        write_dataset(tmp_path / "d", made())
    write_dataset(tmp_path / "d", made(nr_rows=33), force=True)
    assert len(read_dataset(tmp_path / "d")) == 33
    (tmp_path / "d/notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        write_dataset(tmp_path / "d", made(), force=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99"),
        ({"task": "bursts"}, "did you mean burst"),
        ({"features": []}, "features"),
        ({"extra": 1}, "extra"),
        (
            {"features": [{"name": "nice", "kind": "linear", "lo": -20, "hi": 19, "nr_bins": 20}]},
            "other bins",
        ),
        (
            {"features": [{"name": "nicer", "kind": "linear", "lo": -20, "hi": 19, "nr_bins": 20}]},
            "no feature 'nicer'",
        ),
        ({"extras": {"more": "?"}}, "more is missing"),
        ({"rows_sha256": "1" * 64}, "SHA-256"),
        ({"runs": []}, "run that the card does not have"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(change, message, tmp_path):
    write_dataset(tmp_path / "d", made())
    path = tmp_path / "d/card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DatasetError, match=message):
        read_dataset(tmp_path / "d")


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("weight", float("nan"), "no number"),
        ("weight", -1.0, "negative"),
        ("label", -1, "out of its bounds"),
        ("split", "later", "unknown split 'later'"),
        ("nice", None, "gaps"),
        ("nice", 0.5, "expected Int64"),
    ],
)
def test_rows_that_are_not_of_the_form_are_not_written(column, values, message, tmp_path):
    data = made()
    dtype = pl.Float64 if values == 0.5 else data.rows.schema[column]
    rows = data.rows.with_columns(pl.lit(values, dtype=dtype).alias(column))
    with pytest.raises(DatasetError, match=message):
        write_dataset(tmp_path / "d", Dataset(data.card, rows))


@pytest.mark.parametrize("name", ["card.json", "rows.parquet"])
def test_files_cut_anywhere_are_refused(name, tmp_path):
    write_dataset(tmp_path / "d", made())
    path = tmp_path / "d" / name
    content = path.read_bytes()
    for nr_bytes in range(0, len(content) - 1, 97):
        path.write_bytes(content[:nr_bytes])
        with pytest.raises(DatasetError):
            read_dataset(tmp_path / "d")


def test_a_class_beyond_the_cards_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="0 to 0"):
        write_dataset(tmp_path / "d", made("class", classes=["only one"]))
