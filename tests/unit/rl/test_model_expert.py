"""A model chooses among candidates as its scores say, and a policy starts from it."""

from __future__ import annotations

import numpy as np
import pytest

from schedtuna.errors import ModelError, UsageError
from schedtuna.features.table import feature
from schedtuna.model.file import write_model
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.nets import Linear
from schedtuna.model.rows import checked

pytest.importorskip("stable_baselines3", reason="the extra 'rl' is not installed")

from schedtuna.rl.evaluation import evaluate, mean_score
from schedtuna.rl.imitation import agreement, make_expert
from schedtuna.rl.model_expert import ModelDecider
from schedtuna.rl.policy import Splits
from schedtuna.rl.training import make_plan, train
from schedtuna.rl.world import World

PICK = "schedtuna/PickNext-v0"
SMALL = {"cpus": 1, "episode_ms": 60, "nr_slots": 8, "workload": "poisson:load=0.9"}


def model(weights: dict[str, int], labels: tuple[str, str] = ("wait", "run")) -> DecisionModel:
    inputs = tuple(ModelInput(name, feature(name).bins) for name in weights)
    return checked(DecisionModel("by hand", inputs, labels, Linear([list(weights.values())], [0]), ""))


LEAST_ATTAINED = model({"attained_ns": -1})


@pytest.fixture(scope="module")
def world():
    return World(PICK, SMALL)


def test_least_attained_first_does_as_the_scheduler_of_that_rule(world):
    shown = make_expert("las", world, []).show(400, 3, lambda _done: None)
    decider = ModelDecider(LEAST_ATTAINED, world.fit())
    observed = shown.observations.reshape(-1, shown.observations.shape[-1])
    masks = shown.masks.reshape(len(observed), -1)
    known = shown.actions.reshape(-1) >= 0
    attained = observed[:, [i for i, name in enumerate(world.fit().features) if name.endswith("attained_ns")]]
    chosen = np.take_along_axis(attained, decider.act(observed, masks)[:, None], axis=1)[known, 0]
    theirs = np.take_along_axis(attained, np.maximum(shown.actions.reshape(-1, 1), 0), axis=1)[known, 0]
    assert (chosen == theirs).mean() > 0.95  # of the same bin; which of those it is, bins don't tell


def test_only_candidates_are_chosen(world):
    shown = make_expert("las", world, []).show(200, 4, lambda _done: None)
    observed = shown.observations.reshape(-1, shown.observations.shape[-1])
    masks = shown.masks.reshape(len(observed), -1)
    worst = ModelDecider(model({"is_candidate": -1}), world.fit())  # empty slots score highest
    actions = worst.act(observed, masks)
    assert masks[np.arange(len(masks)), actions].all()


def test_a_good_rule_scores_better_than_its_opposite(world):
    fit = world.fit()
    good, bad = (
        mean_score(evaluate(ModelDecider(one, fit), world, [], seed=2, episodes=4))
        for one in (LEAST_ATTAINED, model({"attained_ns": 1}))
    )
    assert good > bad


def test_a_policy_starts_from_a_models_file(tmp_path, world):
    path = tmp_path / "least.safetensors"
    write_model(LEAST_ATTAINED, path)
    load = "poisson:load=0.9"
    plan = make_plan(
        environment=PICK,
        parameters={name: value for name, value in SMALL.items() if name != "workload"},
        algorithm="imitation",
        steps=8192,
        warm_start=str(path),
        splits=Splits(train=[f"{load},member=1"], validation=[f"{load},member=2"], test=[f"{load},member=3"]),
    )
    found = train(plan, tmp_path / "out")
    assert found.policy.manifest.warm_start == str(path)
    shown = make_expert(str(path), world, []).show(400, 9, lambda _done: None)
    assert agreement(found.policy, shown) > 0.6


@pytest.mark.parametrize(
    ("made", "error", "told"),
    [
        (model({"attained_ns": 1}, ("stay", "migrate")), ModelError, "no task whether it comes first"),
        (model({"burst_2_ns": 1}), UsageError, "does not show burst_2_ns"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(world, made, error, told):
    with pytest.raises(error, match=told):
        ModelDecider(made, world.fit())


def test_an_environment_without_candidates_is_refused():
    with pytest.raises(UsageError, match="has no candidates"):
        ModelDecider(LEAST_ATTAINED, World("schedtuna/Migrate-v0", {}).fit())
