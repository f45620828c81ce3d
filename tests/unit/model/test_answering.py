"""Requests in lines of JSON are answered as the model decides, and what is none costs the others nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests import models

from schedtuna.model.answering import ModelAnswers
from schedtuna.model.decider import MigrationDecider
from schedtuna.model.migration import made_by_hand

FIELDS = ("cpu", "cpu_idle", "cpu_not_idle", "src_dom_load", "dst_dom_load")
GOOD = {"cpu": 4, "cpu_idle": 2, "cpu_not_idle": 6, "src_dom_load": 0.9, "dst_dom_load": 0.2}


def ask(answers: ModelAnswers, *requests: object) -> list[dict]:
    lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in requests]
    return [json.loads(line) for line in answers.answer(lines)]


@pytest.mark.parametrize("kind", ["trees", "mlp", "linear of four"])
def test_values_are_decided_on_as_the_model_does(kind):
    model = models.make(kind)
    names = [one.name for one in model.inputs]
    values = model.rows.values[:40]
    told = ask(
        ModelAnswers(model),
        *({"id": n, "values": dict(zip(names, row, strict=True))} for n, row in enumerate(values.tolist())),
    )
    labels = model.decide(model.rows.bins[:40])
    assert told == [{"id": n, "decision": model.labels[label]} for n, label in enumerate(labels)]


def test_features_are_decided_on_as_the_decider_does():
    rows = np.zeros((100, 10), np.float32)
    random = np.random.default_rng(1)
    rows[:, :3], rows[:, 3:5] = random.integers(0, 9, (100, 3)), random.uniform(-0.1, 1.1, (100, 2))
    told = ask(
        ModelAnswers(made_by_hand()),
        *({"features": dict(zip(FIELDS, row, strict=False))} for row in rows.astype(float).tolist()),
    )
    expected = MigrationDecider(made_by_hand()).decide_batch(rows)
    assert [one["decision"] == "migrate" for one in told] == expected.tolist()
    assert 0 < expected.sum() < 100


BAD = [
    (b"", "no request"),
    (b"\xff{}", "no request"),
    (b"[" * 100_000, "no request"),
    ([], "no request"),
    ({}, "values are named numbers"),
    ({"values": {}, "features": {}}, "not both"),
    ({"valves": {}}, "valves"),
    ({"features": GOOD | {"cpu": True}}, "cpu is True"),
    ({"features": GOOD | {"cpu": -1}}, "cpu is -1"),
    ({"features": GOOD | {"cpu_idle": 0.5}}, "cpu_idle is 0.5"),
    ({"features": GOOD | {"cpu_idle": 1 << 25}}, "cpu_idle"),
    ({"features": GOOD | {"src_dom_load": "1"}}, "src_dom_load is '1'"),
    ({"features": GOOD | {"src_dom_load": None}}, "src_dom_load is None"),
    ({"features": GOOD | {"src_dom_load": 10**400}}, "401 digits"),
    (b'{"features": {"cpu": NaN}}', "missing"),
    ({"features": {"cpu": 1}}, "cpu_idle is missing"),
    ({"features": GOOD | {"more": 1}}, "'more' is none"),
    ({"id": [1], "features": GOOD}, "an id"),
    (
        {"values": {"nr_idle_cpus": 1.5, "nr_busy_cpus": 0, "src_load_permille": 0, "dst_load_permille": 0}},
        "1.5",
    ),
    (
        {
            "values": {
                "nr_idle_cpus": 2**63,
                "nr_busy_cpus": 0,
                "src_load_permille": 0,
                "dst_load_permille": 0,
            }
        },
        "64",
    ),
]


@pytest.mark.parametrize(("request_", "told"), BAD, ids=[told for _, told in BAD])
def test_what_is_no_request_is_told_and_costs_others_nothing(request_, told):
    answers = ModelAnswers(made_by_hand())
    first, bad, last = ask(answers, {"id": "a", "features": GOOD}, request_, {"id": "b", "features": GOOD})
    assert told in bad["error"] and "decision" not in bad
    assert first == {"id": "a", "decision": "migrate"} and last == {"id": "b", "decision": "migrate"}
    assert (answers.nr_requests, answers.nr_refused) == (3, 1)


def test_features_need_a_model_of_migrations():
    (told,) = ask(ModelAnswers(models.make("trees")), {"features": GOOD})
    assert "give it values" in told["error"]
