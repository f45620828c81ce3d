import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from tests.unit.samplers.spaces import SPACE

from schedtuna.errors import MissingExtraError, SpaceError, UsageError
from schedtuna.samplers.registry import (
    ALL_SAMPLERS,
    DEFAULT_SAMPLER,
    SAMPLERS,
    make_sampler,
    missing_extra,
    sampler_class,
)
from schedtuna.space import ParameterSpace


def make(name, space=SPACE, budget=10, **options):
    return make_sampler(name, space, budget=budget, rng=np.random.default_rng(0), **options)


@pytest.mark.parametrize("name", ALL_SAMPLERS)
def test_the_table_says_what_the_classes_say(name):
    if missing_extra(name):
        pytest.skip(f"needs the extra '{missing_extra(name)}'")
    assert sampler_class(name).name == name
    assert sampler_class(name).extra == SAMPLERS[name].extra


def test_the_table_points_to_plain_samplers_and_to_learners_alone():
    """Its strings escape the check of imports: only what needs torch lies above the samplers."""
    for name, entry in SAMPLERS.items():
        package = entry.path.partition(".")[0]
        assert package == ("rl" if entry.extra == "rl" else "samplers"), name


def test_the_default_needs_no_extra():
    assert SAMPLERS[DEFAULT_SAMPLER].extra is None


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: make("ppoo"), UsageError, "unknown sampler 'ppoo': did you mean ppo"),
        (lambda: make("random", budget=0), UsageError, "expected at least 1"),
        (lambda: make("random", space=ParameterSpace(specs=())), SpaceError, "nothing to tune"),
        (lambda: make("random", learning_rate=1), UsageError, "has no option 'learning_rate'"),
        (lambda: make("linucb", widht=1), UsageError, "did you mean width"),
    ],
)
def test_bad_requests_are_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_a_missing_extra_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "optuna" else find(name))
    assert missing_extra("tpe") == "search"
    assert missing_extra("gp") is None
    with pytest.raises(MissingExtraError, match="sampler tpe needs the extra 'search'"):
        make("tpe")


def test_naming_samplers_imports_none():
    code = (
        "import sys, schedtuna.samplers.registry as r; r.missing_extra('ppo'); "
        "print([m for m in ('torch', 'optuna', 'stable_baselines3', 'scipy.stats') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
