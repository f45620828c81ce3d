"""A model that learns further replaces the old one only where later runs show a gain; versions are kept."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tests import datasets
from tests.unit.cli.test_train import run

from schedtuna.errors import DatasetError, ModelError
from schedtuna.learn.dataset_form import Dataset, write_dataset
from schedtuna.learn.float_trees import added_to, scaled
from schedtuna.learn.model_card import reference_of
from schedtuna.learn.model_versions import drift, folder_of, read_versions
from schedtuna.learn.net_fits import fit_linear, move_line
from schedtuna.learn.problem import problems_of
from schedtuna.learn.training_run import TrainingOptions, fit_algorithm
from schedtuna.learn.tree_fits import boost_further
from schedtuna.learn.updating import update_model
from schedtuna.model.file import read_model, write_model
from schedtuna.model.model import DecisionModel
from schedtuna.model.nets import Linear
from schedtuna.model.trees import BoxTrees

pytest.importorskip("lightgbm", reason="the extra 'learn' is not installed")
pytest.importorskip("xgboost", reason="the extra 'learn' is not installed")
OPTIONS = TrainingOptions(budget=1)


def made(task: str = "class", *, seed: int, nr_rows: int = 150, nr_runs: int = 24) -> Dataset:
    """A dataset whose runs have hashes of their own; six of 24 judge."""
    data = datasets.make(task, nr_runs=nr_runs, nr_rows=nr_rows, seed=seed)
    runs = [
        one.model_copy(update={"sha256": f"{seed}-{number}"}) for number, one in enumerate(data.card.runs)
    ]
    return replace(data, card=data.card.model_copy(update={"runs": runs}))


def mixed_up(data: Dataset) -> Dataset:
    """The same rows with labels of others: nothing is to be learnt from them."""
    import polars as pl

    labels = np.random.default_rng(1).permutation(data.labels())
    return replace(data, rows=data.rows.with_columns(pl.Series("label", labels)))


def trained(data: Dataset, algorithm: str = "tree") -> DecisionModel:
    (problem,) = problems_of(data)
    return fit_algorithm(algorithm, problem, OPTIONS).model


def test_a_better_model_passes():
    old = trained(mixed_up(made(seed=1)))
    found = update_model(made(seed=2), old, OPTIONS)
    assert found.verdict.passed and found.verdict.nr_groups == 6
    assert np.mean(found.after) > 0.9 > np.mean(found.before)


@pytest.mark.parametrize("task", ["burst", "class", "next"])
def test_one_that_is_as_good_does_not(task):
    algorithm = "lightgbm" if task == "next" else "tree"
    old = trained(made(task, seed=1, nr_rows=600), algorithm)
    found = update_model(made(task, seed=2), old, OPTIONS)
    assert not found.verdict.passed and ("no gain" in found.verdict.why or "worse" in found.verdict.why)
    assert np.mean(found.before) > 0.85


def test_runs_that_a_version_knows_do_not_judge():
    data = made(seed=2)
    old = trained(mixed_up(made(seed=1)))
    seen = frozenset(run.sha256 for run in data.card.runs[:4])  # one of them is of the test rows
    found = update_model(data, old, OPTIONS, seen=seen)
    assert found.verdict.nr_groups == 5 and found.verdict.passed and "1 runs" in found.left_out["judges"]
    found = update_model(data, old, OPTIONS, seen=frozenset(found.runs))
    assert found.verdict.nr_groups == 0 and not found.verdict.passed


def test_added_trees_are_what_lightgbm_adds():
    """Logits move by its predictions, in the old model's units, but for the rounding of each leaf."""
    old = trained(made(seed=1, nr_rows=60))
    (problem,) = problems_of(made(seed=2, nr_rows=300), like=old)
    times, more = 1 / float(old.core.logits(problem.train.bins).std()), 0.25
    start = {
        part: np.asarray(old.core.logits(problem.parts[part].bins)[:, 0] * times + more, np.float64)
        for part in ("train", "validation")
    }
    added = boost_further(problem, start, 1)
    assert isinstance(old.core, BoxTrees)
    core = added_to(old.core, [scaled(one, 1 / times) for one in added.trees], (added.base + more) / times)
    rows = problem.test.bins
    expected = old.core.logits(rows)[:, 0] + (more + added.scores(rows)) / times
    assert added.trees and np.ptp(added.scores(rows)) > 0.1
    assert np.abs(core.logits(rows)[:, 0] - expected).max() <= (len(added.trees) + 1) / 2 + 1e-6


def test_a_line_moves_as_far_as_its_ridge_lets_it():
    data = made(seed=1)
    (problem,) = problems_of(data)
    line = fit_linear(problem, {"ridge": 1e-3}, 1)
    turned = replace(
        problem,
        parts={
            name: replace(rows, target=1 - rows.target, truth=~rows.truth)
            for name, rows in problem.parts.items()
        },
    )
    rows = problem.test

    def share_right(ridge: float) -> float:
        assert isinstance(line.model.core, Linear)
        core = move_line(line.model.core, turned, (1 / line.unit, 0.0), {"ridge": ridge})
        return float(((core.logits(rows.bins)[:, 0] > 0) != rows.truth).mean())

    assert share_right(1e9) < 0.2 and share_right(1e-3) > 0.8


def test_a_dataset_of_something_else_is_refused():
    old = trained(made(seed=1))
    with pytest.raises(DatasetError, match="the model decides kind0 or kind1"):
        update_model(made("burst", seed=2), old, OPTIONS)
    other = replace(old, inputs=(old.inputs[0]._replace(name="other"), *old.inputs[1:]))
    with pytest.raises(DatasetError, match="no feature of: other"):
        update_model(made(seed=2), other, OPTIONS)


def test_drift_is_told_of_what_moved():
    data = made(seed=1)
    (problem,) = problems_of(data)
    reference = reference_of(problem)
    assert max(drift(reference, problem).values()) < 0.01
    moved = problem.train.bins.copy()
    moved[:, 1] = moved[:, 1].max()
    rows = replace(problem.train, bins=moved)
    found = drift(reference, replace(problem, parts=problem.parts | {"train": rows}))
    assert found[problem.names[1]] > 0.25 and found[problem.names[0]] < 0.01


def test_the_command_replaces_once_and_keeps_both(capsys, tmp_path):
    path = tmp_path / "mine.safetensors"
    old = replace(trained(mixed_up(made(seed=1))), name="mine")
    write_model(old, path)
    write_dataset(tmp_path / "new", made(seed=2))
    code, text, error = run(capsys, "train", tmp_path / "new", "--update", path, "--budget", 1, "--json")
    told = json.loads(text)
    assert code == 0 and told["replaced"] and told["before"] == old.version, error
    assert read_model(path).version == told["version"] and read_model(path).name == "mine"
    kept = {one.name for one in folder_of(path).iterdir()}
    assert kept == {f"{old.version}.safetensors", f"{told['version']}.safetensors", "versions.json"}
    code, text, _ = run(capsys, "train", tmp_path / "new", "--update", path, "--budget", 1)
    assert code == 0 and "stays version" in text and "0 groups" in " ".join(text.split())
    assert read_model(path).version == told["version"]
    first, second = read_versions(path).versions
    assert (first.outcome, second.outcome) == ("in charge", "kept aside")
    assert first.reference and first.replaced == old.version


def test_versions_that_are_damaged_are_refused(capsys, tmp_path):
    path = tmp_path / "mine.safetensors"
    write_model(trained(made(seed=1)), path)
    folder_of(path).mkdir()
    write_dataset(tmp_path / "new", made(seed=2, nr_rows=40))
    for content in ("", "[]", '{"version": 99}', '{"versions": [{}]}'):
        (folder_of(path) / "versions.json").write_text(content)
        with pytest.raises(ModelError):
            read_versions(path)
        code, _, error = run(capsys, "train", tmp_path / "new", "--update", path)
        assert code == 1 and "versions.json" in error.replace("\n", "")


@pytest.mark.parametrize(
    ("more", "told"),
    [(["-o", "out"], "leave -o"), (["--model", "last_value"], "trained anew"), ([], "no such model")],
)
def test_bad_orders_are_refused(more, told, capsys, tmp_path):
    path = tmp_path / "mine.safetensors"
    if more:
        write_model(trained(made(seed=1)), path)
    write_dataset(tmp_path / "new", made(seed=2, nr_rows=40))
    code, _, error = run(capsys, "train", tmp_path / "new", "--update", path, *more)
    assert code == 2 and told in " ".join(error.split())
