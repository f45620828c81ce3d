import numpy as np

from schedtuna.features.as_of import AsOf


def test_what_holds_is_what_was_said_last_and_not_later():
    table = AsOf([5, 5, 9, 5], [100, 300, 50, 200])
    tids = np.array([5, 5, 5, 5, 9, 9, 4, 6])
    times = np.array([99, 100, 250, 10**12, 49, 50, 500, 500])
    assert table.at(tids, times).tolist() == [-1, 0, 3, 1, -1, 2, -1, -1]
    assert AsOf([], []).at(tids, times).tolist() == [-1] * 8


def test_many_tids_and_months_of_uptime_fit():
    nr_tids, months_ns = 100_000, 10**16
    tids = np.arange(nr_tids)
    table = AsOf(tids, months_ns + tids)
    assert np.array_equal(table.at(tids, np.full(nr_tids, months_ns + nr_tids)), tids)
    assert (table.at(tids, months_ns + tids - 1) == -1).all()
