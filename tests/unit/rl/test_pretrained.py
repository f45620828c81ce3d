"""The policy that comes along is found by name, fits its environment, and is what its card says."""

# ruff: noqa: E402 - after the skips
import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

for module in ("gymnasium", "sb3_contrib", "stable_baselines3", "torch"):
    pytest.importorskip(module)

from schedtuna.cli.main import main
from schedtuna.errors import PolicyError
from schedtuna.rl.comparing import compare
from schedtuna.rl.loads import splits_for
from schedtuna.rl.policy import load_policy
from schedtuna.rl.pretrained import PRETRAINED, find_policy, is_policy, pretrained_path
from schedtuna.rl.training import require_apart
from schedtuna.rl.world import World


@pytest.mark.parametrize("name", PRETRAINED)
def test_it_fits_and_is_small(name):
    assert pretrained_path(name).stat().st_size <= 1 << 20
    manifest = find_policy(name).manifest
    find_policy(name).require_fit(World(manifest.fit.environment, manifest.parameters).fit())
    assert manifest.splits == splits_for(manifest.fit.environment, [], [], [])
    require_apart(manifest.splits)


@pytest.mark.parametrize("name", PRETRAINED)
def test_it_is_better_than_the_kernels_scheduler_on_loads_that_it_has_not_seen(name):
    loads = find_policy(name).manifest.splits.test
    policy, fair = compare([name, "fair"], loads, {}, seed=5, episodes=16).sides
    assert policy.score > fair.score and fair.verdict == "worse"


def test_a_name_is_no_path_and_a_path_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_policy("pretrained") and is_policy("some.safetensors") and not is_policy("las")
    Path("pretrained").mkdir()
    assert find_policy("pretrained").manifest.fit.environment == "schedtuna/PickNext-v0"
    with pytest.raises(PolicyError):
        find_policy("./pretrained")
    copied = pretrained_path("pretrained").read_bytes()
    Path("pretrained/model.safetensors").write_bytes(copied)
    for (one, bias), (other, other_bias) in zip(
        find_policy("./pretrained").network.layers,
        load_policy(Path("pretrained")).network.layers,
        strict=True,
    ):
        assert np.array_equal(one, other) and np.array_equal(bias, other_bias)


def told(capsys, *line):
    with contextlib.suppress(SystemExit):
        main([*line, "--json"])
    return json.loads(capsys.readouterr().out)


def test_commands_know_its_name(capsys):
    found = told(capsys, "rl", "eval", "pretrained", "--episodes", "4", "--workload", "poisson:load=0.8")
    assert found["manifest"]["algorithm"] == "maskable_ppo" and len(found["loads"]["poisson:load=0.8"]) == 4
    assert told(capsys, "rl", "list")["policies"].keys() == PRETRAINED.keys()
