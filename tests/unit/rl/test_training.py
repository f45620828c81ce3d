"""Training: what is learnt, kept, resumed and refused."""

# ruff: noqa: E402 - after the skips
import json
import signal
import subprocess
import sys
import time

import gymnasium
import numpy as np
import pytest

for module in ("gymnasium", "sb3_contrib", "stable_baselines3", "torch"):
    pytest.importorskip(module)

from schedtuna.cli.main import main
from schedtuna.errors import PolicyError, UsageError
from schedtuna.rl.evaluation import evaluate, mean_score
from schedtuna.rl.imitation import agreement, make_expert
from schedtuna.rl.learners import ALGORITHMS, LOOK_AHEAD, returns_to_go
from schedtuna.rl.loads import splits_for
from schedtuna.rl.policy import load_policy
from schedtuna.rl.tensors import write_tensors
from schedtuna.rl.training import CHECKPOINT, make_plan, resume, train
from schedtuna.rl.world import World

CART = "CartPole-v1"  # small, and everybody's


def layers(folder):
    return [array for layer in load_policy(folder).network.layers for array in layer]


def same_layers(one, other):
    return all(np.array_equal(a, b) for a, b in zip(layers(one), layers(other), strict=True))


BRIEF = {"step_s": 0.02, "discard_s": 0.004, "steps": 2, "steps_per_load": 2, "cpus": 1, "nr_arms": 3}
POINTS = BRIEF | {"actions": "continuous"}


class Targets(gymnasium.Env):
    """The best point is the one that is observed, and its opposite the worst."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 16
        return self._look(), {}

    def step(self, action):
        reward = -float(np.abs(self.seen - action).mean())
        self.left -= 1
        return self._look(), reward, False, not self.left, {}

    def _look(self):
        self.seen = self.np_random.uniform(-0.9, 0.9, 2).astype(np.float32)
        return self.seen


gymnasium.register("Targets-v0", Targets)  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ["ppo", "dqn", "sac"])
def test_a_killed_training_comes_to_the_same_policy(tmp_path, monkeypatch, algorithm):
    environment, steps = ("Targets-v0", 256) if algorithm == "sac" else (CART, 2 * 4096)
    monkeypatch.setattr("schedtuna.rl.training.LEAST_STAGE", steps // 2)
    plan = make_plan(environment=environment, algorithm=algorithm, steps=steps, seed=3)
    whole = train(plan, tmp_path / "whole")
    real, nr_written = write_tensors, []

    def dies(*arguments):
        if len(nr_written) == 2:
            raise KeyboardInterrupt
        nr_written.append(real(*arguments))

    with monkeypatch.context() as during:
        during.setattr("schedtuna.rl.training.write_tensors", dies)
        with pytest.raises(KeyboardInterrupt):
            train(plan, tmp_path / "killed")
    with pytest.raises(UsageError, match="has a training already"):
        train(plan, tmp_path / "killed")
    told = []
    again = resume(tmp_path / "killed", told.append)
    assert min(step.done for step in told if step.title == "training") > steps // 2
    assert [p.score for p in again.curve] == [p.score for p in whole.curve]
    assert same_layers(tmp_path / "killed", tmp_path / "whole")
    assert resume(tmp_path / "killed").curve == again.curve


def test_a_training_is_killed_by_the_kernel_and_goes_on(tmp_path):
    """What is on disk after kill -9 is enough."""
    arguments = ["rl", "train", CART, "--steps", "12288", "--algorithm", "reinforce"]
    command = [sys.executable, "-m", "schedtuna", *arguments, "-o", "killed"]
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as child:
        while not (tmp_path / "killed" / CHECKPOINT).exists() and child.poll() is None:
            time.sleep(0.01)
        time.sleep(0.05)  # into the next stage, and not beyond the last one
        child.kill()
    assert child.returncode == -signal.SIGKILL
    killed = resume(tmp_path / "killed")
    whole = train(make_plan(environment=CART, steps=12288, algorithm="reinforce"), tmp_path / "whole")
    assert [p.score for p in killed.curve] == [p.score for p in whole.curve]
    assert same_layers(tmp_path / "killed", tmp_path / "whole")


def test_the_best_on_validation_is_kept(tmp_path):
    found = train(make_plan(environment=CART, steps=20_000, algorithm="ppo"), tmp_path)
    scores = [point.score for point in found.curve]
    assert found.policy.manifest.validation == max(scores) > 2 * scores[0]
    played = evaluate(found.policy, World(CART), [], seed=1)
    assert mean_score(played) == max(scores)
    assert found.policy.manifest.test is None


def test_points_are_learnt(tmp_path):
    found = train(make_plan(environment="Targets-v0", algorithm="sac", steps=1500, seed=1), tmp_path)
    seen = np.random.default_rng(1).uniform(-0.9, 0.9, (200, 2))
    points = found.policy.act(seen)
    assert points.shape == seen.shape and np.abs(points).max() <= 1
    assert np.abs(points - seen).mean() < 0.35, "the best that looks at nothing comes to 0.45"
    assert found.policy.manifest.fit.action_kind == "continuous"
    assert found.curve[-1].score > found.curve[0].score


def test_a_policy_of_points_is_judged_beside_settings_with_numbers(tmp_path, capsys):
    settings = "schedtuna/Params-v0"
    said = [part for name, value in POINTS.items() for part in ("--set", f"{name}={value}")]
    line = ("rl", "train", settings, "--algorithm", "sac", "--steps", 256)
    code, _, told = run(capsys, *line, "--set", "actions=discrete", "-o", tmp_path / "none")
    assert code == 2 and "--set actions=continuous" in told and not (tmp_path / "none").exists()
    assert run(capsys, *line, *said, "-o", tmp_path / "one")[0] == 0
    fit = load_policy(tmp_path / "one").manifest.fit
    assert fit.action_kind == "continuous" and fit == World(settings, POINTS).fit()
    few = ("--workload", "interactive", "--episodes", 2)
    code, out, _ = run(capsys, "rl", "eval", tmp_path / "one", *few, "--json")
    beside = json.loads(out)["beside"]
    assert code == 0 and set(beside) == {"best-fixed", "linucb"}
    names = (tmp_path / "one", "best-fixed", "fixed:0")
    code, out, _ = run(capsys, "rl", "compare", *names, *few, "--json")
    scores = {side["name"]: side["score"] for side in json.loads(out)["sides"]}
    assert code == 0 and scores["best-fixed"] == beside["best-fixed"]
    code, out, _ = run(capsys, "rl", "eval", tmp_path / "one", *few, "--alone")
    assert code == 0 and "linucb" not in out


def test_patience_ends_it(tmp_path):
    found = train(make_plan(environment=CART, steps=40_000, algorithm="ucb", patience=2), tmp_path)
    assert found.ended_early
    assert len(found.curve) < 9


def test_a_policy_is_imitated(tmp_path):
    teacher = train(make_plan(environment=CART, steps=16_000, algorithm="ppo"), tmp_path / "teacher").policy
    start = str(tmp_path / "teacher")
    plan = make_plan(environment=CART, steps=8192, algorithm="imitation", warm_start=start)
    pupil = train(plan, tmp_path / "pupil")
    assert len(pupil.curve) == 1
    assert pupil.policy.manifest.nr_steps == 2048
    observations = np.stack([World(CART).make().reset(seed=seed)[0] for seed in range(200)])
    assert (pupil.policy.act(observations) == teacher.act(observations)).mean() > 0.8
    plan = make_plan(environment=CART, steps=8192, algorithm="dqn", warm_start=start)
    assert train(plan, tmp_path / "dqn").curve[0].score > 60


PICK = "schedtuna/PickNext-v0"
SMALL = {"cpus": 1, "episode_ms": 50, "reward": {"turnaround": 1}}
HEAVY = {
    name: [f"heavy-tail:load=0.9,member={n}"] for name, n in (("train", 1), ("validation", 2), ("test", 3))
}


def test_a_scheduler_is_imitated(tmp_path, capsys):
    plan = make_plan(
        environment=PICK, parameters=SMALL, algorithm="imitation", steps=16384, warm_start="las", splits=HEAVY
    )
    world = World(PICK, SMALL)
    rules = {
        name: mean_score(evaluate(name, world, HEAVY["validation"], seed=1))
        for name in ("fair", "las", "srtf", "fifo")
    }
    assert rules["fair"] == pytest.approx(-100)
    assert rules["fifo"] < rules["las"] < rules["srtf"]
    found = train(plan, tmp_path / "las")
    assert found.policy.manifest.warm_start == "las"
    assert rules["fair"] < found.curve[0].score
    assert found.policy.manifest.test is not None
    shown = make_expert("las", world, HEAVY["validation"]).show(512, 5, print)
    assert agreement(found.policy, shown) > 0.8
    capsys.readouterr()
    code, out, _ = run(capsys, "rl", "compare", tmp_path / "las", "fair", "las", "--episodes", 4, "--json")
    assert code == 0
    assert json.loads(out)["sides"][1]["score"] == pytest.approx(-100)
    assert run(capsys, "rl", "compare", tmp_path / "las", "nope")[0] == 2
    with pytest.raises(UsageError, match="not for CartPole-v1"):
        make_expert(str(tmp_path / "las"), World(CART), [])


def test_masks_are_obeyed(tmp_path):
    plan = make_plan(environment=PICK, parameters=SMALL, algorithm="maskable_ppo", steps=4096, splits=HEAVY)
    found = train(plan, tmp_path)
    played = evaluate(found.policy, World(PICK, SMALL), HEAVY["test"], seed=2, episodes=2)
    assert {episode.info["nr_masked"] for episode in played} == {0}


def test_what_is_wrong_is_refused_before_there_is_a_folder(tmp_path):
    for fields, told in (
        ({"environment": "Nope-v0"}, "there is no environment"),
        ({"algorithm": "pp"}, "did you mean ppo"),
        ({"algorithm": "imitation"}, "needs somebody to imitate"),
        ({"algorithm": "maskable_ppo"}, "action masks"),
        ({"warm_start": "fair"}, "can't tell what 'fair' would do"),
        ({"parameters": {"nope": 1}}, "can't be made so"),
        ({"environment": "Pendulum-v1"}, "can't be trained in"),
        ({"algorithm": "sac"}, "takes continuous actions"),
        ({"environment": "Targets-v0"}, "ppo takes discrete actions"),
        ({"algorithm": "ucb", "warm_start": "fair"}, "can't imitate"),
        ({"splits": {"train": ["a"], "test": ["a"]}}, "both for train and for test"),
    ):
        with pytest.raises(UsageError, match=told):
            train(make_plan(**{"environment": CART, **fields}), tmp_path / "new")
        assert not (tmp_path / "new").exists()
    for name, value in (("steps", 1), ("seed", -1), ("patience", -1)):
        with pytest.raises(UsageError, match=name):
            make_plan(environment=CART, **{name: value})


def test_who_says_what_to_train_on_says_what_to_choose_by():
    with pytest.raises(UsageError, match="the best stage is chosen by") as refused:
        splits_for(PICK, ["poisson"], [], [])
    assert "--validate poisson:load=0.9,member=101" in (refused.value.hint or "")
    assert splits_for(PICK, ["poisson"], ["bursts"], []).validation == ["bursts"]
    assert splits_for(CART, [], [], []).train == []


def test_what_is_damaged_is_said(tmp_path):
    with pytest.raises(UsageError, match="no training"):
        resume(tmp_path)
    plan = make_plan(environment=CART, steps=4096, algorithm="reinforce")
    train(plan, tmp_path / "one")
    checkpoint = tmp_path / "one" / CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(PolicyError, match="can't be used"):
        resume(tmp_path / "one")
    train(plan.model_copy(update={"algorithm": "ucb"}), tmp_path / "two")
    (tmp_path / "two" / CHECKPOINT).replace(checkpoint)
    with pytest.raises(PolicyError, match="another algorithm"):
        resume(tmp_path / "one")


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    plan = make_plan(environment=CART, steps=4096, algorithm="ucb")
    refused = []

    def other(_progress):
        if not refused:
            with pytest.raises(UsageError, match="another process") as found:
                resume(tmp_path)
            refused.append(found)

    train(plan, tmp_path, other)
    assert refused


def test_returns_are_discounted_sums_within_episodes():
    rng = np.random.default_rng(1)
    rewards, ends = rng.normal(size=(3 * LOOK_AHEAD, 2)), rng.random((3 * LOOK_AHEAD, 2)) < 0.01
    sums, whole = returns_to_go(rewards, ends, 0.9)
    for step in range(0, len(rewards), 7):
        for column in range(2):
            total, left = 0.0, 0
            for later in range(step, len(rewards)):
                total += 0.9**left * rewards[later, column]
                left += 1
                if ends[later, column]:
                    break
            assert sums[step, column] == pytest.approx(total)
            assert whole[step, column] == (bool(ends[later, column]) or left >= LOOK_AHEAD)


def run(capsys, *arguments):
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return ended.code, *capsys.readouterr()
    return 0, *capsys.readouterr()


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = [
        "rl",
        "train",
        CART,
        "--steps",
        4096,
        "--algorithm",
        "reinforce",
        "-o",
        "one",
        "--tensorboard",
        "events",
    ]
    code, out, _ = run(capsys, *line, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["manifest"]["fit"]["environment"] == CART
    assert len(found["curve"]) == 2
    assert list((tmp_path / "events").iterdir())
    code, out, _ = run(capsys, "rl", "train", "--resume", "one")
    assert code == 0
    assert "schedtuna rl eval" in out
    code, out, _ = run(capsys, "rl", "eval", "one", "--episodes", 4, "--json")
    assert len(json.loads(out)["loads"][""]) == 4
    run(capsys, *line[:5], "--algorithm", "ucb", "-o", "two")
    code, out, _ = run(capsys, "rl", "compare", "one", "two", "--episodes", 8, "--json")
    first, other = json.loads(out)["sides"]
    assert other["difference"] == pytest.approx(other["score"] - first["score"])
    assert other["low"] <= other["difference"] <= other["high"]
    code, out, _ = run(capsys, "rl", "list", "--json")
    assert json.loads(out)["algorithms"].keys() == ALGORITHMS.keys()
    assert run(capsys, "rl", "train", "-o", "x")[0] == 2
    assert run(capsys, "rl", "compare", "one", "one")[0] == 2
    assert run(capsys, "rl", "eval", "none")[0] == 1


def test_episodes_drain_where_their_loads_end(capsys):
    """Nothing is cut off then: what EEVDF makes of it is 1 of its own, and others do the same work."""
    world = World("schedtuna/PickNext-v0", {"cpus": 1, "episode_ms": 1000})
    load = "poisson:load=0.8,member=5,ends=0.2"
    for who in ("fair", "las"):
        (episode,) = evaluate(who, world, [load], seed=1, episodes=1)
        assert episode.has_ended
    (cut,) = evaluate("las", world, ["poisson:load=0.8,member=5"], seed=1, episodes=1)
    assert not cut.has_ended
    options = ("--workload", load, "--episodes", 2, "--set", "cpus=1", "--set", "episode_ms=1000")
    code, out, _ = run(capsys, "rl", "eval", "pretrained", *options)
    assert code == 0 and "All tasks had ended in 2 of 2 episodes" in out
    code, out, _ = run(capsys, "rl", "eval", "pretrained", *options, "--json")
    assert json.loads(out)["nr_ended"] == 2
