"""Buckets fill with time, and each is somebody's own."""

from schedtuna.server.rates import RequestRates


def test_a_burst_is_allowed_and_then_the_rate():
    rates = RequestRates(per_s=2, burst=5)
    assert [rates.take("one", 100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert rates.take("two", 100.0)
    assert not rates.take("one", 100.4)
    assert rates.take("one", 100.6)


def test_a_look_counts_nothing_and_time_never_runs_back():
    rates = RequestRates(per_s=1, burst=1)
    assert all(rates.may("one", 5.0) for _ in range(10))
    assert rates.take("one", 5.0)
    assert not rates.may("one", 1.0)


def test_it_does_not_grow_without_end():
    rates = RequestRates(per_s=0.001, burst=2)
    for number in range(25_000):
        rates.take(str(number), float(number))
    assert len(rates._buckets) <= 10_001
    assert not rates.take("24999", 24_999.0) or not rates.take("24999", 24_999.0)
