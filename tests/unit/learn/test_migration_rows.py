import numpy as np
import pytest
from scipy.stats import ttest_1samp

from schedtuna.errors import DatasetError
from schedtuna.learn.building import build_dataset
from schedtuna.learn.made_rows import BuildOptions
from schedtuna.learn.migration_rows import CERTAINTY, HORIZONS, certainty_of_sign, migration_rows
from schedtuna.learn.sources import RunSource
from schedtuna.sim import simulate
from schedtuna.sim.futures import MigrationFutures
from schedtuna.sim.state import NextMigration

pytest.importorskip("polars")


def test_certainty_is_students():
    gains = np.random.default_rng(1).normal(0.5, 1, (50, 8, 3))
    found = certainty_of_sign(gains)
    expected = 1 - ttest_1samp(gains, 0, axis=1).pvalue
    assert np.allclose(found, expected)
    assert certainty_of_sign(np.zeros((1, 8, 3))).tolist() == [[0, 0, 0]]
    assert certainty_of_sign(np.full((1, 8, 3), 5.0)).tolist() == [[1, 1, 1]]
    assert certainty_of_sign(gains[:, :1]).max() == 0


def test_of_noise_few_are_decided():
    gains = np.random.default_rng(2).normal(0, 1, (4000, 8, 3))
    assert (certainty_of_sign(gains) >= CERTAINTY).mean() == pytest.approx(1 - CERTAINTY, abs=0.01)


def asked(gains, **given):
    values = {"nth": 0, "at_ns": 5, "task": 3, "source": 0, "destination": 1, "wakes": True, "nr_idle": 1}
    values |= {"nr_busy": 3, "source_load": 1024, "destination_load": 256}
    return MigrationFutures(NextMigration(**values | given), True, np.array(gains))


def test_labels_are_signs_of_the_middle_horizon():
    pairs = np.arange(8)[:, None]
    better, worse = 1000 + pairs + np.zeros((8, 3), int), -1000 - pairs - np.zeros((8, 3), int)
    torn = np.where(pairs % 2, 1000, -1001) + np.zeros((8, 3), int)
    rows, signs = migration_rows([asked(better), asked(worse), asked(torn)])
    assert rows.columns["label"].tolist() == [1, 0, 2]
    assert signs[:, 1].tolist() == [1, -1, 0]
    assert rows.columns["src_load_permille"].tolist() == [1000] * 3
    assert rows.columns["dst_load_permille"].tolist() == [250] * 3
    assert rows.columns[f"gain_{HORIZONS[1]}_ns"][1] == worse[:, 1].mean()


def test_a_dataset_of_migrations_keeps_what_is_undecided():
    trace = simulate("poisson:load=0.8", cpus=4, duration_s=0.4, seed=3)
    data = build_dataset(
        [RunSource.of(trace, "poisson")], BuildOptions("migrate", split="time", most_rows=40)
    )
    assert 20 <= len(data) <= 40
    assert data.card.classes == ["stay", "migrate", "undecided"]
    assert data.card.settings["share_decided"].keys() == set(HORIZONS)
    gain, certainty = data.column("gain_50ms_ns"), data.column("certainty_50ms")
    expected = np.where(certainty < CERTAINTY, 2, np.where(gain > 0, 1, 0))
    assert data.labels().tolist() == expected.tolist()
    assert not set(data.card.extras) & set(data.feature_names)


def test_pairs_that_are_all_one_are_told():
    tasks = {f"task{n}": {"loop": -1, "run": 700 + 410 * n, "sleep": 500 + 170 * n} for n in range(7)}
    trace = simulate({"tasks": tasks, "global": {"duration": 1}}, cpus=3, duration_s=0.25)
    data = build_dataset([RunSource.of(trace, "fixed")], BuildOptions("migrate", split="time"))
    assert "draws nothing" in data.card.runs[0].notes[0]


def test_a_recording_is_refused():
    trace = simulate("poisson:load=0.5", cpus=2, duration_s=0.3)
    del trace.manifest["simulation"]
    with pytest.raises(DatasetError, match="draws nothing"):
        build_dataset([RunSource.of(trace, "recorded")], BuildOptions("migrate"))


def test_another_scheduler_is_refused():
    trace = simulate("poisson:load=0.8", "rr", cpus=2, duration_s=0.3)
    with pytest.raises(DatasetError, match="asked for by `fair` alone"):
        build_dataset([RunSource.of(trace, "rr")], BuildOptions("migrate"))
