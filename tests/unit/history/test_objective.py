import math

import pytest

from schedtuna.errors import StudyError
from schedtuna.history.objective import VIOLATION_WEIGHT, Objective
from schedtuna.workload.spec import Direction, MetricSpec, Requirement

TIME = MetricSpec(name="wall_time_s", direction=Direction.MIN)
RATE = MetricSpec(name="rps", direction=Direction.MAX)


def test_the_default_costs_nothing_and_a_tenth_faster_costs_its_log():
    objective = Objective.from_baseline([TIME], [{"wall_time_s": v} for v in (2.0, 1.0, 3.0)])
    assert objective.cost({"wall_time_s": 2.0}) == 0
    assert objective.cost({"wall_time_s": 1.8}) == pytest.approx(math.log(0.9))


def test_more_is_better_turns_the_sign():
    objective = Objective.from_baseline([RATE], [{"rps": 100.0}])
    assert objective.cost({"rps": 110.0}) == pytest.approx(-math.log(1.1))


def test_weights_are_shares():
    heavy = TIME.model_copy(update={"weight": 3.0})
    objective = Objective.from_baseline([heavy, RATE], [{"wall_time_s": 1.0, "rps": 100.0}])
    cost = objective.cost({"wall_time_s": 0.5, "rps": 200.0})
    assert cost == pytest.approx(-math.log(2))
    assert objective.cost({"wall_time_s": 0.5, "rps": 100.0}) == pytest.approx(-0.75 * math.log(2))


def test_a_missed_requirement_costs_its_share_of_the_bound():
    rule = Requirement(metric="rps", operator=">=", bound=100.0)
    objective = Objective.from_baseline([TIME], [{"wall_time_s": 1.0}], [rule])
    kept = objective.cost({"wall_time_s": 1.0, "rps": 100.0})
    missed = objective.cost({"wall_time_s": 1.0, "rps": 90.0})
    assert missed - kept == pytest.approx(VIOLATION_WEIGHT * 0.1)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_values_without_a_log_are_ordered_all_the_same(value):
    objective = Objective.from_baseline([TIME], [{"wall_time_s": 0.5}])
    assert objective.cost({"wall_time_s": value}) < objective.cost({"wall_time_s": 0.5})


def test_no_run_of_the_default_is_an_error():
    with pytest.raises(StudyError, match="nothing to compare"):
        Objective.from_baseline([TIME], [])
