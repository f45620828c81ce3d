import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.features.windows import WindowValues, first_beginning_ns, windows

S = 10**9


def series(*values, name="x", interval_s=1.0):
    """Samples of one metric at regular times."""
    return [(round((k + 1) * interval_s * S), {name: value}) for k, value in enumerate(values)]


def features(samples, name="x", **options):
    return [window.features[name] for window in windows(samples, [name], begin_ns=0, **options)]


def test_a_window_has_average_change_percent_change_and_of_rates_the_total():
    assert features(series(10.0, 20.0, 30.0), length_s=3) == [WindowValues(20.0, 20.0, 200.0, None)]
    [rate] = features(series(10.0, 20.0, 30.0, name="x_per_s"), "x_per_s", length_s=3)
    assert rate == WindowValues(20.0, 20.0, 200.0, 60.0)


def test_the_next_window_begins_with_what_was_so_at_its_beginning():
    first, second = features(series(1.0, 2.0, 3.0, 5.0), length_s=2)
    assert (first.change, second.change) == (1.0, 3.0)  # the first has no sample at its beginning
    assert second.average == 4.0


def test_samples_count_as_long_as_they_stand_for():
    samples = [(1 * S, {"x": 10.0}), (2 * S, {"x": 20.0}), (5 * S, {"x": 30.0})]
    assert features(samples, length_s=5) == [WindowValues(24.0, 20.0, 200.0, None)]
    assert first_beginning_ns([1 * S, 2 * S, 5 * S]) == 0
    assert first_beginning_ns([7]) == 7


def test_the_first_seconds_of_every_window_are_left_out():
    samples = series(*[100.0, 100.0, 1.0, 2.0, 3.0] * 2)
    found = list(windows(samples, ["x"], length_s=5, discard_s=2, begin_ns=0))
    assert [(window.start_s, window.end_s, window.nr_samples) for window in found] == [(2, 5, 3), (7, 10, 3)]
    assert [window.features["x"].average for window in found] == [2.0, 2.0]


def test_a_sample_that_comes_late_is_split_where_a_window_ends():
    samples = [(round(t * S), {"x_per_s": v}) for t, v in ((1.0, 4.0), (2.5, 6.0), (4.0, 8.0))]
    first, second = features(samples, "x_per_s", length_s=2)
    assert (first.total, second.total) == (4.0 + 6.0, 0.5 * 6.0 + 1.5 * 8.0)


def test_from_zero_there_is_no_percent_change():
    assert features(series(0.0, 0.0), length_s=2)[0] == WindowValues(0.0, 0.0, 0.0, None)
    assert features(series(0.0, 3.0), length_s=2)[0].percent_change is None
    assert features(series(-4.0, -2.0), length_s=2)[0].percent_change == 50.0


@pytest.mark.parametrize("missing", [{}, {"x": None}, {"x": math.nan}, {"x": math.inf}])
def test_what_is_not_known_of_all_of_a_window_is_unknown(missing):
    samples = series(1.0, 2.0, 3.0, 4.0)
    samples[2] = (samples[2][0], missing)
    first, second = features(samples, length_s=2)
    assert first.average == 1.5
    assert second == WindowValues()


def test_a_window_without_samples_is_unknown():
    samples = [(1 * S, {"x": 1.0}), (2 * S, {"x": 1.0}), (7 * S, {"x": 1.0}), (8 * S, {"x": 2.0})]
    found = list(windows(samples, ["x", "y"], length_s=2, begin_ns=0))
    assert [window.nr_samples for window in found] == [2, 0, 0, 1]
    assert [window.features["x"].average for window in found] == [1.0, None, None, 1.5]
    assert {window.features["y"] for window in found} == {WindowValues()}


def test_a_sample_that_comes_a_little_late_is_its_windows():
    samples = [(round(t * S), {"x": v}) for t, v in ((2.001, 1.0), (4.002, 2.0), (6.0005, 4.0))]
    assert [round(feature.average, 2) for feature in features(samples, length_s=2)] == [1.0, 2.0, 4.0]
    assert [feature.change for feature in features(samples, length_s=2)] == [None, 1.0, 2.0]


def test_one_sample_tells_no_change():
    assert features(series(3.0), length_s=1) == [WindowValues(3.0, None, None, None)]


@pytest.mark.parametrize(("last_s", "ends"), [(3.95, [2.0, 3.95]), (3.7, [2.0]), (4.0, [2.0, 4.0])])
def test_a_last_window_counts_once_nearly_all_of_it_is_there(last_s, ends):
    samples = [*series(1.0, 1.0, 1.0), (round(last_s * S), {"x": 1.0})]
    assert [window.end_s for window in windows(samples, ["x"], length_s=2, begin_ns=0)] == ends


def test_windows_come_as_soon_as_they_are_over():
    taken = []

    def live():
        for sample in series(*range(6)):
            taken.append(sample[0] // S)
            yield sample

    assert next(iter(windows(live(), ["x"], length_s=3, begin_ns=0))).end_s == 3
    assert taken == [1, 2, 3]


def test_of_no_samples_there_are_no_windows():
    assert list(windows([], ["x"], length_s=1, begin_ns=0)) == []


@given(
    steps=st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 10**6)), min_size=1, max_size=40),
    length_ms=st.integers(200, 9000),
    discard=st.floats(0, 0.9),
    begin_ns=st.integers(0, 10**15),
)
def test_totals_are_the_counters_differences_whatever_the_times(steps, length_ms, discard, begin_ns):
    """Oracle: the counter itself, which grows evenly from sample to sample."""
    times = np.cumsum([ms for ms, _ in steps]) * 10**6
    counter = np.cumsum([count for _, count in steps])
    samples = [
        (begin_ns + int(time), {"n_per_s": count / (ms / 1e3)})
        for time, (ms, count) in zip(times, steps, strict=True)
    ]
    found = list(
        windows(
            samples,
            ["n_per_s"],
            length_s=length_ms / 1e3,
            discard_s=round(discard * length_ms) / 1e3,
            begin_ns=begin_ns,
        )
    )
    assert len(found) in (times[-1] // (length_ms * 10**6), times[-1] // (length_ms * 10**6) + 1)
    at = [0, *(times / 1e9)]
    for window in found:
        feature = window.features["n_per_s"]
        if not window.nr_samples:
            assert feature == WindowValues()
            continue
        truth = np.diff(np.interp([window.start_s, window.end_s], at, [0, *counter]))[0]
        assert feature.total == pytest.approx(truth, rel=1e-6, abs=1e-3)
        assert feature.average == pytest.approx(truth / (window.end_s - window.start_s), rel=1e-6, abs=1e-3)
