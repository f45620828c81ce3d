"""Which samplers are there, what does each need, and how is one made?

One row per sampler; nothing of a sampler is imported before it is made. Those of other packages are named
by their class, ``module:Class``, or by an entry point of the group `ENTRY_POINTS`.
"""

from __future__ import annotations

import importlib.util
import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

from schedtuna import plugins
from schedtuna.errors import MissingExtraError, SpaceError, UsageError, nearest
from schedtuna.samplers.base import Sampler
from schedtuna.space import ParameterSpace


@dataclass(frozen=True)
class SamplerEntry:
    """One sampler that can be named.

    Attributes:
        path: ``module:Class``.
        summary: What it does, for tables and help texts.
        extra: The optional dependency group that it needs; None for the base install.
        modules: The packages that this group must have brought.
    """

    path: str
    summary: str
    extra: str | None = None
    modules: tuple[str, ...] = ()


_RL = ("torch", "stable_baselines3", "gymnasium")

# In the order of a bake-off: the default, plain ones, models, bandits, reinforcement learning.
SAMPLERS: dict[str, SamplerEntry] = {
    "gp": SamplerEntry(
        "schedtuna.samplers.gp:GpSampler", "Gaussian process with a noise model, Thompson sampling"
    ),
    "random": SamplerEntry(
        "schedtuna.samplers.random:RandomSampler", "random draws, then a race of the best"
    ),
    "quasi-random": SamplerEntry(
        "schedtuna.samplers.quasi_random:QuasiRandomSampler", "Sobol points, then a race"
    ),
    "one-at-a-time": SamplerEntry(
        "schedtuna.samplers.one_at_a_time:OneAtATimeSampler",
        "each parameter alone, then what helped together",
    ),
    "halving": SamplerEntry(
        "schedtuna.samplers.halving:HalvingSampler", "successive halving over repetitions"
    ),
    "tpe": SamplerEntry(
        "schedtuna.samplers.optuna_based:TpeSampler", "Optuna's TPE, then a race", "search", ("optuna",)
    ),
    "optuna-gp": SamplerEntry(
        "schedtuna.samplers.optuna_based:OptunaGpSampler",
        "Optuna's GP, then a race",
        "search,rl",
        ("optuna", "torch"),
    ),
    "cmaes": SamplerEntry(
        "schedtuna.samplers.optuna_based:CmaesSampler",
        "Optuna's CMA-ES, then a race",
        "search",
        ("optuna", "cmaes"),
    ),
    "epsilon-greedy": SamplerEntry(
        "schedtuna.samplers.bandits:EpsilonGreedySampler", "bandit: explore with 1/sqrt(n)"
    ),
    "ucb": SamplerEntry("schedtuna.samplers.bandits:UcbSampler", "bandit: upper confidence bounds (UCB1)"),
    "thompson": SamplerEntry("schedtuna.samplers.bandits:ThompsonSampler", "bandit: Thompson sampling"),
    "linucb": SamplerEntry(
        "schedtuna.samplers.bandits:LinUcbSampler", "bandit: linear in parameters and context"
    ),
    "reinforce": SamplerEntry(
        "schedtuna.rl.reinforce:ReinforceSampler", "policy gradient with a baseline", "rl", ("torch",)
    ),
    "ppo": SamplerEntry("schedtuna.rl.sb3:PpoSampler", "stable-baselines3 PPO", "rl", _RL),
    "a2c": SamplerEntry("schedtuna.rl.sb3:A2cSampler", "stable-baselines3 A2C", "rl", _RL),
    "sac": SamplerEntry("schedtuna.rl.sb3:SacSampler", "stable-baselines3 SAC", "rl", _RL),
    "dqn": SamplerEntry("schedtuna.rl.sb3:DqnSampler", "stable-baselines3 DQN over a finite set", "rl", _RL),
}

DEFAULT_SAMPLER = "gp"
ENTRY_POINTS = "schedtuna.samplers"  # the group in which other packages name theirs
OWN_SAMPLER_HINT = "one of your own is named by its class, module:Class"
_OWN_HINT = "docs/tuning.md, section Your own sampler, has an example"


def installed_samplers() -> dict[str, SamplerEntry]:
    """Return every sampler that has a name: those of this package, then those that other ones bring."""
    brought = {
        name: SamplerEntry(plugin.path, f"of {plugin.package}")
        for name, plugin in plugins.installed(ENTRY_POINTS).items()
    }
    return SAMPLERS | {name: entry for name, entry in brought.items() if name not in SAMPLERS}


def missing_extra(name: str) -> str | None:
    """The optional dependency group that this sampler lacks; None where it can be made.

    Raises:
        UsageError: No sampler has this name.
    """
    entry = _entry(name)
    lacking = [module for module in entry.modules if importlib.util.find_spec(module) is None]
    return entry.extra if lacking else None


def make_sampler(
    name: str, space: ParameterSpace, *, budget: int, rng: np.random.Generator, **options: Any
) -> Sampler:
    """Make a sampler by name.

    Args:
        name: A key of `installed_samplers`, or ``module:Class``.
        space: What can be varied; at least one parameter.
        budget: Runs that the search may take, repeats included; at least 1.
        rng: The only source of randomness.
        options: What this sampler's class takes beyond that.

    Raises:
        UsageError: Unknown name, not a sampler, unknown option, or a budget below 1.
        SpaceError: The space has no parameter.
        MissingExtraError: Its packages are not installed.
    """
    _entry(name)
    if budget < 1:
        raise UsageError(f"a search budget of {budget} runs: expected at least 1")
    if not space.unit_size:
        raise SpaceError("nothing to tune: the space has no parameters")
    found = sampler_class(name)
    known = found.options()
    for option in options:
        if option not in known:
            raise UsageError(f"sampler {name} has no option {option!r}: {nearest(option, known)}")
    try:
        inspect.signature(found).bind(space, budget=budget, rng=rng, **options)
    except TypeError as error:
        raise UsageError(f"sampler {name} can't be made: {error}", hint=OWN_SAMPLER_HINT) from None
    return found(space, budget=budget, rng=rng, **options)


def sampler_class(name: str) -> type[Sampler]:
    """Return a sampler's class, for its `options()`.

    Raises:
        UsageError: No sampler has this name, or what is named is not a sampler.
        MissingExtraError: Its packages are not installed.
    """
    extra = missing_extra(name)
    if extra:
        raise MissingExtraError(f"sampler {name}", extra)
    return plugins.load_class(_entry(name).path, Sampler, what=f"sampler {name}", hint=_OWN_HINT)


def learners() -> list[str]:
    """Names of the samplers that train a network."""
    return [name for name, entry in SAMPLERS.items() if entry.extra == "rl"]


def _entry(name: str) -> SamplerEntry:
    if name in SAMPLERS:
        return SAMPLERS[name]
    if ":" in name:
        return SamplerEntry(name, "a class")
    known = installed_samplers()
    if name not in known:
        raise UsageError(f"unknown sampler {name!r}: {nearest(name, known)}", hint=OWN_SAMPLER_HINT)
    return known[name]
