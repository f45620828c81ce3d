"""Slots are judged alike, and a policy's file holds the same network as the one that was trained."""

# ruff: noqa: E402 - after the skips
import numpy as np
import pytest

for module in ("gymnasium", "stable_baselines3", "torch"):
    pytest.importorskip(module)

import torch

from schedtuna.env import CPUSchedulerVecEnv
from schedtuna.rl.imitation import Imitation
from schedtuna.rl.policy import Network, normalised
from schedtuna.rl.slots import SlotLayout, SlotNetwork

LAYOUT = SlotLayout(nr_slots=5, per_slot=3, nr_machine=4, nr_others=2)


def observed(n=7):
    return np.random.default_rng(1).standard_normal((n, 5 * 3 + 4)).astype(np.float32)


def made():
    torch.manual_seed(1)
    return SlotNetwork(LAYOUT)


def test_who_changes_slots_keeps_the_score():
    network, seen = made(), observed()
    order = np.array([3, 1, 4, 0, 2])
    moved = seen.copy()
    moved[:, :15] = seen[:, :15].reshape(-1, 5, 3)[:, order].reshape(-1, 15)
    scores, others = (network(torch.as_tensor(rows)).detach().numpy() for rows in (seen, moved))
    assert others[:, :5] == pytest.approx(scores[:, :5][:, order], abs=1e-6)
    assert others[:, 5:10] == pytest.approx(scores[:, 5:10][:, order], abs=1e-6)
    assert others[:, 10:] == pytest.approx(scores[:, 10:], abs=1e-6)
    assert scores.std(axis=1).min() > 1e-3


def test_a_slot_does_not_see_another_one():
    network, seen = made(), observed(1)
    changed = seen.copy()
    changed[0, 3:6] += 1
    scores, others = (network(torch.as_tensor(rows)).detach().numpy()[0] for rows in (seen, changed))
    assert set(np.flatnonzero(scores != others)) == {1, 6}


def test_what_is_written_down_is_the_same_network():
    network, seen = made(), observed()
    mean, variance = LAYOUT.tied(seen.mean(axis=0), seen.var(axis=0))
    written = Network(network.layers(), "tanh", mean, variance)
    own = network(torch.as_tensor(normalised(seen, mean, variance))).detach().numpy()
    assert written.scores(seen) == pytest.approx(own, abs=1e-5)
    assert [weights.shape for weights, _ in written.layers] == [(96, 19), (96, 96), (12, 96)]


def test_statistics_are_those_of_all_slots_together():
    seen = observed(400)
    mean, variance = LAYOUT.tied(seen.mean(axis=0), seen.var(axis=0))
    slots = seen[:, :15].reshape(-1, 3)
    assert mean[:15] == pytest.approx(np.tile(slots.mean(axis=0), 5), abs=1e-6)
    assert variance[:15] == pytest.approx(np.tile(slots.var(axis=0), 5), rel=1e-5)
    assert (mean[15:] == seen.mean(axis=0)[15:]).all()


def test_an_environment_says_where_its_slots_are():
    vector = CPUSchedulerVecEnv(1, cpus=1, nr_slots=4)
    layout = SlotLayout.of(vector)
    assert layout == SlotLayout(4, 10, 7, 3)
    learner = Imitation(vector, nr_steps=1000, seed=1)
    shapes = [weights.shape for weights, _ in learner.network().layers]
    assert shapes[0][1] == vector.observation_space.shape[0] and shapes[-1][0] == len(
        vector.setting.action_names
    )
    assert SlotLayout.of(object()) is None
