import numpy as np
import pytest
from tests.unit.evidence.studies import blocks_of

from schedtuna.errors import EvidenceError
from schedtuna.evidence.design import Arm
from schedtuna.evidence.several import composite, holm
from schedtuna.evidence.verdict import Block, judge
from schedtuna.workload.spec import Direction, MetricSpec

TIME = MetricSpec(name="time_s", direction=Direction.MIN)
RPS = MetricSpec(name="rps", direction=Direction.MAX, weight=3.0)


def test_holm_steps_down():
    """The example of Holm (1979) in most textbooks, and its bounds."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([0.02]) == (0.02,)
    assert holm([]) == ()
    with pytest.raises(EvidenceError, match="probability"):
        holm([1.2])


def test_a_composite_is_a_weighted_geometric_mean_of_costs():
    plain = composite((TIME, RPS), {"time_s": 2.0, "rps": 100.0})
    assert plain == pytest.approx((2.0 * 100.0**-3) ** 0.25)
    better = composite((TIME, RPS), {"time_s": 2.0, "rps": 110.0})
    assert plain is not None and better is not None
    assert better / plain == pytest.approx(1.1**-0.75)


def test_a_composite_study_weighs_gains_whatever_the_units():
    rng = np.random.default_rng(1)
    blocks = []
    for block in blocks_of(rng, 19, cv=0.03):
        values = {
            arm: {"time_s": value * (0.9 if arm is Arm.B else 1), "rps": 1e6 * float(rng.lognormal(0, 0.03))}
            for arm, value in block.values.items()
        }
        composites = {arm: composite((TIME, RPS), read) for arm, read in values.items()}
        blocks.append(Block(block.order, composites))
    result = judge(blocks, Direction.MIN)
    assert result.effect.ci95[0] <= 0.9**0.25 <= result.effect.ci95[1]


def test_one_failed_metric_fails_the_run():
    assert composite((TIME, RPS), {"time_s": 2.0, "rps": None}) is None


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_values_without_a_ratio_are_refused(value):
    with pytest.raises(EvidenceError, match="above zero") as caught:
        composite((TIME, RPS), {"time_s": value, "rps": 1.0})
    assert "--require" in str(caught.value.hint)
    with pytest.raises(EvidenceError, match="no metric"):
        composite((), {})
