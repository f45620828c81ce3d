"""The examples as a user starts them, with a small budget and a command that takes no time."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from schedtuna.errors import MetricError
from schedtuna.samplers.conformance import check_sampler
from schedtuna.samplers.registry import missing_extra, sampler_class
from schedtuna.scheduler import registry
from schedtuna.scheduler.arguments import command_line
from schedtuna.scheduler.lookup import registered
from schedtuna.scheduler.parse import parse_scheduler
from schedtuna.tune.options import OptimizerConfig
from schedtuna.workload.parsers import named_parser

EXAMPLES = Path(__file__).parents[2] / "examples"
VERDICTS = ("improved", "no_evidence", "worse", "too_noisy")


@pytest.fixture
def example(tmp_path):
    def run(name, *arguments):
        return subprocess.run(
            [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run


def test_basic_usage(example, tmp_path):
    done = example("basic_usage.py", 6, "true")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].removeprefix("verdict: ") in VERDICTS
    assert len(list(tmp_path.glob("results/fair_gp_6ep_*/report.html"))) == 1


@pytest.mark.skipif(missing_extra("ppo") is not None, reason="needs the extra rl")
def test_advanced_usage(example, tmp_path):
    done = example("advanced_usage.py", 10, "true")
    assert done.returncode == 0, done.stderr
    assert "first study:" in done.stdout
    assert "tested: wall_time_s" in done.stdout
    assert "second study:" in done.stdout
    assert len(list(tmp_path.glob("results/fair_ppo_10ep_*"))) == 2
    assert "search ok" in done.stderr


def test_config_file_usage(example, tmp_path):
    config = yaml.safe_load((EXAMPLES / "config.yaml").read_text())
    OptimizerConfig.read(config)  # every key is a known one
    short = tmp_path / "short.yaml"
    short.write_text(yaml.safe_dump(config | {"episodes": 6, "benchmark_cmd": "true"}))
    done = example("config_file_usage.py", short)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tuning fair with gp")
    proven = done.stdout.splitlines()[1].startswith("improved ")
    assert ("schedtuna apply results/fair_gp_6ep_" in done.stdout) == proven


def test_config_file_with_a_wrong_key(example, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("scheduler_nam: fair\n")
    done = example("config_file_usage.py", wrong)
    assert done.returncode != 0
    assert "unknown key 'scheduler_nam'" in done.stderr


def test_custom_scheduler_params(example, tmp_path):
    done = example("custom_scheduler_params.py", 6, "true")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("scx_mine has slice_us, eager")
    assert "verdict:" in done.stdout


def test_own_sampler(example, tmp_path):
    done = example("own_sampler.py", 8, "true")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].removeprefix("verdict: ") in VERDICTS
    assert len(list(tmp_path.glob("results/fair_own_sampler-HillClimb_8ep_*"))) == 1


def test_the_own_sampler_keeps_the_contract(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    check_sampler(sampler_class("own_sampler:HillClimb"))


def test_own_parser(example):
    done = example("own_parser.py", 16)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{16 << 16} bytes, ")


def test_the_own_parser_tells_what_was_not_measured(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    parser = named_parser("own_parser:DD")
    assert parser.read("1+0 records out\n4096 bytes (4.1 kB, 4.0 KiB) copied, 5.2e-05 s, 78.8 MB/s\n") == {
        "bytes": 4096, "time_s": 5.2e-05, "bytes_per_s": 4096 / 5.2e-05,
    }  # fmt: skip
    assert parser.reading("0 bytes copied, 1.6e-05 s, 0.0 kB/s\n").unmeasured.keys() == {
        "bytes", "time_s", "bytes_per_s"
    }  # fmt: skip
    with pytest.raises(MetricError, match="no result of dd"):
        parser.read("dd: failed to open 'x': No such file or directory\n")


def test_every_example_is_tested():
    tested = {
        "basic_usage.py",
        "advanced_usage.py",
        "config_file_usage.py",
        "custom_scheduler_params.py",
        "own_agent.py",
        "own_parser.py",
        "own_sampler.py",
        "own_scheduler.py",
        "simulate.py",
        "train_offline.py",
        "train_ppo.py",
    }
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested


def test_an_own_scheduler_is_the_same_as_a_file_and_as_a_module(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_user_schedulers", {})
    monkeypatch.syspath_prepend(str(EXAMPLES))
    file = tmp_path / "scx_mine.toml"  # of ours, whoever owns the examples
    file.write_bytes((EXAMPLES / file.name).read_bytes())
    defined = parse_scheduler(f"{file}:slice_us=2000,balance=false", registered)
    assert defined == parse_scheduler("own_scheduler:MINE:slice_us=2000,balance=false", registered)
    assert command_line(defined) == ["--slice-us=2000", "--balance=false"]


def test_simulate(example):
    done = example("simulate.py", 1)
    assert done.returncode == 0, done.stderr
    assert {line.split("  ")[0].strip() for line in done.stdout.splitlines()} == {"fair", "wakers first"}


@pytest.mark.skipif(missing_extra("ppo") is not None, reason="needs the extra rl")
def test_own_agent(example):
    done = example("own_agent.py", 4096)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.skipif(missing_extra("ppo") is not None, reason="needs the extra rl")
def test_train_ppo(example, tmp_path):
    done = example("train_ppo.py", "learning.png", 4096)
    assert done.returncode == 0, done.stderr
    assert "EEVDF                      -100.0" in done.stdout
    assert (tmp_path / "learning.png").stat().st_size > 10_000


@pytest.mark.skipif(find_spec("lightgbm") is None, reason="needs the extra learn")
def test_train_offline(example, tmp_path):
    done = example("train_offline.py", ".", 0.6)
    assert done.returncode == 0, done.stderr
    told = [line.split()[0] for line in done.stdout.splitlines()]
    assert {"tree", "linear", "running_median", "fair", "las", "srtf", "schedtuna"} == set(told)
    assert (tmp_path / "best.safetensors").is_file()
