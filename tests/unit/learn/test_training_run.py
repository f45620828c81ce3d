"""What is trained finds what is there, is what is exported, and finds nothing where nothing is."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import polars as pl
import pytest
from tests import datasets

from schedtuna.errors import DatasetError, UsageError
from schedtuna.learn.dataset_form import Dataset
from schedtuna.learn.model_card import make_card, prepare_training_folder, write_training
from schedtuna.learn.problem import narrowed, problems_of
from schedtuna.learn.training_run import LEARNED, TrainingOptions, train_models
from schedtuna.model.bins import Bins
from schedtuna.model.file import read_model
from schedtuna.model.runtime import ModelRuntime

pytest.importorskip("lightgbm", reason="the extra 'learn' is not installed")
pytest.importorskip("xgboost", reason="the extra 'learn' is not installed")

QUICK = TrainingOptions(models=("lightgbm", "linear"), budget=1)


def by_name(outcome):
    return {one.name: one for one in outcome.outcomes}


@pytest.fixture(scope="module")
def bursts():
    return datasets.make("burst")


@pytest.fixture(scope="module")
def all_models(bursts):
    pytest.importorskip("torch", reason="the extra 'rl' is not installed")
    (outcome,) = train_models(bursts, TrainingOptions(budget=1))
    return outcome


def test_every_algorithm_learns_what_is_there_and_the_control_does_not(all_models):
    found = by_name(all_models)
    assert set(LEARNED) <= found.keys()
    for name in LEARNED:
        assert found[name].metrics["auc"].mean > 0.9, name
        assert found[name].metrics["octaves_off"].mean < 1.2, name
    control = all_models.control.metrics["auc"]
    assert 0.4 < control.mean < 0.6
    assert not any("permuted" in note for note in all_models.notes)


def test_a_median_of_several_bursts_beats_the_last_one(all_models):
    """Bursts are a mean times gamma noise: by theory the mean of several errs less than one of them."""
    found = by_name(all_models)
    errors = {name: one.metrics["octaves_off"].mean for name, one in found.items()}
    assert errors["running_median"] < errors["last_value"]
    assert errors["exponential_average"] < errors["last_value"]


def test_the_exported_model_decides_as_the_trained_one(all_models):
    bins = all_models.problem.test.bins
    for name in LEARNED:
        one = by_name(all_models)[name]
        exact, score = one.fitted.exact(bins), one.fitted.score(bins)
        assert np.corrcoef(exact, score)[0, 1] > 0.99, name
        assert one.rounding.decisions_changed < 0.05, name
        runtime = ModelRuntime(one.fitted.model)
        assert (runtime.decide(bins) == (score > 0)).all()


def test_the_same_seed_gives_the_same_models(bursts):
    first, again = (by_name(train_models(bursts, QUICK)[0]) for _ in range(2))
    for name, one in first.items():
        assert one.fitted.model.version == again[name].fitted.model.version


def test_the_test_rows_don_t_change_what_is_learnt(bursts):
    is_test = pl.col("split") == "test"
    other = pl.when(is_test).then(pl.col("label").reverse()).otherwise(pl.col("label")).alias("label")
    changed = Dataset(bursts.card, bursts.rows.with_columns(other))
    first, again = (by_name(train_models(data, QUICK)[0]) for data in (bursts, changed))
    for name, one in first.items():
        assert one.fitted.model.version == again[name].fitted.model.version
        assert one.calibration == again[name].calibration


def test_plain_rules_look_at_the_past_alone(bursts):
    last = bursts.rows["time_ns"].to_numpy() > 5 * 10**9
    cut = Dataset(bursts.card, bursts.rows.filter(~pl.Series(last)))
    from schedtuna.learn.baselines import BASELINES

    for name in ("last_value", "running_median", "exponential_average", "frequency"):
        whole = BASELINES[name].score(bursts, np.ones(len(bursts), bool))[~last]
        assert np.array_equal(whole, BASELINES[name].score(cut, np.ones(len(cut), bool)), equal_nan=True)


def test_the_last_value_is_the_burst_before(bursts):
    from schedtuna.learn.baselines import BASELINES

    score = BASELINES["last_value"].score(bursts, np.ones(len(bursts), bool))
    before = bursts.rows["burst_ns"].to_numpy()
    assert np.array_equal(np.isnan(score), before == 0)
    assert np.allclose(np.exp2(score[before > 0]), before[before > 0])


def test_of_three_classes_each_is_told_from_the_others():
    found = train_models(datasets.make("class", classes=3), TrainingOptions(models=("lightgbm",), budget=1))
    assert [outcome.problem.labels for outcome in found] == [
        ("other", "kind0"),
        ("other", "kind1"),
        ("other", "kind2"),
    ]
    assert all(outcome.best.metrics["auc"].mean > 0.85 for outcome in found)


def test_of_two_classes_there_is_one_model_and_a_majority():
    (outcome,) = train_models(datasets.make("class"), TrainingOptions(models=("tree", "majority"), budget=2))
    found = by_name(outcome)
    assert outcome.problem.labels == ("kind0", "kind1")
    assert found["majority"].metrics["auc"].mean == 0.5
    assert found["tree"].metrics["auc"].mean > 0.85


def test_choices_are_learnt_and_the_rule_behind_them_is_right():
    (outcome,) = train_models(
        datasets.make("next"),
        TrainingOptions(models=("lightgbm", "shortest_last_burst", "waited_longest"), budget=1),
    )
    found = by_name(outcome)
    assert found["shortest_last_burst"].metrics["chosen_first"].mean > 0.99  # ties are shared
    assert found["lightgbm"].metrics["chosen_first"].mean > 0.8
    assert abs(found["waited_longest"].metrics["chosen_first"].mean - 1 / 3) < 0.1
    assert found["lightgbm"].metrics["chance"].mean == pytest.approx(1 / 3)
    assert "2" in outcome.notes[0] or "100.0%" in outcome.notes[0]


def test_choices_of_one_do_not_count():
    data = datasets.make("next")
    alone = data.rows["candidate_set"] % 2 == 0
    first = data.rows["label"] == 1
    data = Dataset(data.card, data.rows.filter(~alone | first))
    (problem,) = problems_of(data)
    assert np.bincount(problem.train.choice).max() == 3
    assert min(size for size in np.bincount(problem.train.choice) if size) == 3
    assert "(50.0%)" in problem.notes[0]


def test_only_as_many_inputs_as_are_wanted_are_kept(bursts):
    (outcome,) = train_models(bursts, TrainingOptions(models=("linear",), budget=1, most_inputs=1))
    assert outcome.problem.names == ("burst_ns",)
    assert any("left out: nice" in note for note in outcome.notes)


def test_bins_are_at_most_a_byte():
    for bins in (Bins("linear", 0, 1000, 1001), Bins("log2", 0, 2**40, 500, 16), Bins("linear", -5, 5, 11)):
        found = narrowed(bins)
        assert found.nr_bins <= 256
        assert (found.lo, found.hi) == (bins.lo, bins.hi)


def test_what_is_written_is_what_was_trained(tmp_path, bursts):
    found = train_models(bursts, QUICK)
    prepare_training_folder(tmp_path)
    written = write_training(tmp_path, bursts, found, QUICK)
    for name, path in written.models.items():
        assert read_model(path).version == by_name(found[0])[name].fitted.model.version
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["dataset"]["task"] == "burst" and len(card["code_sha256"]) == 64
    shares = card["problems"][0]["reference"][0]["shares"]
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text())))
    told = {(line["model"], line["metric"]): line["mean"] for line in lines}
    own = by_name(found[0])["lightgbm"].metrics["auc"].mean
    assert float(told["lightgbm", "auc"]) == pytest.approx(own, rel=1e-5)
    with pytest.raises(UsageError, match="holds a training already"):
        prepare_training_folder(tmp_path)
    prepare_training_folder(tmp_path, force=True)
    (tmp_path / "other.txt").write_text("x")
    with pytest.raises(UsageError, match="something else"):
        prepare_training_folder(tmp_path, force=True)


def test_a_card_is_json_without_infinities(bursts):
    found = train_models(bursts, QUICK)
    json.dumps(make_card(bursts, found, QUICK), allow_nan=False)


def only(data: Dataset, expression) -> Dataset:
    return Dataset(data.card, data.rows.filter(expression))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: only(d, pl.col("split") != "test"), "the test part has 0 rows"),
        (lambda d: only(d, pl.col("split") != "train"), "the training part has no rows"),
        (lambda d: Dataset(d.card, d.rows.with_columns(weight=pl.lit(0.0))), "the weight 0"),
        (
            lambda d: Dataset(
                d.card, d.rows.with_columns(pl.lit(0).alias(name) for name in datasets.FEATURES)
            ),
            "no feature differs",
        ),
        (lambda d: Dataset(d.card, d.rows.with_columns(label=pl.lit(7))), "all rows are 'long'"),
    ],
)
def test_rows_that_can_t_teach_are_refused(bursts, change, told):
    with pytest.raises(DatasetError, match=told):
        train_models(change(bursts), QUICK)


def test_one_class_is_refused():
    data = datasets.make("class")
    with pytest.raises(DatasetError, match="the same class: kind0"):
        train_models(only(data, pl.col("label") == 0), QUICK)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"models": ("lightbgm",)}, "lightgbm"),
        ({"models": ("waited_longest",)}, "no rule for datasets of the task burst"),
        ({"features": ("nyce",)}, "no feature 'nyce'"),
        ({"most_inputs": 17}, "1 to 16"),
        ({"budget": 0}, "budget"),
        ({"penalty": 0.1}, "task `migrate`"),
    ],
)
def test_options_that_are_none_are_refused(bursts, options, told):
    with pytest.raises(UsageError, match=told) as raised:
        train_models(bursts, TrainingOptions(**options))
    assert raised.value
