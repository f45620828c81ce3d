"""Recorded picks: do they come back from the rows of the ring, and from what is stored, as they were?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.trace.making import pick_rows

from schedtuna.errors import TraceError
from schedtuna.trace import picks
from schedtuna.trace import writer as writer_module
from schedtuna.trace.folder import remove_trace
from schedtuna.trace.picks import concatenate, from_columns, from_rows, to_columns
from schedtuna.trace.store import open_trace
from schedtuna.trace.writer import TraceWriter

TIMES = st.integers(1 - (1 << 36), (1 << 36) - 1)  # farther apart none of a queue are
CANDIDATES = st.fixed_dictionaries(
    {
        "vruntime": TIMES,
        "deadline": TIMES,
        "vprot": st.integers(-(1 << 63), (1 << 63) - 1),
        "weight": st.integers(2, 1 << 18),
        "slice_ns": st.integers(1, 1 << 63),
        "flags": st.integers(0, 31),
    }
)
PICKS = st.lists(st.lists(CANDIDATES, min_size=1, max_size=9), max_size=5)


def same(left, right):
    return np.array_equal(left.queues, right.queues) and np.array_equal(left.candidates, right.candidates)


@given(rows=PICKS, zero=st.integers(0, (1 << 64) - 1))
def test_times_are_relative_to_the_queue_wherever_the_kernels_clock_is(rows, zero):
    found = from_rows(pick_rows(rows, zero_vruntime=zero))
    wanted = [candidate for pick in rows for candidate in pick]
    assert found.candidates["vruntime"].tolist() == [c["vruntime"] for c in wanted]
    assert found.candidates["deadline"].tolist() == [c["deadline"] for c in wanted]
    assert found.candidates["tid"][found.starts].tolist() == [1] * len(rows)
    assert found.is_consistent().all()


@given(rows=PICKS)
def test_what_is_stored_comes_back(rows):
    found = from_rows(pick_rows(rows))
    assert same(from_columns(*to_columns(found)), found)


@given(rows=PICKS.filter(len), cut=st.integers(1, 4))
def test_a_torn_last_pick_is_left_out(rows, cut):
    whole = pick_rows(rows)
    torn = from_rows(whole[: -min(cut, len(rows[-1]))])
    assert same(torn, from_rows(pick_rows(rows[:-1])))


@pytest.mark.parametrize("field", ["sum_weight", "sum_w_vruntime", "nr_queued", "flags"])
def test_what_the_kernels_sums_contradict_is_inconsistent(field):
    rows = pick_rows([[{"vruntime": 5}, {"vruntime": 7}]] * 3)
    rows[field][3] += 1  # the second pick's; in flags it is TRUNCATED
    assert from_rows(rows).is_consistent().tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("at", "field", "value"),
    [(0, "kind", 2), (1, "kind", 3), (1, "kind", 1), (0, "nr_candidates", 1), (0, "nr_candidates", 200)],
)
def test_rows_that_are_not_picks_are_refused(at, field, value):
    rows = pick_rows([[{}, {}], [{}, {}]])
    rows[field][at] = value
    with pytest.raises(TraceError, match=r"not picks|candidate"):
        from_rows(rows)


def test_columns_that_do_not_fit_together_are_refused():
    queues, candidates = to_columns(from_rows(pick_rows([[{}, {}], [{}]])))
    short = {name: column[1:] for name, column in candidates.items()}
    with pytest.raises(TraceError, match="2 candidates, but the picks tell of 3"):
        from_columns(queues, short)
    queues["nr_candidates"][:] = (3, 0)
    with pytest.raises(TraceError, match="no candidate"):
        from_columns(queues, candidates)


def test_a_trace_has_its_picks_while_it_is_written_and_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "SEGMENT_EVENTS", 5)
    rows = [pick_rows([[{"vruntime": -n}, {"deadline": n}]]) for n in range(5)]
    wanted = from_rows(np.concatenate(rows))
    with TraceWriter(tmp_path / "t", {}) as writer:
        for part in rows:
            writer.write_picks(part)
        assert same(concatenate(list(open_trace(tmp_path / "t").picks())), wanted)
    trace = open_trace(tmp_path / "t")
    assert same(concatenate(list(trace.picks())), wanted)
    assert not list((tmp_path / "t").glob("*.spool"))
    assert trace.to_polars("picks")["tid"].to_list() == [1] * 5
    assert trace.to_polars("candidates")["deadline"].to_list() == [0, 0, 0, 1, 0, 2, 0, 3, 0, 4]
    remove_trace(tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_only_rows_of_picks_are_written(tmp_path):
    with TraceWriter(tmp_path / "t", {}) as writer, pytest.raises(TraceError, match="expected"):
        writer.write_picks(np.zeros(1, picks.CANDIDATE_DTYPE))
    assert not list(open_trace(tmp_path / "t").picks())
    assert len(concatenate([]).queues) == 0
