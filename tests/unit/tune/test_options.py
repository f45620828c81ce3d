import json
from pathlib import Path

import pytest

from schedtuna.backend.places.guest import Guest
from schedtuna.backend.places.host import Host
from schedtuna.errors import ConfigFileError, SpaceError, UnavailableError, UsageError
from schedtuna.knobs.autogroup import AutogroupNice
from schedtuna.knobs.base import Availability
from schedtuna.knobs.position import Position
from schedtuna.knobs.registry import knob_named
from schedtuna.samplers.registry import missing_extra
from schedtuna.scheduler.entry import entries
from schedtuna.scheduler.fair import fair
from schedtuna.tune.options import OptimizerConfig, find_workload, make_plan, sampler_options, without
from schedtuna.workload.metrics import parse_metric
from schedtuna.workload.spec import Workload
from schedtuna.workload.suite import suite_workload

# The documented defaults, word for word.
DEFAULTS = {
    "scheduler_name": "scx_flashyspark",
    "algorithm": "ppo",
    "episodes": 50,
    "baseline_runs": 3,
    "learning_rate": 1e-3,
    "update_frequency": 5,
    "save_frequency": 25,
    "benchmark_cmd": None,
    "model_path": None,
    "timeout": 300,
    "optimize_metric": "throughput",
    "reward_scaling": 1.0,
    "experiment_name": None,
    "use_gpu": True,
    "pretrained_model_path": None,
}


def test_the_defaults_are_the_documented_ones():
    config = OptimizerConfig()
    assert {name: getattr(config, name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "scheduler_name: fair\nbenchmark_cmd: [true, '1']\n".replace("true", "'true'")),
        ("c.json", json.dumps({"scheduler_name": "fair", "benchmark_cmd": ["true", "1"]})),
        ("c.toml", 'scheduler_name = "fair"\nbenchmark_cmd = ["true", "1"]\n'),
    ],
)
def test_files_say_what_mappings_say(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    expected = OptimizerConfig(scheduler_name="fair", benchmark_cmd=("true", "1"))
    assert OptimizerConfig.read(tmp_path / name) == expected
    assert OptimizerConfig.read(str(tmp_path / name)) == expected
    assert OptimizerConfig.read(expected) is expected
    assert OptimizerConfig.read(None) == OptimizerConfig()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"episode": 5}, "unknown key 'episode'"),
        ({"episodes": 0}, "episodes=0"),
        ({"episodes": "many"}, "episodes='many'"),
        ({"learning_rate": 1.5}, "learning_rate=1.5"),
        ({"timeout": -1}, "timeout=-1"),
        ({"reward_scaling": 0}, "reward_scaling=0"),
        ({"backend": "moon"}, "backend='moon'"),
    ],
)
def test_wrong_keys_and_values_are_refused(content, words):
    with pytest.raises(UsageError, match=words):
        OptimizerConfig.read(content)


def test_an_unknown_key_gets_the_nearest_ones_and_its_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("learning_rat: 0.1\n")
    with pytest.raises(UsageError, match=r"c\.yaml: unknown key") as caught:
        OptimizerConfig.read(path)
    assert caught.value.hint == "did you mean learning_rate?"
    path.write_text("a: [1\n")
    with pytest.raises(ConfigFileError, match=r"c\.yaml, line 2: expected"):
        OptimizerConfig.read(path)


def test_a_command_is_a_list_or_a_string():
    listed = find_workload(["hackbench", "-l", "a b"], None, timeout_s=9)
    assert listed == find_workload("hackbench -l 'a b'", None, timeout_s=9)
    assert listed.argv == ("hackbench", "-l", "a b")
    assert listed.timeout_s == 9


@pytest.mark.parametrize(("command", "words"), [("", "empty"), ([], "empty"), ("echo 'a", "split")])
def test_a_command_that_is_none_is_refused(command, words):
    with pytest.raises(UsageError, match=words):
        find_workload(command, None)


def test_a_model_runs_in_llama_bench_and_its_metrics_have_names(tmp_path, monkeypatch):
    model = tmp_path / "m.gguf"
    with pytest.raises(UsageError, match="no model file"):
        find_workload(None, model)
    model.touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="llama-bench is not on the PATH"):
        find_workload(None, model)
    program = tmp_path / "llama-bench"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    workload = find_workload(None, model)
    assert workload.argv[:3] == (str(program), "-m", str(model))
    assert parse_metric("throughput", workload).name == "tg_tokens_per_sec"
    assert parse_metric("latency", workload).name == "tg_ms_per_token"
    assert parse_metric("pp_tokens_per_sec", workload).direction == "max"


def test_without_any_command_the_suite_runs(tmp_path, monkeypatch):
    (tmp_path / "hackbench").write_text("#!/bin/sh\n")
    (tmp_path / "hackbench").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    workload, metric = OptimizerConfig(timeout=7).what_runs()
    assert metric == "throughput"
    assert Path(workload.argv[0]).name == "hackbench"
    assert workload.timeout_s == 7
    assert parse_metric("throughput", workload).direction == "max"
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnavailableError, match="hackbench"):
        OptimizerConfig().what_runs()


def test_a_bundled_workload_by_name_brings_its_metric_unless_another_is_asked_for():
    workload, metric = OptimizerConfig(workload="interactive-mix", timeout=7).what_runs()
    assert (workload.name, workload.timeout_s, metric) == ("interactive-mix", 7, "p99_us:min")
    assert workload.argv == suite_workload("interactive-mix").workload.argv
    assert OptimizerConfig(workload="interactive-mix", optimize_metric="p50_us").what_runs()[1] == "p50_us"
    _, mixed = OptimizerConfig(workload="short-bursts", optimize_metric="throughput").what_runs()
    assert mixed == "throughput"  # which was asked for, though it is the default's text
    with pytest.raises(UsageError, match="did you mean interactive-mix"):
        OptimizerConfig(workload="interactive-mx").what_runs()
    with pytest.raises(UsageError, match="contradict each other"):
        OptimizerConfig(workload="interactive-mix", benchmark_cmd="true").what_runs()


def test_a_bundled_workload_is_sized_for_the_guest_that_it_runs_in():
    workload = find_workload(None, None, "interactive-mix", place=Guest(cpus=3))
    assert workload.argv == suite_workload("interactive-mix", 3).workload.argv


def test_a_scheduler_that_cannot_run_here_says_what_can():
    with pytest.raises(UnavailableError, match="scx_flashyspark") as caught:
        Host().tunable("scx_flashyspark")
    assert "fair" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="unknown scheduler 'scx_flashyspork'") as wrong:
        Host().tunable("scx_flashyspork")
    assert "scx_flashyspark" in (wrong.value.hint or "")


@pytest.mark.skipif(missing_extra("ppo") is not None, reason="needs the extra rl")
def test_a_sampler_gets_the_options_that_it_has():
    asked = {"learning_rate": 0.1, "update_frequency": None, "use_gpu": False}
    assert sampler_options("ppo", asked) == ({"learning_rate": 0.1, "use_gpu": False}, [])


def test_options_that_a_sampler_lacks_are_told():
    options, notes = sampler_options("gp", {"learning_rate": 0.1, "use_gpu": False})
    assert options == {}
    assert notes == ["sampler gp has no learning_rate, so it is left out"]
    planned, notes = sampler_options("all", {"update_frequency": 2})
    assert notes
    assert {"gp", "random", "ucb"} <= set(planned["samplers"])  # kept for whoever resumes it


def test_a_checkpoint_for_a_sampler_without_a_network_is_refused():
    with pytest.raises(UsageError, match="no network") as caught:
        sampler_options("gp", {"pretrained": "x.pt"})
    assert "ppo" in (caught.value.hint or "")


@pytest.mark.parametrize("excluded", ["nice", "policy", "realtime"])
def test_what_is_left_out_takes_the_rules_that_name_it_along(excluded):
    """And it may be left out where it is not there."""
    scheduler = fair(include=["all"])
    kept = without(scheduler, [excluded])
    assert excluded not in kept.space.names
    assert len(kept.constraints) < len(scheduler.constraints)
    assert without(kept, [excluded]) == kept
    with pytest.raises(UsageError, match="no parameter 'nicer'"):
        without(scheduler, ["nicer"])


@pytest.mark.parametrize(
    ("position", "told"),
    [
        (Position.SESSION, "not searched: nice: autogroup is on"),
        (Position.CHILD, "not searched: autogroup, autogroup_nice: autogroups count only in the root"),
        (Position.EXT, "slice_us"),
    ],
)
def test_a_plan_says_what_is_not_searched_because_it_does_nothing(monkeypatch, position, told):
    monkeypatch.setattr("schedtuna.scheduler.fair.position_of", lambda _target: position)
    if position is Position.SESSION:
        monkeypatch.setattr(type(knob_named("autogroup")), "probe", lambda *_: Availability(False, "no"))
    workload = Workload(argv=("true",))
    plan, notes = make_plan(workload, Host(), "fair", metrics=[], sampler="random", options={}, seed=1)
    line = next(note for note in notes if told in note)
    named = line.split(": ")[1].split(", ")
    assert not set(named) & plan.scheduler.parameters.keys()


def test_what_does_nothing_where_it_would_be_turned_is_refused_by_name(monkeypatch):
    monkeypatch.setattr("schedtuna.scheduler.fair.position_of", lambda _target: Position.CHILD)
    monkeypatch.setattr(AutogroupNice, "probe", lambda *_: Availability(True))
    with pytest.raises(UnavailableError, match="autogroup_nice can't be changed here: autogroups count only"):
        Host().scheduler("fair:autogroup_nice=5")
    with pytest.raises(SpaceError, match="at most one of: policy is idle, nice is set"):
        Host().scheduler("fair:policy=idle,nice=5")


def test_a_parameter_may_be_left_out_by_the_name_that_older_tools_gave_it():
    kept = without(entries()["scx_rusty"].config(), ["slice_us", "direct"])
    assert not {"slice_us_underutil", "direct_greedy_under"} & set(kept.parameters)
    assert "kick_greedy_under" in kept.parameters
