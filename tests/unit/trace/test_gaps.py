import numpy as np
import pytest

from schedtuna.trace.gaps import Gaps, Why


def gaps(*rows):
    columns = zip(*rows, strict=True)
    return Gaps(
        **{
            name: np.array(column)
            for name, column in zip(("cpu", "start_ns", "end_ns", "why"), columns, strict=True)
        }
    )


def test_time_that_is_in_two_gaps_counts_once():
    some = gaps((1, 10, 20, Why.LOST), (0, 5, 9, Why.LOST), (1, 15, 30, Why.UNCHAINED), (1, 30, 31, Why.LOST))
    one = some.united()
    assert list(zip(one.cpu.tolist(), one.start_ns.tolist(), one.end_ns.tolist(), strict=True)) == [
        (0, 5, 9),
        (1, 10, 31),
    ]
    assert some.per_cpu_ns(3).tolist() == [4, 21, 0]


@pytest.mark.parametrize("seed", range(20))
def test_united_time_is_what_counting_every_moment_gives(seed):
    rng = np.random.default_rng(seed)
    start, cpu = rng.integers(0, 50, 30), rng.integers(0, 3, 30)
    some = gaps(*zip(cpu, start, start + rng.integers(0, 9, 30), np.zeros(30), strict=True))
    moments = np.zeros((3, 60), bool)
    for cpu_, begin, end in zip(some.cpu, some.start_ns, some.end_ns, strict=True):
        moments[cpu_, begin:end] = True
    assert some.per_cpu_ns(3).tolist() == moments.sum(axis=1).tolist()


def test_a_window_cuts_gaps():
    inside = gaps((0, 5, 9, Why.LOST), (0, 20, 30, Why.LOST), (0, 1, 2, Why.LOST)).clip(7, 25)
    assert (inside.start_ns.tolist(), inside.end_ns.tolist()) == ([7, 20], [9, 25])


def test_no_gaps_are_no_time():
    assert Gaps().united().per_cpu_ns(2).tolist() == [0, 0]
