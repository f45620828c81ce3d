import ctypes
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.trace.aggregates.histogram import bucket_edges_ns, bucket_of, percentile_ns
from schedtuna.trace.aggregates.layout import NR_BUCKETS

SOURCE = Path(__file__).parents[4] / "bpf/record/sched_aggregate.bpf.c"


@pytest.fixture(scope="module")
def kernel_bucket(tmp_path_factory):
    """The function that the BPF program uses, compiled for this machine."""
    text = SOURCE.read_text()
    function = re.search(r"static __always_inline (__u32 bucket\(.*?\n}\n)", text, re.DOTALL)[1]
    folder = tmp_path_factory.mktemp("bucket")
    source = folder / "bucket.c"
    header = SOURCE.parents[2] / "include/task_stats.h"
    source.write_text(f'#define __always_inline\n#include "{header}"\n{function}')
    library = folder / "bucket.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    bucket = ctypes.CDLL(str(library)).bucket
    bucket.argtypes, bucket.restype = [ctypes.c_uint64], ctypes.c_uint32
    return bucket


@pytest.fixture(scope="module")
def check(kernel_bucket):
    def compare(duration_ns):
        assert kernel_bucket(duration_ns) == bucket_of(duration_ns)

    return compare


def test_the_kernel_counts_edges_where_user_space_expects_them(check):
    for edge in bucket_edges_ns()[:-1].astype(int).tolist():
        for duration_ns in {max(edge - 1, 0), edge, edge + 1}:
            check(duration_ns)
    check(2**63)


@settings(deadline=None)
@given(st.data())
def test_the_kernel_counts_durations_where_user_space_expects_them(check, data):
    check(data.draw(st.integers(0, 2**50)))


def test_there_are_four_buckets_per_factor_of_two():
    edges = bucket_edges_ns()
    assert len(edges) == NR_BUCKETS + 1
    assert edges[8::4] == pytest.approx(2 * edges[4:-4:4])
    assert (edges[5:] / edges[4:-1] <= 1.25).all()


@settings(deadline=None)
@given(st.lists(st.integers(1, 2**38), min_size=1, max_size=200), st.floats(1, 99.9))
def test_percentiles_are_in_the_bucket_of_the_exact_one(durations, percent):
    counts = np.bincount(bucket_of(durations), minlength=NR_BUCKETS)
    exact = np.percentile(durations, percent, method="inverted_cdf")
    bucket = int(bucket_of(exact))
    edges = bucket_edges_ns()
    assert edges[bucket] <= percentile_ns(counts, percent) <= edges[bucket + 1]


def test_percentiles_of_nothing_are_nan_and_the_maximum_bounds_them():
    assert np.isnan(percentile_ns(np.zeros(NR_BUCKETS, int), 50))
    counts = np.bincount([int(bucket_of(1000))], minlength=NR_BUCKETS)
    assert percentile_ns(counts, 100, max_ns=1000.0) == 1000.0
