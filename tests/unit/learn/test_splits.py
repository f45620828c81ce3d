import numpy as np
import pytest

from schedtuna.errors import DatasetError, UsageError
from schedtuna.learn.dataset_form import SPLITS
from schedtuna.learn.splits import NONE, TEST, TRAIN, VALIDATION, split_rows


def made(by, units, times=None, seed=1):
    groups = np.unique(units, return_inverse=True)[1]
    times = np.zeros(len(units), int) if times is None else times
    return split_rows(by, groups=groups, units=units, times_ns=times, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("nr_units", [3, 4, 7, 20])
def test_a_unit_is_on_one_side_and_each_side_has_one(nr_units):
    units = np.array([f"u{n % nr_units}" for n in range(200)])
    found = made("family", units)
    sides = [set(found[units == unit]) for unit in np.unique(units)]
    assert {len(side) for side in sides} == {1}
    assert set(found) == {TRAIN, VALIDATION, TEST}
    nr_test = sum(TEST in side for side in sides)
    assert nr_test == max(1, round(0.2 * nr_units))


def test_the_seed_draws():
    units = np.array([f"u{n % 10}" for n in range(100)])
    assert (made("run", units) == made("run", units)).all()
    assert any((made("run", units, seed=seed) != made("run", units)).any() for seed in range(2, 9))


def test_two_are_too_few():
    with pytest.raises(DatasetError, match="at least 3 families, and there are 2") as error:
        made("family", np.array(["a", "b", "a"]))
    assert "--split time" in error.value.hint
    with pytest.raises(UsageError, match="expected family, run, host, time"):
        made("rows", np.array(["a", "b", "c"]))


def test_time_is_cut_with_gaps_in_each_run():
    times = np.concatenate([np.arange(1000), np.arange(0, 5000, 5)])
    units = np.repeat(["a", "b"], 1000)
    found = made("time", units, times)
    for unit in ("a", "b"):
        time, side = times[units == unit], found[units == unit]
        assert time[side == TRAIN].max() < time[side == VALIDATION].min()
        assert time[side == VALIDATION].max() < time[side == TEST].min()
        assert 0.08 < (side == NONE).mean() < 0.12
    assert len(SPLITS) == 4
