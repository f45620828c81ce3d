import importlib
import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from tests.unit.samplers.spaces import SPACE

from schedtuna.errors import MissingExtraError, SpaceError, UsageError
from schedtuna.samplers.registry import (
    DEFAULT_SAMPLER,
    SAMPLERS,
    installed_samplers,
    make_sampler,
    missing_extra,
    sampler_class,
)
from schedtuna.space import ParameterSpace
from schedtuna.tune.bakeoff import contestants


def make(name, space=SPACE, budget=10, **options):
    return make_sampler(name, space, budget=budget, rng=np.random.default_rng(0), **options)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_table_says_what_the_classes_say(name):
    if missing_extra(name):
        pytest.skip(f"needs the extra '{missing_extra(name)}'")
    assert sampler_class(name).name == name
    assert sampler_class(name).extra == SAMPLERS[name].extra


def test_the_table_points_to_plain_samplers_and_to_learners_alone():
    """Its strings escape the check of imports: only what needs torch lies above the samplers."""
    for name, entry in SAMPLERS.items():
        package = entry.path.split(".")[:2]
        assert package == ["schedtuna", "rl" if entry.extra == "rl" else "samplers"], name


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


OWN = """
from schedtuna.samplers.base import Sampler
from schedtuna.samplers.random import RandomSampler

class Whole(RandomSampler):
    def __init__(self, *args, width=1, **kwargs):
        super().__init__(*args, **kwargs)
        self.width = width

class Odd(RandomSampler):
    def __init__(self, space):
        super().__init__(space, budget=1, rng=None)

class Half(Sampler):
    def ask(self):
        return self.space.default()
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that brings a sampler, which none of this one's is called."""
    (tmp_path / "own_samplers.py").write_text(OWN)
    (tmp_path / "own_broken.py").write_text("1 / 0\n")
    (tmp_path / "own_script.py").write_text("raise SystemExit(0)\n")
    info = tmp_path / "own_samplers-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-samplers\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[schedtuna.samplers]\nown = own_samplers:Whole\ngp = own_samplers:Whole\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield
    for name in ("own_samplers", "own_broken", "own_script"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["own", "own_samplers:Whole"])
def test_samplers_of_other_packages_are_found_by_name_and_by_class(package, name):
    sampler = make(name, width=3)
    assert type(sampler).__module__ == "own_samplers"
    assert sampler.width == 3
    with pytest.raises(UsageError, match="did you mean width"):
        make(name, widht=3)


def test_another_package_can_not_take_a_name_of_ours(package):
    assert type(make("gp")).__module__ == "schedtuna.samplers.gp"
    assert "of own-samplers" in installed_samplers()["own"].summary
    assert "own" in contestants()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("own_samplers:Wole", "own_samplers has no subclass of Sampler of that name"),
        ("json:JSONDecoder", "no subclass of Sampler"),
        ("own_samplers:Half", "Half lacks recommend"),
        ("own_samplers:Odd", "can't be made: got an unexpected keyword argument 'budget'"),
        ("own_broken:Any", "own_broken can't be imported: ZeroDivisionError: division by zero"),
        ("own_script:Any", "own_script can't be imported: SystemExit: 0"),
        ("no_such_module:Any", "can't be imported: ModuleNotFoundError"),
        (":Any", "can't be imported"),
        ("own_samplers:", "no subclass"),
        ("onw", "did you mean own"),
    ],
)
def test_what_is_not_a_sampler_is_refused_with_the_reason(package, name, says):
    with pytest.raises(UsageError, match=says):
        make(name)


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
