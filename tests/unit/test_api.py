"""The Python API on a command whose best setting is known: 20% less under the batch policy."""

import json
import logging
import re
import sys
from pathlib import Path

import pytest

import schedtuna
from schedtuna import (
    OptimizerConfig,
    ParameterSpec,
    ParameterType,
    RLSchedulerOptimizer,
    SchedulerConfig,
    optimize_scheduler,
    register_scheduler,
)
from schedtuna.backend.places.guest import Guest
from schedtuna.backend.places.host import Host
from schedtuna.errors import StudyError, UnavailableError, UsageError
from schedtuna.knobs.base import Scope
from schedtuna.samplers.registry import missing_extra

LIKES_BATCH = """
import os, random
rng = random.Random(int(os.environ["SCHEDTUNA_SEED"]))
gain = 0.8 if os.sched_getscheduler(0) == os.SCHED_BATCH else 1.0
print("cost", 100 * gain * rng.lognormvariate(0, 0.02))
"""
COMMAND = (sys.executable, "-I", "-c", LIKES_BATCH)
OPTIONS = {
    "scheduler_name": "fair",
    "benchmark_cmd": COMMAND,
    "optimize_metric": "cost:min=regex:cost ([0-9.]+)",
    "seed": 1,
}
needs_rl = pytest.mark.skipif(missing_extra("ppo") is not None, reason="needs the extra rl")


@pytest.fixture(scope="module", autouse=True)
def state(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def trained(results):
    options = {**OPTIONS, "results_dir": results, "save_frequency": 10, "update_frequency": 4}
    del options["scheduler_name"]
    return optimize_scheduler("fair", episodes=24, algorithm="ppo", **options)


@needs_rl
def test_training_returns_what_was_proven_and_where(trained):
    assert trained["verdict"] == "improved"
    assert trained["best_parameters"]["policy"] == "batch"
    low, high = trained["summary"]["effect"]["ci95"]
    assert low - 0.005 < 0.8 < high + 0.005  # runs of one seed are equal: there is hardly an interval
    assert trained["summary"]["runs"]["search"] == 24 + 3
    assert trained["result"].best == trained["best_parameters"]


@needs_rl
def test_the_results_folder_is_complete(trained):
    folder = Path(trained["experiment_path"])
    assert folder.name.startswith("fair_ppo_24ep_")
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "experiment.log",
        "best_parameters.json",
        "episode_results.json",
        "episode_results.csv",
        "baseline_results.json",
        "performance_plots.png",
        "report.html",
        "checkpoint_episode_10.pt",
        "checkpoint_episode_20.pt",
        "checkpoint_episode_24.pt",
    }
    episodes = json.loads((folder / "episode_results.json").read_text())
    assert len(episodes) == 24
    assert {"reward", "policy_loss", "value_loss", "exploration"} <= episodes[-1].keys()
    lines = (folder / "experiment.log").read_text().splitlines()
    assert sum(" INFO search " in line for line in lines) == 24
    assert "improved:" in lines[-1]


@needs_rl
def test_what_was_proven_can_be_tested_again(trained):
    optimizer = RLSchedulerOptimizer(OPTIONS)
    tested = optimizer.test(trained["experiment_path"], test_runs=6)
    assert tested["mean"] == pytest.approx(80, rel=0.05)
    assert 0 < tested["sd"] < 10
    assert (len(tested["values"]), tested["nr_failed"]) == (6, 0)
    assert tested["parameters"] == trained["best_parameters"]
    with pytest.raises(UsageError, match="at least one"):
        optimizer.test(trained["experiment_path"], test_runs=0)
    with pytest.raises(StudyError, match="holds no study"):
        optimizer.test(Path(trained["experiment_path"]) / "nope")


@pytest.mark.parametrize(
    ("place", "error", "says"),
    [
        (Guest(), UnavailableError, "lab"),
        (Host(scope=Scope.PID, pid=1, pid_is="of another boot"), StudyError, "process 1, .* has ended"),
    ],
)
def test_it_is_tested_where_it_was_proven(tmp_path, monkeypatch, place, error, says):
    monkeypatch.setenv("SCHEDTUNA_LAB_DIR", str(tmp_path / "nowhere"))
    plan, _ = RLSchedulerOptimizer({**OPTIONS, "algorithm": "random"}).plan()
    plan.model_copy(update={"place": place}).write(tmp_path)
    (tmp_path / "best_parameters.json").write_text('{"scheduler": "fair", "parameters": {}}')
    with pytest.raises(error, match=says):
        RLSchedulerOptimizer(OPTIONS).test(tmp_path, test_runs=1)


@needs_rl
def test_a_checkpoint_is_for_its_own_space(trained, results):
    checkpoint = Path(trained["experiment_path"]) / "checkpoint_episode_24.pt"
    config = {**OPTIONS, "results_dir": results, "pretrained_model_path": checkpoint, "episodes": 5}
    before = sorted(results.iterdir())
    optimizer = RLSchedulerOptimizer(config)
    optimizer.define_scheduler_params({"policy": {"choices": ["other", "batch"]}})
    with pytest.raises(UsageError, match="another parameter space"):
        optimizer.train()
    with pytest.raises(UsageError, match="checkpoint of ppo, not of sac"):
        RLSchedulerOptimizer({**config, "algorithm": "sac"}).train()
    assert sorted(results.iterdir()) == before  # refused before the first run
    plan, _ = RLSchedulerOptimizer(config).plan()
    assert plan.sampler_options["pretrained"] == str(checkpoint)


def test_narrowed_knobs_a_name_of_its_own_and_progress(results, caplog):
    optimizer = RLSchedulerOptimizer(
        {
            **OPTIONS,
            "algorithm": "random",
            "episodes": 6,
            "results_dir": results,
            "experiment_name": "mine",
            "learning_rate": 0.1,
        }
    )
    defined = optimizer.define_scheduler_params(
        {"policy": {"type": "categorical", "choices": ["other", "batch"]}}
    )
    assert list(defined.parameters) == ["policy"]
    phases = []
    with caplog.at_level(logging.INFO, "schedtuna.tune"):
        result = optimizer.train(on_event=lambda event: phases.append(event.record.phase))
    assert result["candidate"] == {"policy": "batch"}
    assert Path(result["experiment_path"]).name.startswith("mine_")
    assert (phases.count("baseline"), phases.count("search")) == (3, 6)
    assert phases.count("confirmation") == result["summary"]["runs"]["confirmation"]
    assert "random has no learning_rate" in caplog.text


def test_what_is_known_of_a_scheduler_that_cannot_run_here():
    optimizer = RLSchedulerOptimizer()
    info = optimizer.get_scheduler_info()
    assert info["scheduler_name"] == "scx_flashyspark"
    assert len(info["parameters"]) == 15
    assert info["parameters"]["cpu_util_threshold"]["type"] == "float"
    with pytest.raises(UnavailableError, match="scx_flashyspark can't run") as caught:
        optimizer.train()
    assert "fair" in (caught.value.hint or "")
    with pytest.raises(UnavailableError, match="scx_flashyspark"):
        optimize_scheduler()


def test_an_unknown_scheduler_or_sampler_gets_the_nearest_names():
    with pytest.raises(UsageError) as caught:
        RLSchedulerOptimizer({"scheduler_name": "scx_rustyy"}).get_scheduler_info()
    assert "scx_rusty" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="did you mean ppo"):
        RLSchedulerOptimizer({**OPTIONS, "algorithm": "ppoo"}).train()
    with pytest.raises(UsageError, match="unknown key 'episods'"):
        optimize_scheduler("fair", episods=3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (5, "a configuration is no int: 5"),
        ([], "a configuration is no list"),
        (b"x.yaml", "a configuration is no bytes"),
        ({"episodes": True}, "episodes=True: is neither true nor false"),
        ({"timeout": False}, "timeout=False"),
        ({"timeout": float("inf")}, "timeout=inf"),
        ({"reward_scaling": float("nan")}, "reward_scaling=nan"),
        ({1: 2}, "unknown key 1"),
    ],
)
def test_what_is_no_configuration_is_refused(config, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        RLSchedulerOptimizer(config)


def test_parameters_of_an_own_scheduler_are_known_and_told_not_to_run():
    optimizer = RLSchedulerOptimizer({**OPTIONS, "scheduler_name": "scx_own"})
    optimizer.define_scheduler_params(
        {
            "slice_us": {
                "type": "integer",
                "default": 5000,
                "min_value": 1000,
                "max_value": 50000,
                "description": "base slice",
                "command_arg": "--slice-us",
            },
            "mode": {"type": "categorical", "default": "a", "choices": ["a", "b"]},
            "fast": {"type": "boolean", "default": False},
            "load": {"type": "float", "default": 0.5, "min_value": 0.1, "max_value": 1.0},
        }
    )
    info = optimizer.get_scheduler_info()
    assert info["scheduler_name"] == "scx_own"
    assert info["parameters"]["slice_us"]["command_arg"] == "--slice-us"
    assert set(info["parameters"]) == {"slice_us", "mode", "fast", "load"}
    with pytest.raises(UnavailableError, match="scx_own is defined, but can't be started"):
        optimizer.train()


def test_a_registered_scheduler_is_known_by_its_name():
    spec = ParameterSpec(name="fast", type=ParameterType.BOOLEAN, default=False, command_arg="--fast")
    register_scheduler(SchedulerConfig(name="scx_registered_in_test", parameters={"fast": spec}))
    info = RLSchedulerOptimizer({"scheduler_name": "scx_registered_in_test"}).get_scheduler_info()
    assert info["parameters"] == {"fast": {"type": "boolean", "default": False, "command_arg": "--fast"}}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"policy": {"type": "boolean", "choices": []}}, "policy"),
        ({"nice": {"min_value": -50}}, "out of bounds"),
        ({"nice": {"default": 3}}, "default of nice is"),
        ({"nice": {"minimum": 3}}, "minimum"),
        ({"policy": {"choices": ["other", "fifo"]}}, "fifo"),
        ({"warp": {"type": "boolean", "default": False}}, "warp"),
        ({"nice": 3}, "define_scheduler_params"),
        ({"autogroup_nice": {"max_value": 5}}, "autogroup"),
    ],
)
def test_knobs_that_do_not_exist_like_this_are_refused(parameters, words):
    optimizer = RLSchedulerOptimizer(OPTIONS)
    with pytest.raises((UsageError, UnavailableError), match=words):  # not every kernel has autogroups
        optimizer.define_scheduler_params(parameters)


def test_a_metric_that_the_command_does_not_report_is_refused():
    with pytest.raises(UsageError, match="is less or more"):
        RLSchedulerOptimizer({**OPTIONS, "optimize_metric": "score"}).plan()
    with pytest.raises(UsageError, match="is not a requirement"):
        RLSchedulerOptimizer({**OPTIONS, "algorithm": "gp", "requirements": ["score"]}).plan()


def test_what_is_left_out_and_who_works_here_go_into_the_plan():
    options = {**OPTIONS, "algorithm": "gp"}
    everything, _ = RLSchedulerOptimizer(options).plan()
    plan, _ = RLSchedulerOptimizer({**options, "exclude": ["policy"], "allow_client": True}).plan()
    assert set(everything.scheduler.parameters) - set(plan.scheduler.parameters) == {"policy"}
    assert (everything.workload.works_here, plan.workload.works_here) == (False, True)
    with pytest.raises(UsageError, match="nicer"):
        RLSchedulerOptimizer({**options, "exclude": ["nicer"]}).plan()


def test_the_public_names_are_there():
    names = {
        "OptimizerConfig",
        "ParameterSpec",
        "ParameterType",
        "RLSchedulerOptimizer",
        "SchedulerConfig",
        "optimize_scheduler",
        "register_scheduler",
    }
    assert names <= set(schedtuna.__all__)
    assert OptimizerConfig().algorithm == "ppo"
