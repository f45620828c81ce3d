"""Noisy synthetic surfaces with a known optimum, for benchmarks of samplers.

A surface is a true cost (log of the metric; 0 at the optimum) over mixed parameters, built from
terms that are never negative and all vanish at one hidden assignment, which is therefore optimal.
Two disjoint families exist: samplers are developed on one, and the published table is of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from schedtuna.space import Assignment, Condition, ParameterSpace, ParameterSpec, ParameterType

KINDS = ("additive", "interacting", "conditional")
OUTLIER_RATE, OUTLIER_FACTOR = 0.02, (1.5, 3.5)
DEFAULT_REGRET = (0.10, 0.40)  # how far the default is from the optimum, in log units

Term = Callable[[Mapping[str, float]], float]


@dataclass(frozen=True)
class Surface:
    """One problem.

    Attributes:
        space: What can be varied.
        terms: Parts of the true cost, by the coordinates of an assignment.
        scale: Factor on their sum.
    """

    space: ParameterSpace
    terms: tuple[Term, ...]
    scale: float

    def regret(self, values: Assignment) -> float:
        """True log cost above the optimum's: 0.05 is about 5% worse."""
        at = coordinates(self.space, values)
        return self.scale * sum(term(at) for term in self.terms)

    def run(self, values: Assignment, cv: float, rng: np.random.Generator) -> float:
        """One noisy run's cost relative to the default: lognormal noise of this CV, and 2% outliers."""
        cost = self.regret(values) - self.regret(self.space.default())
        cost += np.sqrt(np.log1p(cv**2)) * rng.standard_normal()
        if rng.random() < OUTLIER_RATE:
            cost += np.log(rng.uniform(*OUTLIER_FACTOR))
        return float(cost)


def coordinates(space: ParameterSpace, values: Assignment) -> dict[str, float]:
    """Each number on its scale in [0, 1]; each word by its index."""
    at: dict[str, float] = {}
    for spec in space.specs:
        value = values[spec.name]
        if spec.type is ParameterType.CATEGORICAL:
            at[spec.name] = spec.choices.index(str(value))
        elif spec.type is ParameterType.BOOLEAN:
            at[spec.name] = float(bool(value))
        else:
            at[spec.name] = spec.to_unit(value)[0]
    return at


def mixed_space(nr_parameters: int, rng: np.random.Generator, *, conditional: bool) -> ParameterSpace:
    """A space like a scheduler's: slices on a log scale, switches, thresholds, counts and a mode.

    Where conditional, the first parameter is a mode, and each other one in three depends on it.
    """
    rows: list[ParameterSpec] = []
    makers = [_log_integer, _switch, _fraction, _mode, _count, _switch]
    if conditional:
        makers = [_mode, _log_integer, _fraction, _switch, _count, _log_integer]
    for index in range(nr_parameters):
        condition = None
        if conditional and index and index % 3 != 0:
            condition = Condition(parameter="p0", values=(str(rng.choice(["a", "b", "c"])),))
        rows.append(makers[index % len(makers)](f"p{index}", rng, condition))
    return ParameterSpace(specs=tuple(rows))


def _log_integer(name: str, rng: np.random.Generator, condition: Condition | None) -> ParameterSpec:
    low, high = 100, 100_000
    default = round(10 ** rng.uniform(2.3, 4.7))
    return ParameterSpec(
        name=name, type=ParameterType.INTEGER, default=default, min_value=low, max_value=high, log=True,
        condition=condition,
    )  # fmt: skip


def _switch(name: str, rng: np.random.Generator, condition: Condition | None) -> ParameterSpec:
    return ParameterSpec(
        name=name, type=ParameterType.BOOLEAN, default=bool(rng.integers(2)), condition=condition
    )


def _fraction(name: str, rng: np.random.Generator, condition: Condition | None) -> ParameterSpec:
    default = round(float(rng.uniform(0.1, 0.9)), 2)
    return ParameterSpec(
        name=name, type=ParameterType.FLOAT, default=default, min_value=0, max_value=1, condition=condition
    )


def _mode(name: str, rng: np.random.Generator, condition: Condition | None) -> ParameterSpec:
    choices = ("a", "b", "c")
    default = choices[int(rng.integers(3))]
    return ParameterSpec(
        name=name, type=ParameterType.CATEGORICAL, default=default, choices=choices, condition=condition
    )


def _count(name: str, rng: np.random.Generator, condition: Condition | None) -> ParameterSpec:
    return ParameterSpec(
        name=name, type=ParameterType.INTEGER, default=int(rng.integers(1, 9)), min_value=1, max_value=8,
        condition=condition,
    )  # fmt: skip


def make_surface(family: str, kind: str, nr_parameters: int, seed: int) -> Surface:
    """Draw a problem.

    Args:
        family: ``development`` or ``final``.
        kind: One of `KINDS`, or ``flat``, where nothing matters.
        nr_parameters: How many parameters.
        seed: Equal seeds give equal problems.
    """
    rng = np.random.default_rng([seed, nr_parameters, [*KINDS, "flat"].index(kind), family == "final"])
    space = mixed_space(nr_parameters, rng, conditional=kind == "conditional")
    if kind == "flat":
        return Surface(space, (), 0.0)
    best = space.sample(rng)
    at = coordinates(space, best)
    # A few parameters matter much, the others little: weights fall geometrically, in random order.
    weights = dict(zip(rng.permutation(list(space.names)), 0.7 ** np.arange(nr_parameters), strict=True))
    shape = _development_term if family == "development" else _final_term
    terms: list[Term] = []
    for spec in space.specs:
        weight = weights[spec.name]
        term = shape(spec, at[spec.name], weight, rng)
        if spec.condition is not None:
            term = _inside(spec.condition, space["p0"].choices, best["p0"], term, weight)
        terms.append(term)
    if kind == "interacting":
        pair = _development_pair if family == "development" else _final_pair
        names = list(space.names)
        for _ in range(nr_parameters):
            a, b = rng.choice(names, size=2, replace=False)
            terms.append(pair(at, (str(a), str(b)), 0.8 * (weights[a] + weights[b]), rng))
    surface = Surface(space, tuple(terms), 1.0)
    wanted, unscaled = rng.uniform(*DEFAULT_REGRET), surface.regret(space.default())
    if unscaled < 1e-3 or wanted / unscaled > 20:  # the default is (nearly) optimal: draw another
        return make_surface(family, kind, nr_parameters, seed + 10_000)
    return Surface(space, tuple(terms), wanted / unscaled)


def _inside(condition: Condition, choices: tuple[str, ...], best: object, term: Term, weight: float) -> Term:
    """A conditional parameter's term: its own where active, half its weight where another mode rules.

    At the optimum's mode the parameters that are active reach zero, and the inactive ones cost
    nothing; elsewhere the inactive ones cost what choosing that mode forgoes.
    """
    own = float(choices.index(str(condition.values[0])))
    home = own == choices.index(str(best))

    def cost(at: Mapping[str, float]) -> float:
        if at["p0"] == own:
            return term(at)
        return 0.5 * weight if home else 0.0

    return cost


def _words(spec: ParameterSpec, best: float, weight: float, rng: np.random.Generator) -> Term:
    losses = rng.uniform(0.3, 1.0, size=3)
    return lambda at: 0.0 if at[spec.name] == best else weight * float(losses[int(at[spec.name])])


def _development_term(spec: ParameterSpec, best: float, weight: float, rng: np.random.Generator) -> Term:
    """A bowl: the square of the distance."""
    if spec.type in (ParameterType.BOOLEAN, ParameterType.CATEGORICAL):
        return _words(spec, best, weight, rng)
    return lambda at: weight * 3 * (at[spec.name] - best) ** 2


def _final_term(spec: ParameterSpec, best: float, weight: float, rng: np.random.Generator) -> Term:
    """A cliff on one side and a slope that flattens on the other, with a dead zone between."""
    if spec.type in (ParameterType.BOOLEAN, ParameterType.CATEGORICAL):
        return _words(spec, best, weight, rng)
    side, dead, steep = float(rng.choice([-1, 1])), rng.uniform(0.02, 0.1), rng.uniform(10, 30)
    threshold = rng.uniform(0.15, 0.3)

    def cost(at: Mapping[str, float]) -> float:
        away = side * (at[spec.name] - best)
        if away > dead:
            return weight * float(1 - np.exp(-2.5 * (away - dead)))
        if away < -dead:
            edge = 1 / (1 + np.exp(steep * threshold))
            return weight * float(1 / (1 + np.exp(-steep * (-away - dead - threshold))) - edge)
        return 0.0

    return cost


def _development_pair(
    best: Mapping[str, float], names: tuple[str, str], weight: float, rng: np.random.Generator
) -> Term:
    """A diagonal valley through the optimum."""
    a, b = names
    sign = float(rng.choice([-1, 1]))
    return lambda at: weight * ((at[a] - best[a]) + sign * (at[b] - best[b])) ** 2


def _final_pair(
    best: Mapping[str, float], names: tuple[str, str], weight: float, rng: np.random.Generator
) -> Term:
    """One parameter matters only while the other is away from its best, or only while it is near."""
    a, b = names
    near = bool(rng.integers(2))

    def cost(at: Mapping[str, float]) -> float:
        gate = float(np.exp(-8 * (at[b] - best[b]) ** 2))
        return weight * min(abs(at[a] - best[a]), 1.0) * (gate if near else 1 - gate)

    return cost
