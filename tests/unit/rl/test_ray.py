"""Ray's RLlib as a learner: on a cluster of this machine, where Ray is installed; its refusals everywhere."""

import os
import signal
from importlib.util import find_spec

import numpy as np
import pytest

from schedtuna.errors import MissingExtraError, UsageError
from schedtuna.rl.learners import ALGORITHMS, RAY_PREFIX, learner_class, ray_algorithm
from schedtuna.rl.randomness import seeded
from schedtuna.rl.world import World

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: tools/ray.sh has it")
WORLD = World("CartPole-v1")
STEPS = 12_000


def test_a3c_says_what_takes_its_place():
    for name in ("a3c", "rllib_a3c"):
        with pytest.raises(UsageError, match="no A3C") as told:
            learner_class(name)
        assert "appo" in str(told.value.hint)
    with pytest.raises(UsageError, match="no A3C"):
        learner_class(ray_algorithm("a3c"))


def test_names_with_ray_are_those_of_its_rows():
    assert ray_algorithm("ppo") == ray_algorithm("rllib_ppo") == "rllib_ppo"
    with pytest.raises(UsageError, match="Ray trains ppo, impala, appo, not 'dqn'"):
        ray_algorithm("dqn")


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_extra_is_named():
    for name in ALGORITHMS:
        if name.startswith(RAY_PREFIX):
            with pytest.raises(MissingExtraError, match="ray"):
                learner_class(name)


@pytest.fixture(scope="module")
def cluster():
    from schedtuna.rl.ray_cluster import connected

    with connected():
        yield


@pytest.fixture
def made(cluster, request):
    with seeded(1):
        learner = learner_class(request.param).of_world(WORLD, (), nr_steps=STEPS, seed=1)
    yield learner
    learner.close()


def played(network, episodes=8):
    """Mean number of steps that a pole stays up."""
    from schedtuna.rl.evaluation import evaluate, mean_score
    from schedtuna.rl.policy import best_allowed

    class Best:
        def act(self, observations, masks=None):
            return best_allowed(network.scores(observations), masks)

    return mean_score(evaluate(Best(), WORLD, (), seed=1, episodes=episodes))


@needs_ray
@pytest.mark.long
@pytest.mark.parametrize("made", ["rllib_ppo"], indirect=True)
def test_ppo_learns_survives_its_runners_and_goes_on_from_what_it_kept(made):
    from schedtuna.rl.tensors import flatten, restore

    before = played(made.network())
    made.advance(STEPS // 2, 1, lambda done: None)
    assert made.nr_done >= STEPS // 2

    pids = made.algorithm.env_runner_group.foreach_env_runner(
        lambda runner: os.getpid(), local_env_runner=False
    )
    for pid in pids:  # all of them, so that a round has no decision
        os.kill(pid, signal.SIGKILL)
    done = made.nr_done
    made.advance(STEPS // 2, 2, lambda done: None)
    assert made.nr_done >= done + STEPS // 2
    assert made.nr_healthy >= 1
    assert played(made.network()) > before + 50

    arrays = {}
    kept = flatten(made.state(), arrays)
    learnt = made.network()
    made.advance(made.round_size, 3, lambda done: None)
    assert any((a[0] != b[0]).any() for a, b in zip(learnt.layers, made.network().layers, strict=True))
    made.restore(restore(kept, arrays))
    assert made.nr_done >= STEPS
    for old, new in zip(learnt.layers, made.network().layers, strict=True):
        np.testing.assert_array_equal(old[0], new[0])
        np.testing.assert_array_equal(old[1], new[1])


@needs_ray
@pytest.mark.long
@pytest.mark.parametrize("made", ["rllib_impala", "rllib_appo"], indirect=True)
def test_asynchronous_ones_learn(made):
    before = made.network()
    told = []
    made.advance(4 * made.round_size, 1, told.append)
    assert made.nr_done >= 4 * made.round_size
    assert told == sorted(told)
    assert any((a[0] != b[0]).any() for a, b in zip(before.layers, made.network().layers, strict=True))


@needs_ray
@pytest.mark.long
@pytest.mark.parametrize("made", ["rllib_ppo"], indirect=True)
def test_it_imitates_what_is_shown(made):
    from schedtuna.rl.learners import Demonstrations

    random = np.random.default_rng(1)
    observations = random.normal(size=(200, 4, 4)).astype(np.float32) * np.sqrt(made._variance) + made._mean
    actions = (observations[..., 2] > made._mean[2]).astype(int)
    zeros = np.zeros(actions.shape)
    made.imitate(Demonstrations(observations, actions, zeros, zeros.astype(bool), None), 20)
    network = made.network()
    agreed = network.scores(observations.reshape(-1, 4)).argmax(axis=1) == actions.reshape(-1)
    assert agreed.mean() > 0.95
    made.advance(made.round_size, 1, lambda done: None)  # runners have the weights, too
