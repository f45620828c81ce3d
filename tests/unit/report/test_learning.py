"""The page of a training says what its card says, and nothing of a name becomes markup."""

from __future__ import annotations

import json

import pytest
from tests import datasets

from schedtuna.evidence.result import Verdict
from schedtuna.learn.model_card import make_card
from schedtuna.learn.training_run import TrainingOptions, train_models
from schedtuna.report.learning import training_page
from schedtuna.report.page import render

pytest.importorskip("lightgbm", reason="the extra 'learn' is not installed")
pytest.importorskip("xgboost", reason="the extra 'learn' is not installed")

WORTH = [
    {
        "scheduler": name,
        "turnaround": value,
        "turnaround_bounds": (value - 0.1, value + 0.1),
        "latency": 1.0,
        "latency_bounds": (0.9, 1.1),
        "regret": value - 0.5,
        "by_load": {},
    }
    for name, value in (("fair", 1.0), ("tree", 0.7))
]


@pytest.fixture(scope="module")
def card():
    data = datasets.make("burst", nr_rows=150)
    options = TrainingOptions(models=("tree", "last_value"), budget=1)
    made = make_card(data, train_models(data, options), options) | {"worth": WORTH}
    return json.loads(json.dumps(made))


def test_a_page_has_every_model_and_figure(card):
    page = training_page(card)
    html = render(page)
    assert html.count("<svg") == 6
    for text in ("tree", "last_value", "on permuted labels", "What they are worth when they decide"):
        assert text in html
    mean = next(one for one in card["problems"][0]["models"] if one["name"] == "tree")["metrics"]["auc"][
        "mean"
    ]
    assert f"{mean:.3f}" in html


def test_a_model_is_better_only_where_intervals_are_apart(card):
    problem = json.loads(json.dumps(card["problems"][0]))

    def told(model: tuple[float, float], rule: tuple[float, float]) -> Verdict:
        for one in problem["models"]:
            low, high = rule if one["is_rule"] else model
            one["metrics"]["octaves_off"] |= {"low": low, "high": high, "mean": (low + high) / 2}
        return training_page(card | {"problems": [problem]}).tone

    assert told((0.2, 0.4), (0.5, 0.7)) is Verdict.IMPROVED
    assert told((0.5, 0.7), (0.2, 0.4)) is Verdict.WORSE
    assert told((0.2, 0.6), (0.5, 0.7)) is Verdict.NO_EVIDENCE


def test_hostile_names_stay_text(card):
    hostile = json.loads(json.dumps(card))
    hostile["problems"][0]["labels"] = ["<b>", "<script>alert(1)</script>"]
    hostile["dataset"]["notes"] = ["<img src=x>"]
    html = render(training_page(hostile))
    assert "<script>" not in html and "<img src=x>" not in html
