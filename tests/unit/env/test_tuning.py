import numpy as np
import pytest

from schedtuna.errors import SpaceError, UsageError
from schedtuna.samplers.conformance import RULED
from schedtuna.space import ParameterSpace

gymnasium = pytest.importorskip("gymnasium")
from gymnasium.utils.env_checker import check_env  # noqa: E402 - after the skip

from schedtuna.env.tuning import TuneEnv  # noqa: E402 - as above


def cost(values):
    return None if values["other_switch"] else 0.1 * values["queues"] - 0.2 * values["switch"]


def load():
    return {"nr_running": 3.0, "load": 0.7}


@pytest.mark.parametrize("context", [None, load])
@pytest.mark.parametrize("encoding", ["box", "discrete"])
def test_it_is_a_gymnasium_environment(encoding, context):
    env = TuneEnv(RULED, cost, encoding=encoding, context=context)
    check_env(env, skip_render_check=True)


@pytest.mark.parametrize("encoding", ["box", "discrete"])
def test_every_action_runs_a_valid_assignment_and_ends_the_episode(encoding):
    env = TuneEnv(RULED, cost, encoding=encoding, nr_arms=20)
    env.action_space.seed(1)
    failed = 0
    for _ in range(60):
        env.reset()
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert RULED.validate_assignment(info["values"]) == info["values"]
        assert terminated and not truncated
        assert info["cost"] == cost(info["values"])
        assert info["failed"] == (info["cost"] is None)
        failed += info["failed"]
        assert np.isfinite(reward)
    assert failed


def test_actions_and_assignments_translate_both_ways():
    box = TuneEnv(RULED, cost)
    discrete = TuneEnv(RULED, cost, encoding="discrete", nr_arms=15)
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = RULED.sample(rng)
        assert RULED.distance(box.decode(box.encode(values)), values) < 1e-3
    for index in range(15):
        assert discrete.encode(discrete.decode(index)) == index
    assert discrete.arms[0] == RULED.default()
    assert discrete.encode({**RULED.default(), "slice_us": 101}) is None


def test_what_is_outside_of_the_cube_is_clipped():
    env = TuneEnv(RULED, cost)
    size = RULED.unit_size
    assert env.decode(np.full(size, 9.0)) == env.decode(np.ones(size))


def test_bad_requests_are_refused():
    with pytest.raises(UsageError, match="box or discrete"):
        TuneEnv(RULED, cost, encoding="onehot")  # type: ignore[arg-type]  # the mistake that is tested
    with pytest.raises(SpaceError, match="nothing to tune"):
        TuneEnv(ParameterSpace(specs=()), cost)


def test_it_trains_with_stable_baselines3s_own_loop():
    sb3 = pytest.importorskip("stable_baselines3")
    env = TuneEnv(RULED, cost, context=load)
    model = sb3.PPO("MlpPolicy", env, n_steps=8, batch_size=8, seed=0, device="cpu")
    model.learn(16)
    assert model.num_timesteps == 16
