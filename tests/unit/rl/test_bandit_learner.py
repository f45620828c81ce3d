"""LinUCB learns which action is best by what it observes; UCB1 what is best if one looks at nothing."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from schedtuna.errors import UsageError

pytest.importorskip("stable_baselines3")

from stable_baselines3.common.vec_env import DummyVecEnv

from schedtuna.rl.bandit_learner import LinUcb, Ucb
from schedtuna.rl.fixed import Fixed, fixed_named
from schedtuna.rl.world import World


class Contexts(gymnasium.Env):
    """Rewards are lines over what is observed: 0 is best below 0.4, 1 above, and 2 always middling."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self._seen = self.np_random.random(2).astype(np.float32)
        return self._seen, {}

    def step(self, action):
        x = float(self._seen[0])
        reward = (1.0 - x, 0.2 + x, 0.5)[int(action)] + 0.05 * self.np_random.normal()
        return self.reset()[0], reward, False, False, {}


def trained(kind, nr_steps=800):
    learner = kind(DummyVecEnv([Contexts] * kind.nr_environments), nr_steps=nr_steps, seed=1)
    learner.advance(nr_steps, 1, lambda done: None)
    return learner


def best(learner, xs):
    rows = np.array([[x, 0.5] for x in xs], np.float32)
    return learner.network().scores(rows).argmax(axis=1).tolist()


def test_linucb_finds_the_best_action_of_each_context():
    assert best(trained(LinUcb), [0.0, 0.2, 0.35, 0.45, 0.7, 1.0]) == [0, 0, 0, 1, 1, 1]
    assert len(set(best(trained(Ucb), [0.0, 0.2, 0.7, 1.0]))) == 1


def test_its_lines_are_ridge_regressions():
    learner = LinUcb(DummyVecEnv([Contexts] * 8), nr_steps=100, seed=1)
    rng = np.random.default_rng(1)
    rows, rewards = np.hstack([rng.random((30, 2)), np.ones((30, 1))]), rng.normal(size=30)
    for row, reward in zip(rows, rewards, strict=True):
        learner._learn(row, 1, float(reward))
    expected = np.linalg.solve(np.eye(3) + rows.T @ rows, rows.T @ rewards)
    (weights, biases), *_ = learner.network().layers
    assert [*weights[1], biases[1]] == pytest.approx(expected, rel=1e-5)
    assert not weights[0].any()


def test_it_goes_on_from_its_state():
    straight, first = trained(LinUcb, 400), trained(LinUcb, 400)
    other = LinUcb(DummyVecEnv([Contexts] * 8), nr_steps=800, seed=1)
    other.restore(first.state())
    for learner in (straight, other):
        learner.advance(160, 2, lambda done: None)
    for one, same in zip(straight.network().layers[0], other.network().layers[0], strict=True):
        assert (one == same).all()


def test_it_is_refused_where_its_matrices_would_be_huge():
    with pytest.raises(UsageError, match="expected 256 at most"):
        LinUcb(World("schedtuna/PickNext-v0", {"nr_slots": 32}).vector(1, []), nr_steps=100, seed=1)


BRIEF = {"step_s": 0.05, "discard_s": 0.01, "steps": 2, "steps_per_load": 2, "nr_arms": 3, "cpus": 2}


def test_the_best_action_that_never_changes_is_found_on_the_loads_given():
    world = World("schedtuna/Params-v0", BRIEF | {"scheduler": "mlfq"})
    assert fixed_named("fixed:2", world, []) == Fixed(2)
    found = fixed_named("best-fixed", world, ["interactive:load=0.8"])
    from schedtuna.rl.evaluation import evaluate, mean_score

    scores = [
        mean_score(evaluate(Fixed(n), world, ["interactive:load=0.8"], seed=3, episodes=1)) for n in range(3)
    ]
    assert found.action == int(np.argmax(scores)) and len(set(scores)) > 1


@pytest.mark.parametrize(
    ("environment", "name", "message"),
    [
        ("schedtuna/Params-v0", "fixed:3", "expected fixed:0 to fixed:2"),
        ("schedtuna/Params-v0", "fixed:-1", "expected fixed:0 to fixed:2"),
        ("schedtuna/PickNext-v0", "best-fixed", "no rule"),
    ],
)
def test_what_is_no_fixed_action_is_refused(environment, name, message):
    keywords = BRIEF if "Params" in environment else {}
    with pytest.raises(UsageError, match=message):
        fixed_named(name, World(environment, keywords), [])
