"""The table of features: every row is whole, and has what the project set out to tell of a window."""

from __future__ import annotations

import numpy as np
import pytest

from schedtuna.errors import UsageError
from schedtuna.features.table import FEATURES, RATE_SUFFIX, FeatureSource, Kind, feature, window_features
from schedtuna.features.told import TOLD
from schedtuna.learn.problem import narrowed
from schedtuna.record.procfs import SYSTEM_METRICS

# What a window is to tell, each as average, total change and percent change.
WINDOW = {
    "voluntary_switches_per_s": "voluntary context switches",
    "involuntary_switches_per_s": "involuntary context switches",
    "cpu_percent": "CPU %",
    "iowait_percent": "IO wait %",
    "irq_percent": "irq %",
    "softirq_percent": "softirq %",
    "run_queue_length": "run queue length",
    "nr_active_threads": "active threads",
    "nr_blocked_threads": "blocked threads",
    "nr_io_blocked_threads": "IO-blocked threads",
    "memory_used_bytes": "memory used",
    "memory_available_bytes": "memory available",
    "swap_used_bytes": "swap used",
    "cache_bytes": "cache",
    "buffers_bytes": "buffers",
    "swap_in_bytes_per_s": "swap in",
    "swap_out_bytes_per_s": "swap out",
    "io_read_bytes_per_s": "IO read",
    "io_written_bytes_per_s": "IO written",
}


def test_a_window_has_average_change_and_percent_change_of_each_and_totals_of_counters():
    found = window_features()
    for name in WINDOW:
        parts = ["change", "percent_change"] + ["total"] * name.endswith(RATE_SUFFIX)
        for part in ("", *(f".{part}" for part in parts)):
            told = {FeatureSource.TRACE, FeatureSource.SIMULATOR} if name in TOLD else set()
            assert found[name + part].sources == {FeatureSource.SAMPLES} | told
    assert found["io_read_bytes_per_s.total"].unit == "bytes"
    assert found["switches_per_s.total"].unit == ""
    assert "cpu_percent.total" not in found


def test_each_row_is_whole():
    names = [*FEATURES, *window_features()]
    assert len({*names}) == len(window_features()) + len(FEATURES) - len(SYSTEM_METRICS)
    for name in names:
        row = feature(name)
        assert row.name == name and row.help and row.sources
        for unit in ("ns", "kib", "percent", "bytes"):
            if name.partition(".")[0].endswith(f"_{unit}"):
                assert row.unit == {"percent": "%", "kib": "KiB"}.get(unit, unit) or "." in name
        assert (row.kind is Kind.COUNTER) == name.endswith(RATE_SUFFIX)
        ends = row.bins.quantise(np.array([row.bins.lo, row.bins.hi]))
        assert ends.tolist() == [0, row.bins.last]


def test_changes_that_are_common_have_bins_of_their_own():
    """A model's input has 256 bins at most: wider ones would hide what these tell."""
    common = {
        "switches_per_s": [-20_000, -3_000, -1_000, -400, 0, 400, 1_000, 3_000, 20_000],
        "run_queue_length": [-40, -2, -1, 0, 1, 2, 40],
        "cpu_percent": [-50, -1, 0, 1, 50],
        "memory_used_bytes": [-(2**32), -(2**28), 0, 2**28, 2**32],
        "io_read_bytes_per_s": [-(2**29), -(2**25), 0, 2**25, 2**29],
    }
    for name, changes in common.items():
        bins = narrowed(feature(f"{name}.change").bins).quantise(np.array(changes))
        assert (np.diff(bins.astype(int)) > 0).all(), name
        assert bins[0] + bins[-1] == 2 * bins[len(bins) // 2], "a rise is as far from none as a fall"


def test_names_that_are_none_are_refused():
    with pytest.raises(UsageError, match="cpu_percent"):
        feature("cpu_percnt")
    with pytest.raises(UsageError, match=r"no feature 'cpu_percent\.total'") as refusal:
        feature("cpu_percent.total")
    assert "cpu_percent.change" in refusal.value.hint
    with pytest.raises(UsageError, match=r"no feature 'nice\.change'"):
        feature("nice.change")
