"""Training where steps are measured: one environment at a time, and it says where."""

# ruff: noqa: E402 - after the skips
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest

for module in ("stable_baselines3", "torch"):
    pytest.importorskip(module)

from schedtuna.cli.main import main
from schedtuna.env.registration import LIVE
from schedtuna.rl.evaluation import LIVE_EPISODES, evaluate
from schedtuna.rl.loads import splits_for
from schedtuna.rl.training import make_plan, train
from schedtuna.rl.world import World

LIVE_SWAP = "schedtuna/LiveSwap-v0"
MEASURED = "tests/Measured-v0"


class Measured(gymnasium.Env):
    """Its second action is right; only one of them may be open on a machine."""

    observation_space = gymnasium.spaces.Box(0, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    nr_open = 0
    made_with: ClassVar[list[tuple[Any, ...]]] = []

    def __init__(self, workload="own", place="host", token_file=None):
        self.made_with.append((workload, place, token_file))
        self.is_open = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self.nr_steps = 0
        if not self.is_open:
            assert Measured.nr_open == 0, "two at once"
            self.is_open, Measured.nr_open = True, 1
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.nr_steps += 1
        return np.zeros(2, np.float32), float(action), False, self.nr_steps >= 4, {}

    def close(self):
        if self.is_open:
            self.is_open, Measured.nr_open = False, 0


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setitem(LIVE, MEASURED, ("", None))
    monkeypatch.setattr(Measured, "made_with", [])
    gymnasium.register(MEASURED, entry_point=Measured, disable_env_checker=True)  # type: ignore[arg-type]
    yield
    assert Measured.nr_open == 0
    del gymnasium.registry[MEASURED]


class Second:
    def act(self, observations, masks=None):
        return np.ones(len(observations), int)


def test_episodes_are_played_one_after_the_other(measured):
    played = evaluate(Second(), World(MEASURED), ["a", "b"], seed=1)
    assert len(played) == LIVE_EPISODES
    assert [episode.score for episode in played] == [4.0] * LIVE_EPISODES
    assert [load for load, _, _ in Measured.made_with] == ["a", "a", "b", "b"]


@pytest.mark.parametrize("algorithm", ["linucb", "dqn"])
def test_a_training_has_one_environment_of_all_its_loads(measured, tmp_path, algorithm):
    vector = World(MEASURED).vector(8, ["a", "b"])
    assert vector.num_envs == 1
    vector.close()
    splits = splits_for(MEASURED, ["a", "b"], ["c"], [])
    trained = train(
        make_plan(environment=MEASURED, algorithm=algorithm, steps=512, splits=splits), tmp_path / "trained"
    )
    assert trained.policy.act(np.zeros((1, 2), np.float32)).tolist() == [1]
    assert trained.curve[-1].score == 4.0
    assert ["a", "b"] in [load for load, _, _ in Measured.made_with]


def test_what_measures_has_loads_of_its_own():
    assert splits_for(LIVE_SWAP, [], [], []).train == []


def test_the_command_says_where(measured, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*argv):
        with pytest.raises(SystemExit) as ended:
            main(["rl", *argv])
        assert ended.value.code == 0, capsys.readouterr().err

    run(
        *("train", MEASURED, "--algorithm", "linucb", "--steps", "256", "-o", "trained"),
        *("--backend", "http://127.0.0.1:9", "--token-file", "token"),
    )
    assert ("own", "http://127.0.0.1:9", str(tmp_path / "token")) in Measured.made_with
    run("eval", "trained", "--backend", "http://127.0.0.1:8", "--episodes", "1")
    assert Measured.made_with[-1] == ("own", "http://127.0.0.1:8", str(tmp_path / "token"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([LIVE_SWAP, "--backend", "htp://a"], "unknown place 'htp://a'"),
        ([LIVE_SWAP, "--backend", "http://a:b@c"], "does not belong into a URL"),
        (["schedtuna/Swap-v0", "--backend", "http://a"], "schedtuna/Swap-v0 is simulated"),
        (["schedtuna/Swap-v0", "--token-file", "token"], "schedtuna/Swap-v0 is simulated"),
    ],
)
def test_places_that_are_none_are_refused_before_anything_is_made(tmp_path, capsys, argv, message):
    with pytest.raises(SystemExit) as ended:
        main(["rl", "train", *argv, "-o", str(tmp_path / "trained")])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "trained").exists()
