import numpy as np
import pytest

from schedtuna.learn.thinning import ThinnedRows


def kept(nr_rows, most, parts, seed=1):
    rows = ThinnedRows(most, seed)
    for part in np.array_split(np.arange(nr_rows), parts):
        rows.add(part.astype(np.uint64), {"value": part})
    assert rows.nr_seen == nr_rows
    return rows.columns()["value"]


def test_few_rows_are_all_kept_in_their_order():
    assert kept(50, 50, 7).tolist() == list(range(50))
    assert ThinnedRows(5, 1).columns() == {}


@pytest.mark.parametrize("nr_rows", [101, 1000, 54321])
def test_of_many_a_share_is_drawn_whatever_the_parts(nr_rows):
    found = kept(nr_rows, 100, 13)
    assert 20 <= len(found) <= 100  # half of them on average
    assert found.tolist() == kept(nr_rows, 100, 1).tolist() == kept(nr_rows, 100, 500).tolist()
    assert found.tolist() != kept(nr_rows, 100, 13, seed=2).tolist()


def test_the_draw_is_even():
    found = kept(1 << 16, 1 << 14, 3)
    assert abs(np.mean(found) / (1 << 16) - 0.5) < 0.02
    assert abs(np.mean(found % 2) - 0.5) < 0.02
