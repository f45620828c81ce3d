"""Networks learn within tens of runs, from what ran, and their checkpoints are safe and specific."""

import math
import pickle
import random
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

from tests.unit.samplers.spaces import SPACE, drive, true_cost  # noqa: E402

from schedtuna.errors import StudyError, UsageError  # noqa: E402 - after the skips
from schedtuna.samplers.conformance import RULED  # noqa: E402
from schedtuna.samplers.observation import Observation  # noqa: E402
from schedtuna.samplers.registry import make_sampler  # noqa: E402

LEARNERS = ("reinforce", "ppo", "a2c", "sac", "dqn")


def make(name, budget=40, seed=0, space=SPACE, **options):
    return make_sampler(name, space, budget=budget, rng=np.random.default_rng(seed), use_gpu=False, **options)


def weights(sampler):
    """All weights of the policy as one vector."""
    network = sampler.network if sampler.name == "reinforce" else sampler.model.policy
    return torch.cat([p.detach().flatten().clone() for p in network.parameters()])


def tell(sampler, runs):
    for _ in range(runs):
        values = sampler.ask()
        sampler.tell(Observation(values, true_cost(values)))


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("update_frequency", [3, 5])
def test_weights_change_after_the_stated_number_of_runs_and_not_before(name, update_frequency):
    sampler = make(name, update_frequency=update_frequency)
    first = sampler.model.learning_starts if name in ("sac", "dqn") else update_frequency
    first = update_frequency * math.ceil(first / update_frequency)
    before = weights(sampler)
    tell(sampler, first - 1)
    assert torch.equal(weights(sampler), before)
    tell(sampler, 1)
    assert not torch.equal(weights(sampler), before)
    assert sampler.nr_updates == 1
    again = weights(sampler)
    tell(sampler, update_frequency)
    assert sampler.nr_updates == 2
    assert not torch.equal(weights(sampler), again)


@pytest.mark.parametrize("name", LEARNERS)
def test_even_a_short_budget_updates(name):
    sampler = make(name, budget=12, update_frequency=25)
    tell(sampler, 12)
    assert sampler.nr_updates >= 2


@pytest.mark.parametrize("name", LEARNERS)
def test_metrics_say_how_the_training_goes(name):
    sampler = make(name)
    tell(sampler, 20)
    metrics = sampler.training_metrics()
    assert {"reward", "exploration"} <= metrics.keys()
    assert metrics.keys() & {"policy_loss", "value_loss"}
    assert all(math.isfinite(number) for number in metrics.values())


@pytest.mark.parametrize("name", LEARNERS)
def test_the_policy_moves_towards_what_pays(name):
    """Where only one switch matters, the trained policy sets it more often than a fresh one."""

    def share(sampler):
        return np.mean([bool(sampler.propose()["switch"]) for _ in range(60)])

    after = []
    for seed in range(2):
        sampler = make(name, budget=1000, seed=seed)
        for _ in range(150):
            values = sampler.ask()
            sampler.tell(Observation(values, -1.0 if values["switch"] else 0.0))
        after.append(share(sampler))
    assert np.mean(after) > 0.75


@pytest.mark.parametrize("name", LEARNERS)
def test_a_checkpoint_brings_the_policy_back(name, tmp_path):
    path = tmp_path / "checkpoint_episode_20.pt"
    old = make(name)
    tell(old, 20)
    old.save(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    for fresh in (make(name, seed=5), make(name, seed=6, pretrained=path)):
        if fresh.nr_updates == 0:
            assert not torch.equal(weights(fresh), weights(old))
            fresh.load(path)
        assert torch.equal(weights(fresh), weights(old))
        assert fresh.nr_updates == old.nr_updates
        tell(fresh, 10)  # and it goes on learning
        assert not torch.equal(weights(fresh), weights(old))


def test_a_checkpoint_that_can_not_be_written_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "checkpoint.pt").mkdir()
    with pytest.raises(StudyError, match=r"can't write the checkpoint .*checkpoint\.pt"):
        make("ppo").save(tmp_path / "checkpoint.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


class Exploit:
    def __reduce__(self):
        return (print, ("code ran",))


def test_files_that_are_not_checkpoints_are_refused_and_run_no_code(tmp_path, capsys):
    ppo, path = make("ppo"), tmp_path / "checkpoint.pt"
    with pytest.raises(UsageError, match="no such checkpoint"):
        ppo.load(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(StudyError, match="not a checkpoint of a sampler"):
        ppo.load(path)
    path.write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(StudyError, match="not a checkpoint of a sampler"):
        ppo.load(path)
    torch.save({"version": 1, "state": Exploit()}, path)
    with pytest.raises(StudyError, match="not a checkpoint of a sampler"):
        ppo.load(path)
    assert "code ran" not in capsys.readouterr().out
    torch.save([1, 2], path)
    with pytest.raises(StudyError, match="not a checkpoint of a sampler"):
        ppo.load(path)


def test_checkpoints_of_others_are_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    make("ppo").save(path)
    with pytest.raises(UsageError, match="checkpoint of ppo, not of a2c"):
        make("a2c").load(path)
    with pytest.raises(UsageError, match="another parameter space"):
        make("ppo", space=RULED).load(path)
    with pytest.raises(UsageError, match="another parameter space"):
        make("ppo", space=RULED, pretrained=path)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "version": 99}, path)
    with pytest.raises(StudyError, match="version 99"):
        make("ppo").load(path)
    torch.save({**content, "state": {}}, path)
    with pytest.raises(StudyError, match="does not fit"):
        make("ppo").load(path)


@pytest.mark.parametrize("name", LEARNERS)
def test_pretraining_on_history_changes_the_policy_and_counts_for_nothing_else(name):
    rng = np.random.default_rng(0)
    elsewhere = [Observation(v, true_cost(v)) for v in (SPACE.sample(rng) for _ in range(30))]
    sampler = make(name)
    before = weights(sampler)
    sampler.pretrain(elsewhere, epochs=3)
    assert not torch.equal(weights(sampler), before)
    assert sampler.history == []
    assert sampler.recommend() == SPACE.default()


@pytest.mark.parametrize("name", LEARNERS)
def test_the_race_trains_nothing(name):
    sampler = make(name, budget=40)
    tell(sampler, 24)
    assert sampler.racing(len(sampler.history))
    before = weights(sampler)
    tell(sampler, 16)
    assert torch.equal(weights(sampler), before)


def test_global_generators_stay_as_they_were():
    states = (random.getstate(), repr(np.random.get_state()), torch.get_rng_state())
    drive(make("sac"), 20)
    assert random.getstate() == states[0]
    assert repr(np.random.get_state()) == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_tensorboard_gets_the_metrics(tmp_path):
    pytest.importorskip("tensorboard")
    sampler = make("ppo", tensorboard=tmp_path)
    tell(sampler, 10)
    sampler.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [e.step for e in events.Scalars("tune/reward")] == list(range(1, 11))
    assert events.Scalars("tune/policy_loss")


def test_tensorboard_shows_a_history_that_is_told_again_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for nr_runs in (6, 9):  # the second is a resumed study's
        sampler = make("ppo", tensorboard=tmp_path)
        tell(sampler, nr_runs)
        sampler.close()
        time.sleep(1)  # event files are read in the order of their names, which hold whole seconds
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [e.step for e in events.Scalars("tune/reward")] == list(range(1, 10))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"learning_rate": 0.0}, "learning rate 0.0"),
        ({"update_frequency": 0}, "update frequency 0"),
        ({"reward_scaling": -1.0}, "reward scaling -1.0"),
    ],
)
def test_options_out_of_bounds_are_refused(options, says):
    with pytest.raises(UsageError, match=says):
        make("ppo", **options)


def test_the_reinforce_loss_is_cost_minus_baseline_times_log_probability():
    """One step of plain gradient descent, checked against the gradient written out by hand."""
    sampler = make("reinforce", update_frequency=2)
    last = sampler.network[-1]
    sampler._optimizer = torch.optim.SGD(sampler.network.parameters(), lr=1.0)
    sampler._baseline.mean = 0.25
    default, other = SPACE.default(), {**SPACE.default(), "switch": True}
    probabilities = [row.exp().detach() for row in sampler.log_policy()]
    before = last.bias.detach().clone()
    sampler.learn(default, -1.0)  # a reward of -1: L = 1
    metrics = sampler.learn(other, 0.5)  # L = -0.5
    moved = (last.bias.detach() - before)[-5:-3]  # the switch's two logits; mode has the last three
    second = (1 - 0.2) * 0.25 + 0.2 * 1.0  # the baseline has taken in the first run
    gradient = torch.zeros(2)
    for level, advantage in ((0, 1.0 - 0.25), (1, -0.5 - second)):
        gradient += advantage * (torch.nn.functional.one_hot(torch.tensor(level), 2) - probabilities[2]) / 2
    assert torch.allclose(moved, -gradient, atol=1e-5)
    assert metrics["value_baseline"] == pytest.approx(-(0.8 * second + 0.2 * -0.5))


def test_ppo_credits_the_raw_action_of_its_own_proposal_and_the_encoded_one_of_others():
    sampler = make("ppo", update_frequency=5)
    sampler.tell(Observation(sampler.ask(), 0.0))  # the default
    values = sampler.ask()
    raw = sampler._acted[1]
    sampler.tell(Observation(values, 0.1))
    buffer = sampler.model.rollout_buffer
    assert np.allclose(buffer.actions[0, 0], sampler.env.encode(SPACE.default()))
    assert np.allclose(buffer.actions[1, 0], raw)
    sampler.ask()
    elsewhere = {**SPACE.default(), "mode": "c"}
    sampler.tell(Observation(elsewhere, 0.1))
    assert np.allclose(buffer.actions[2, 0], sampler.env.encode(elsewhere))
    assert np.all(buffer.episode_starts[:3] == 1)
