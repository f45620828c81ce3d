import numpy as np
import pytest

from schedtuna.errors import OutOfBoundsError, SpaceError
from schedtuna.space import ParameterSpec, ParameterType


def integer(**changes):
    return ParameterSpec(
        **{"name": "slice_us", "type": "integer", "default": 20, "min_value": 1, "max_value": 100, **changes}
    )


def a_list(**changes):
    base = {"name": "t", "type": "list", "default": [1, 5], "min_value": 1, "max_value": 9, "max_length": 3}
    return ParameterSpec(**{**base, **changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"min_value": None}, "needs min_value and max_value"),
        ({"min_value": 200}, "min_value 200 > max_value 100"),
        ({"min_value": 0, "log": True}, "log scale needs min_value > 0"),
        ({"min_value": 1.5}, "expected a whole number"),
        ({"max_value": float("inf")}, "expected a whole number"),
        ({"type": "float", "max_value": float("nan")}, "expected a finite number"),
        ({"default": 101}, "out of bounds, expected 1 to 100"),
        ({"default": 10**400}, "out of bounds, expected 1 to 100"),
        ({"default": True}, "expected a number"),
        ({"type": "categorical"}, "needs choices"),
        ({"type": "categorical", "choices": ["a", "a"], "default": "a"}, "one is listed twice"),
        ({"type": "categorical", "choices": [True, False], "default": "a"}, "expected text, got True"),
        ({"type": "categorical", "choices": "ab", "default": "a"}, "expected a list"),
        ({"increasing": True}, "only a list can be increasing"),
    ],
)
def test_inconsistent_specs_are_refused(changes, says):
    with pytest.raises(SpaceError, match=says):
        integer(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"default": [5, 1], "increasing": True}, "expected increasing values"),
        ({"default": [1, 1], "increasing": True}, "expected increasing values"),
        ({"default": 1}, "expected a list"),
        ({"default": "1,2"}, "expected a list"),
        ({"default": [1, 2, 3, 4]}, "4 elements, expected 1 to 3"),
        ({"default": [10]}, "out of bounds"),
        ({"min_length": 4}, "min_length 4 > max_length 3"),
        ({"max_value": 2, "default": [1], "increasing": True}, "3 increasing whole numbers don't fit"),
        ({"element_type": "categorical", "choices": ["a"], "default": ["b"]}, "known: a"),
    ],
)
def test_inconsistent_lists_are_refused(changes, says):
    with pytest.raises(SpaceError, match=says):
        a_list(**changes)


def test_values_get_the_parameters_own_type():
    assert integer().validate_value(5.0) == 5
    assert isinstance(integer().validate_value(5.0), int)
    real = integer(type="float")
    assert isinstance(real.default, float)
    assert isinstance(real.validate_value(5), float)
    with pytest.raises(SpaceError, match="expected a whole number"):
        integer().validate_value(5.5)


def test_specs_are_equal_however_the_numbers_were_spelled():
    assert integer(min_value=1.0, default=20.0) == integer()
    assert a_list(default=(1.0, 5)) == a_list()


def test_numbers_in_choices_become_text():
    spec = ParameterSpec(name="n", type="categorical", choices=[1, 2, 4], default=2)
    assert spec.choices == ("1", "2", "4")
    assert spec.default == "2"


def test_text_is_parsed_as_the_type_says():
    switch = ParameterSpec(name="x", type="boolean", default=False)
    assert [switch.parse(t) for t in ("ON", "yes", "1", "true", "off", "0")] == [True] * 4 + [False] * 2
    assert integer().parse("7") == 7
    assert a_list().parse("1, 3/9") == (1, 3, 9)
    assert a_list(min_length=0).parse("") == ()
    for spec, text in ((switch, "maybe"), (integer(), "7.5"), (a_list(), "1,x"), (integer(), "")):
        with pytest.raises(SpaceError, match="expected"):
            spec.parse(text)


def test_every_integer_owns_an_equal_share_of_a_linear_scale():
    spec = integer(min_value=1, max_value=4, default=1)
    drawn = [spec.from_unit([u]) for u in (np.arange(400) + 0.5) / 400]
    assert np.bincount(drawn)[1:].tolist() == [100] * 4


def test_a_log_scale_draws_equal_ratios():
    spec = integer(type="float", min_value=1, max_value=10_000, log=True)
    assert spec.from_unit([0.25]) == pytest.approx(10)
    assert spec.from_unit([0.5]) == pytest.approx(100)
    assert spec.to_unit(1000.0) == [pytest.approx(0.75)]


def test_drawn_floats_are_short():
    drawn = [integer(type="float").sample(np.random.default_rng(seed)) for seed in range(50)]
    assert max(len(repr(value)) for value in drawn) <= 9


def test_levels_are_spread_and_hold_the_default():
    assert integer(default=20).levels(3) == [20, 50, 100]
    assert integer(max_value=3, default=2, log=True).levels(5) == [1, 2, 3]
    assert ParameterSpec(name="m", type="categorical", choices=["a", "b"], default="b").levels(1) == [
        "a",
        "b",
    ]


def test_neighbours_are_one_step_away():
    assert integer().neighbours(20, 0.1) == [10, 30]
    assert integer().neighbours(1, 0.001) == [2]
    assert ParameterSpec(name="x", type="boolean", default=False).neighbours(True, 0.1) == [False]
    grown = a_list(increasing=True).neighbours((1, 5), 0.0)
    assert (1,) in grown  # an element fewer
    assert any(len(value) == 3 for value in grown)  # an element more
    assert all(list(value) == sorted(set(value)) for value in grown)


def test_nr_values_counts_what_can_be_drawn():
    assert integer().nr_values == 100
    assert integer(type="float").nr_values == np.inf
    assert integer(type="float", max_value=1, default=1).nr_values == 1
    assert a_list(increasing=True).nr_values == 9 + 36 + 84
    assert a_list().nr_values == 9 + 81 + 729
    assert a_list(max_value=10**9, max_length=40).nr_values == np.inf


def test_a_list_of_increasing_numbers_fits_tight_bounds():
    spec = a_list(max_value=3, default=[1, 2, 3], min_length=3, increasing=True)
    for seed in range(20):
        assert spec.sample(np.random.default_rng(seed)) == (1, 2, 3)


def test_distance_between_lists_of_words_counts_differing_places():
    spec = a_list(element_type=ParameterType.CATEGORICAL, choices=["a", "b"], default=["a"])
    assert spec.distance(("a",), ("a",)) == 0
    assert spec.distance(("a", "b"), ("a",)) == pytest.approx(1 / 3)
    assert spec.distance(("a", "b", "b"), ("b", "a", "a")) == 1


def test_an_error_says_what_is_out_of_bounds_without_its_text_being_read():
    spec = ParameterSpec(
        name="slice_us", type=ParameterType.INTEGER, default=3, min_value=1, max_value=9, unit="us"
    )
    with pytest.raises(OutOfBoundsError, match="slice_us=12: out of bounds, expected 1 to 9 us") as caught:
        spec.parse("12")
    assert (caught.value.name, caught.value.value, caught.value.bounds) == ("slice_us", 12, "1 to 9 us")


@pytest.mark.parametrize("bound", [float("nan"), float("inf"), -float("inf"), 10**400, "9" * 400])
@pytest.mark.parametrize("kind", ["integer", "float"])
def test_a_bound_that_no_number_can_have_is_refused(kind, bound):
    with pytest.raises(SpaceError, match=r"expected a (whole|finite) number"):
        ParameterSpec(name="x", type=kind, default=0, min_value=0, max_value=bound)
