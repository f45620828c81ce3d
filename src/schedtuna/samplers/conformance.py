"""Does a sampler keep the contract? Checks that every sampler here passes, for yours too.

from schedtuna.samplers.conformance import check_sampler

check_sampler(MySampler)  # raises ConformanceError and says what was expected
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from schedtuna.errors import ConformanceError, SchedtunaError, UsageError
from schedtuna.samplers.base import Sampler
from schedtuna.samplers.observation import Observation
from schedtuna.space import (
    Assignment,
    Condition,
    Conflict,
    EqualCount,
    Ordering,
    ParameterSpace,
    ParameterSpec,
    ParameterType,
    ParameterValue,
)

BUDGET = 24
NOISE_SD = 0.05


class SamplerFactory(Protocol):
    """Makes a sampler: a subclass of `Sampler`, or a function around one."""

    def __call__(self, space: ParameterSpace, *, budget: int, rng: np.random.Generator) -> Sampler:
        """Return a fresh sampler."""
        ...


SWITCH = ParameterSpec(name="switch", type=ParameterType.BOOLEAN, default=False)
SLICE = ParameterSpec(
    name="slice_us", type=ParameterType.INTEGER, default=3000, min_value=100, max_value=100_000, log=True
)

# Every kind of parameter and of rule.
RULED = ParameterSpace(
    specs=(
        SLICE,
        ParameterSpec(
            name="lag_us",
            type=ParameterType.INTEGER,
            default=5000,
            min_value=100,
            max_value=100_000,
            log=True,
        ),
        SWITCH,
        ParameterSpec(name="other_switch", type=ParameterType.BOOLEAN, default=False),
        ParameterSpec(name="mode", type=ParameterType.CATEGORICAL, default="a", choices=("a", "b", "c")),
        ParameterSpec(
            name="threshold",
            type=ParameterType.FLOAT,
            default=0.5,
            min_value=0,
            max_value=1,
            condition=Condition(parameter="mode", values=("b",)),
        ),
        ParameterSpec(name="queues", type=ParameterType.INTEGER, default=2, min_value=1, max_value=3),
        ParameterSpec(
            name="slices",
            type=ParameterType.LIST,
            default=(5, 10),
            min_value=1,
            max_value=50,
            max_length=3,
            increasing=True,
        ),
    ),
    constraints=(
        Ordering(parameters=("slice_us", "lag_us")),
        Conflict(at_most_one_of=(Condition(parameter="switch"), Condition(parameter="other_switch"))),
        EqualCount(lists=("slices",), count="queues"),
    ),
)
PLAIN = ParameterSpace(specs=(SLICE, SWITCH))
SPACES = {
    "rules": RULED,
    "one parameter": ParameterSpace(specs=(SLICE,)),
    "one switch": ParameterSpace(specs=(SWITCH,)),
    "one value": ParameterSpace(
        specs=(ParameterSpec(name="fixed", type=ParameterType.INTEGER, default=7, min_value=7, max_value=7),)
    ),
}


def check_sampler(factory: SamplerFactory) -> None:
    """Run all checks.

    Raises:
        ConformanceError: The first check that failed, and how.
    """
    for check in CHECKS:
        check(factory)


def only_valid_assignments(factory: SamplerFactory) -> None:
    """`ask` and `recommend` return complete assignments that follow every rule, at any time."""
    for name, space in SPACES.items():
        sampler = _make(factory, space)
        _valid(sampler, sampler.recommend(), f"recommend() before any run, space '{name}'")
        rng = np.random.default_rng(1)
        for run in range(BUDGET + 3):  # a little beyond the budget
            values = sampler.ask()
            _valid(sampler, values, f"ask() before run {run}, space '{name}'")
            sampler.tell(Observation(values, _cost(values) + NOISE_SD * rng.standard_normal()))
            if run % 6 == 0:
                _valid(sampler, sampler.recommend(), f"recommend() after run {run}, space '{name}'")


def default_first(factory: SamplerFactory) -> None:
    """Without any history, the default runs first, and is what a fresh sampler recommends."""
    sampler = _make(factory, RULED)
    _expect(sampler.ask() == RULED.default(), "the first ask() was not the default")
    _expect(_make(factory, RULED).recommend() == RULED.default(), "a fresh sampler recommends a change")


def equal_seeds_agree(factory: SamplerFactory) -> None:
    """Equal seeds and equal tells give equal asks, whatever else runs in between."""
    first, second, third = (_make(factory, RULED, seed=seed) for seed in (3, 3, 4))
    for run in range(BUDGET):
        values = first.ask()
        np.random.standard_normal()  # somebody else uses the global generator
        third.tell(Observation(third.ask(), 0.0))
        again = second.ask()
        _expect(values == again, f"equal seeds differ at ask {run}: {values} and {again}")
        for sampler in (first, second):
            sampler.tell(Observation(values, _cost(values)))
    _expect(first.recommend() == second.recommend(), "equal seeds recommend different assignments")


def global_generators_are_left_alone(factory: SamplerFactory) -> None:
    """The generator that is handed in is the only randomness that is used up."""
    before = np.random.get_state(legacy=False)
    _drive(_make(factory, PLAIN), _cost)
    after = np.random.get_state(legacy=False)
    _expect(repr(before) == repr(after), "numpy's global generator was drawn from or reseeded")


def a_resumed_study_continues(factory: SamplerFactory) -> None:
    """A fresh sampler that is told the whole history recommends what the old one does, and goes on."""
    old = _make(factory, RULED)
    noise = np.random.default_rng(2)
    _drive(old, lambda values: _cost(values) + NOISE_SD * noise.standard_normal(), runs=BUDGET - 4)
    fresh = _make(factory, RULED)
    for observation in old.history:
        fresh.tell(observation)
    _expect(
        fresh.recommend() == old.recommend(),
        f"rebuilt from its history it recommends {fresh.recommend()} instead of {old.recommend()}",
    )
    for _ in range(4):
        values = fresh.ask()
        _valid(fresh, values, "ask() after a resume")
        fresh.tell(Observation(values, _cost(values)))


def unasked_runs_are_taken(factory: SamplerFactory) -> None:
    """Assignments that it never asked for are told before the first ask, and instead of what it asked."""
    sampler = _make(factory, RULED)
    rng = np.random.default_rng(5)
    for _ in range(3):
        sampler.tell(Observation(RULED.default(), NOISE_SD * rng.standard_normal()))
    ran = {RULED.key(RULED.default())}
    for run in range(BUDGET - 3):
        asked = sampler.ask()
        values = RULED.sample(rng) if run % 3 == 0 else asked
        sampler.tell(Observation(values, _cost(values)))
        ran.add(RULED.key(values))
    _expect(len(sampler.history) == BUDGET, "history does not have every run that was told")
    told = {RULED.key(o.values) for o in sampler.history}
    _expect(told == ran, "history has other assignments than those that were told")
    _expect(RULED.key(sampler.recommend()) in ran, "recommends an assignment that never ran")


def an_obvious_gain_is_found(factory: SamplerFactory) -> None:
    """A switch that halves the cost of a quiet metric is on in what is recommended."""
    sampler = _make(factory, PLAIN)
    _drive(sampler, lambda values: -0.7 if values["switch"] else 0.0)
    _expect(bool(sampler.recommend()["switch"]), "did not find a switch that halves the cost")


def asking_twice_is_harmless(factory: SamplerFactory) -> None:
    """An ask whose run never came back does not stop the next one."""
    sampler = _make(factory, PLAIN)
    for _ in range(BUDGET // 2):
        sampler.ask()
        values = sampler.ask()
        sampler.tell(Observation(values, _cost(values)))
    _valid(sampler, sampler.recommend(), "recommend() after asks without runs")


def failures_are_never_recommended(factory: SamplerFactory) -> None:
    """Where a switch makes every run fail, it is not recommended, and no failure is repeated for long."""
    sampler = _make(factory, PLAIN)
    _drive(sampler, lambda values: None if values["switch"] else _cost(values))
    _expect(not sampler.recommend()["switch"], "recommends an assignment all of whose runs failed")
    failed: dict[tuple[ParameterValue, ...], int] = {}
    for observation in sampler.history:
        if observation.cost is None:
            key = PLAIN.key(observation.values)
            failed[key] = failed.get(key, 0) + 1
    worst = max(failed.values(), default=0)
    _expect(worst <= BUDGET // 3, f"repeated a failing assignment {worst} times in {BUDGET} runs")


def nothing_works(factory: SamplerFactory) -> None:
    """Where every run fails, the default is recommended."""
    sampler = _make(factory, RULED)
    _drive(sampler, lambda _values: None)
    _expect(sampler.recommend() == RULED.default(), "recommends a failure instead of the default")


def constant_costs(factory: SamplerFactory) -> None:
    """Where nothing matters, everything still works."""
    sampler = _make(factory, RULED)
    _drive(sampler, lambda _values: 0.0)
    _valid(sampler, sampler.recommend(), "recommend() after constant costs")


def a_budget_of_one(factory: SamplerFactory) -> None:
    """The smallest budget gives the default."""
    sampler = factory(RULED, budget=1, rng=np.random.default_rng(0))
    values = sampler.ask()
    _valid(sampler, values, "ask() with a budget of 1")
    sampler.tell(Observation(values, 0.0))
    _valid(sampler, sampler.recommend(), "recommend() with a budget of 1")


def a_lucky_run_does_not_win(factory: SamplerFactory) -> None:
    """Fifteen runs of a good assignment beat the luckiest of thirty single runs."""
    sampler = _make(factory, PLAIN, budget=80)
    rng = np.random.default_rng(11)
    proven: dict[str, ParameterValue] = {"slice_us": 20_000, "switch": True}
    singles = [{**PLAIN.sample(rng), "switch": False} for _ in range(30)]
    spread = np.log(np.arange(1, 31) / np.arange(30, 0, -1)) / 20  # 30 logistic quantiles, sd about 0.1
    lucky = rng.permutation(np.r_[-0.3, spread[1:]])
    costs = np.r_[spread[::3], spread[::2] - 0.1, lucky]
    for values, cost in zip([PLAIN.default()] * 10 + [proven] * 15 + singles, costs, strict=True):
        sampler.tell(Observation(values, float(cost)))
    chosen = sampler.recommend()
    _expect(chosen == proven, f"recommends {chosen}, which was lucky once, instead of {proven}")


def returned_assignments_are_copies(factory: SamplerFactory) -> None:
    """Changing what `ask` or `recommend` returned changes nothing inside."""
    sampler = _make(factory, PLAIN)
    for _ in range(BUDGET // 2):
        values = sampler.ask()
        told = dict(values)
        values["slice_us"] = 100
        sampler.tell(Observation(told, _cost(told)))
    before = dict(sampler.recommend())
    sampler.recommend()["slice_us"] = 100
    _expect(sampler.recommend() == before, "recommend() returns an assignment that it keeps")


def suggestions_are_tried(factory: SamplerFactory) -> None:
    """What was good in another study runs early, and is not recommended for that."""
    good: dict[str, ParameterValue] = {"slice_us": 20_000, "switch": True}
    elsewhere = [Observation(PLAIN.default(), 0.0), Observation(good, -0.5), Observation(good, -0.5)]
    sampler = _make(factory, PLAIN)
    sampler.pretrain(elsewhere)
    _expect(sampler.recommend() == PLAIN.default(), "recommends what only ran in another study")
    _drive(sampler, _cost, runs=BUDGET // 2)
    _expect(any(o.values == good for o in sampler.history), "never tried what was best in another study")


def a_models_word_is_tried_and_no_more(factory: SamplerFactory) -> None:
    """What a model finds good runs early, and is not recommended for that, nor where runs contradict it."""
    good: dict[str, ParameterValue] = {"slice_us": 90_000, "switch": True}
    rng = np.random.default_rng(8)
    settings = [PLAIN.default(), good, *(PLAIN.sample(rng) for _ in range(20))]
    wrong = [Observation(values, -0.5 if values == good else -_cost(values)) for values in settings]
    sampler = _make(factory, PLAIN)
    sampler.trust(wrong)
    _expect(sampler.recommend() == PLAIN.default(), "recommends what only a model has seen")
    _drive(sampler, _cost)
    _expect(any(o.values == good for o in sampler.history), "never tried what is best in the model")
    _expect(_cost(sampler.recommend()) <= _cost(PLAIN.default()), "believes a model that runs contradict")


def checkpoints_fit_their_space_only(factory: SamplerFactory) -> None:
    """A checkpoint, where there is one, is read back for the same space and refused for another."""
    sampler = _make(factory, PLAIN)
    _drive(sampler, _cost)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        sampler.save(path)
        if not path.exists():
            return
        _make(factory, PLAIN).load(path)
        try:
            _make(factory, RULED).load(path)
        except UsageError:
            return
    raise ConformanceError("loaded a checkpoint of another space")


CHECKS: tuple[Callable[[SamplerFactory], None], ...] = (
    only_valid_assignments,
    default_first,
    equal_seeds_agree,
    global_generators_are_left_alone,
    a_resumed_study_continues,
    unasked_runs_are_taken,
    an_obvious_gain_is_found,
    asking_twice_is_harmless,
    failures_are_never_recommended,
    nothing_works,
    constant_costs,
    a_budget_of_one,
    a_lucky_run_does_not_win,
    returned_assignments_are_copies,
    suggestions_are_tried,
    a_models_word_is_tried_and_no_more,
    checkpoints_fit_their_space_only,
)


def _make(factory: SamplerFactory, space: ParameterSpace, *, budget: int = BUDGET, seed: int = 0) -> Sampler:
    return factory(space, budget=budget, rng=np.random.default_rng(seed))


def _drive(sampler: Sampler, cost: Callable[[Assignment], float | None], *, runs: int = BUDGET) -> None:
    for _ in range(runs):
        values = sampler.ask()
        sampler.tell(Observation(values, cost(values)))


def _cost(values: Assignment) -> float:
    """Some cost that depends on everything; the default's is about 0."""
    away = [np.log(float(v) / 3000) / 10 for k, v in values.items() if k.endswith("_us")]  # type: ignore[arg-type]  # numbers
    return float(sum(away)) - 0.1 * bool(values.get("switch")) + 0.05 * (values.get("mode") == "c")


def _valid(sampler: Sampler, values: dict[str, ParameterValue], where: str) -> None:
    try:
        complete = sampler.space.validate_assignment(values)
    except SchedtunaError as error:
        raise ConformanceError(f"{where} returned {values}: {error}") from None
    _expect(values == complete, f"{where} returned {values}, which is not complete or not typed: {complete}")


def _expect(kept: bool, broken: str) -> None:
    if not kept:
        raise ConformanceError(broken)
