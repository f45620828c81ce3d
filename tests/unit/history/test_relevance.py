import numpy as np
import pytest

from schedtuna.history.anova import Data
from schedtuna.history.relevance import ALPHA, corrected, relevance
from schedtuna.samplers.observation import Observation
from schedtuna.space import ParameterSpace, ParameterSpec

SPACE = ParameterSpace(
    specs=tuple(
        ParameterSpec(name=name, type="float", default=0.5, min_value=0, max_value=1) for name in "abc"
    )
)


def data_of(truth, nr_runs, seed, space=SPACE):
    rng = np.random.default_rng([seed, 1])
    drawn = [space.sample(rng) for _ in range(nr_runs)]
    runs = [Observation(values, truth(values) + 0.05 * rng.standard_normal()) for values in drawn]
    return Data.of(space, runs, most=200, rng=rng)


def test_p_values_of_a_parameter_without_effect_are_uniform_beside_one_with_an_effect():
    """Binomial(120, 0.1) exceeds 22 or stays below 4 with a chance of 0.4%."""
    small = 0
    for seed in range(60):
        data = data_of(lambda values: 0.2 * values["a"] ** 2, 25, seed)
        rng = np.random.default_rng([seed, 2])
        small += sum(relevance(data, name, rng) <= 0.1 for name in "bc")
    assert 4 <= small <= 22


@pytest.mark.parametrize("seed", range(3))
def test_an_effect_is_seen(seed):
    data = data_of(lambda values: 0.3 * abs(values["a"] - 0.5), 60, seed)
    assert relevance(data, "a", np.random.default_rng(seed)) <= 0.02


def test_a_space_of_one_parameter_is_tested_too():
    space = ParameterSpace(specs=SPACE.specs[:1])
    data = data_of(lambda values: 0.3 * values["a"], 30, 0, space)
    assert relevance(data, "a", np.random.default_rng(0)) <= 0.02


def test_holm_rejects_step_by_step():
    """Holm 1979: 0.01 <= 0.05/4, 0.013 <= 0.05/3, 0.03 > 0.05/2; nothing after that."""
    p_values = corrected({"a": 0.01, "b": 0.03, "c": 0.013, "d": 0.04})
    assert {name for name, p in p_values.items() if p <= ALPHA} == {"a", "c"}
    assert p_values["a"] == pytest.approx(0.04)
    assert corrected({"a": 0.04}) == {"a": 0.04}
    assert corrected({}) == {}
