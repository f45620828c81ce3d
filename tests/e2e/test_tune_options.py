"""The options of `schedtuna tune` that name a search's budget, its learner and what it starts from."""

import json
import os
import sys
from pathlib import Path

import pytest
from tests.commands import run_schedtuna

from schedtuna.samplers.registry import missing_extra

LIKES_BATCH = """
import os, random
rng = random.Random(int(os.environ["SCHEDTUNA_SEED"]))
gain = 0.8 if os.sched_getscheduler(0) == os.SCHED_BATCH else 1.0
print("cost", 100 * gain * rng.lognormvariate(0, 0.02))
"""
METRIC = ["--optimize-metric", "cost:min=regex:cost ([0-9.]+)"]
# On a busy machine a command that has the last claim to a CPU does not get one within the time of a run.
NO_STARVING = [word for knob in ("policy", "nice") for word in ("--exclude", knob)]
needs_rl = pytest.mark.skipif(missing_extra("ppo") is not None, reason="needs the extra rl")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("tune")


@pytest.fixture(scope="module")
def tune(place):
    def run(*options, command=(sys.executable, "-I", "-c", LIKES_BATCH), path=None):
        arguments = ["tune", "--results", place / "results", *options, *(["--", *command] if command else [])]
        environment = {**os.environ, "SCHEDTUNA_STATE_DIR": str(place / "state")}
        if path is not None:
            environment["PATH"] = f"{path}:{environment['PATH']}"
        return run_schedtuna(*arguments, env=environment, timeout=240)

    return run


def answer(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def learner(tune):
    done = tune(
        *METRIC, *NO_STARVING,
        "-S", "fair", "--algorithm", "ppo", "--episodes", 12, "--baseline-runs", 4, "--seed", 2,
        "--learning-rate", 0.01, "--update-frequency", 3, "--save-frequency", 6, "--reward-scaling", 2,
        "--no-gpu", "--timeout", "30s", "--verbose", "--json",
    )  # fmt: skip
    return answer(done), done.stderr


@needs_rl
def test_a_learner_gets_its_options(learner):
    result, stderr = learner
    folder = Path(result["study"])
    plan = json.loads((folder / "study.json").read_text())
    assert plan["sampler_options"] == {
        "learning_rate": 0.01,
        "update_frequency": 3,
        "reward_scaling": 2.0,
        "use_gpu": False,
    }
    assert (plan["episodes"], plan["baseline_runs"], plan["workload"]["timeout_s"]) == (12, 4, 30.0)
    assert folder.name.startswith("fair_ppo_12ep_")
    names = {path.name for path in folder.iterdir()}
    assert names >= {"checkpoint_episode_6.pt", "checkpoint_episode_12.pt", "experiment.log"}
    episodes = json.loads((folder / "episode_results.json").read_text())
    assert {"reward", "policy_loss", "value_loss", "exploration"} <= episodes[-1].keys()
    assert len([line for line in stderr.splitlines() if line.startswith("search ")]) == 12


@needs_rl
def test_a_search_starts_from_an_earlier_one(tune, learner):
    folder = Path(learner[0]["study"])
    done = tune(
        *METRIC, *NO_STARVING,
        "--algorithm", "ppo", "--episodes", 5, "--seed", 3, "--experiment-name", "second",
        "--pretrained-model", folder / "checkpoint_episode_12.pt", "--warm-start", folder, "--json",
    )  # fmt: skip
    result = answer(done)
    plan = json.loads((Path(result["study"]) / "study.json").read_text())
    assert Path(result["study"]).name.startswith("second_")
    assert plan["sampler_options"]["pretrained"].endswith("checkpoint_episode_12.pt")
    assert len(plan["warm_start"]) == 12
    assert "warm start from 12 of 12 runs" in done.stderr
    trials = (Path(result["study"]) / "trials.jsonl").read_text().splitlines()[1:]
    assert len(trials) == result["trials"]  # the earlier study's runs are not among them


def test_a_bare_command_line_runs_llama_bench_with_a_model(tune, place):
    program = place / "bin" / "llama-bench"
    program.parent.mkdir()
    rows = [{"n_prompt": 512, "n_gen": 0, "avg_ts": 100.0}, {"n_prompt": 0, "n_gen": 128, "avg_ts": 10.0}]
    program.write_text(f"#!/bin/sh\necho '{json.dumps(rows)}'\n")
    program.chmod(0o755)
    model = place / "model.gguf"
    model.touch()
    options = ["--model-path", model, "--episodes", 3, "--optimize-metric", "pp_tokens_per_sec", "--seed", 1]
    result = answer(tune(*options, "--json", command=None, path=program.parent))
    assert (result["metric"], result["direction"]) == ("pp_tokens_per_sec", "max")
    assert result["verdict"] == "no_evidence"  # it always says the same


def test_a_command_may_be_one_string(tune):
    done = tune("--benchmark-cmd", "sh -c 'echo cost 5'", *METRIC, "--episodes", 3, "--json", command=None)
    assert answer(done)["metric"] == "cost"


def test_what_a_sampler_lacks_is_told(tune):
    done = tune("--sampler", "random", "--learning-rate", 0.1, "--episodes", 3, "--json", command=["true"])
    assert "note: sampler random has no learning_rate" in done.stderr
    answer(done)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--episodes", "5", "--budget", "50"], 2, "--episodes and --time contradict each other"),
        (["--time", "1m", "--budget", "50"], 2, "--episodes and --time contradict each other"),
        (["--sampler", "all", "--episodes", "9"], 2, "--episodes"),
        (["--sampler", "al"], 2, "did you mean all"),
        (["--episodes", "0"], 2, "--episodes"),
        (["--benchmark-cmd", "true"], 2, "contradict each other"),
        (["--model-path", "m.gguf"], 2, "contradict each other"),
        (["--sampler", "gp", "--pretrained-model", "x.pt"], 2, "no network"),
        (["--warm-start", "nowhere"], 2, "nowhere is not a folder"),
        (["-S", "scx_flashyspark"], 3, "--scheduler fair"),
    ],
)
def test_bad_options_are_explained(tune, place, options, code, words):
    before = sorted(place.glob("results/*"))
    done = tune(*options, command=["true"])
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(place.glob("results/*")) == before


def test_debug_shows_where_an_error_came_from(tune):
    done = tune("--debug", "--warm-start", "nowhere", command=["true"])
    assert "Traceback" in done.stderr
    assert "UsageError" in done.stderr


@needs_rl
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--learning-rate", "7"], "learning rate 7.0"),
        (["--pretrained-model", "nope.pt"], "no such checkpoint"),
    ],
)
def test_a_learners_bad_options_are_explained_before_the_first_run(tune, place, options, words):
    before = sorted(place.glob("results/*"))
    done = tune("--algorithm", "ppo", *options, command=["true"])
    assert done.returncode == 2
    assert words in done.stderr
    assert sorted(place.glob("results/*")) == before
