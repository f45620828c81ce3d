"""What does a recording leave behind that is interrupted, or fails, while it begins?"""

import importlib
import os
import signal
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.errors import TraceError
from schedtuna.machine import manifest
from schedtuna.record import recorder, sources
from schedtuna.record.recorder import Mode, Recorder, RecordOptions, is_recent, next_sample_s
from schedtuna.trace import parts
from schedtuna.trace.counted import Counted
from schedtuna.trace.store import open_trace

OPTIONS = RecordOptions(mode=Mode.PROCFS, interval_s=60)


def at_the_call_of(monkeypatch, name, action):
    module = next(module for module in (recorder, sources, manifest) if hasattr(module, name))
    original = getattr(module, name)

    def first_act(*arguments, **options):
        action()
        return original(*arguments, **options)

    monkeypatch.setattr(module, name, first_act)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)  # which is when other threads would take it


@pytest.mark.parametrize("name", ["build_manifest", "TraceWriter", "SystemSampler", "ProcessSampler"])
def test_ctrl_c_while_it_begins_leaves_a_complete_trace(tmp_path, monkeypatch, name):
    at_the_call_of(monkeypatch, name, interrupt)
    with pytest.raises(KeyboardInterrupt), Recorder(tmp_path / "t", OPTIONS):
        pytest.fail("was not interrupted")
    assert open_trace(tmp_path / "t").state == "complete"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_before_it_begins_leaves_nothing(tmp_path, monkeypatch):
    at_the_call_of(monkeypatch, "ExitSampler", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Recorder(tmp_path / "t", OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_the_import_that_the_end_needs_whole(tmp_path, monkeypatch):
    imported = []
    original = importlib.import_module

    def interrupted(name):
        interrupt()
        imported.append(original(name).__name__)

    monkeypatch.setattr(importlib, "import_module", interrupted)
    with pytest.raises(KeyboardInterrupt), Recorder(tmp_path / "t", OPTIONS) as recording:
        recording.plan_end(60)
    assert imported == ["polars"]
    assert open_trace(tmp_path / "t").state == "complete"


def test_a_trace_that_is_interrupted_while_it_is_written_has_no_result(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt), Recorder(tmp_path / "t", OPTIONS) as recording:
        monkeypatch.setattr(parts, "compact_samples", lambda _folder: interrupt())
    assert recording.result is None


def test_a_recording_that_ended_early_is_told_to_be_cut(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sources.ExitSource, "read", fail)
    with pytest.raises(TraceError, match="ended early"), Recorder(tmp_path / "t", OPTIONS) as recording:
        recording.wait(60)
    trace = open_trace(tmp_path / "t")
    assert trace.state == "cut"
    with pytest.raises(TraceError, match="cut before its statistics were written"):
        Counted(trace)


def test_what_fails_to_begin_leaves_nothing(tmp_path, monkeypatch):
    def fail():
        raise OSError(28, "No space left on device")

    at_the_call_of(monkeypatch, "SystemSampler", fail)
    with pytest.raises(OSError, match="No space"), Recorder(tmp_path / "t", OPTIONS):
        pytest.fail("began")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("since_s", "nr_samples"), [(0.0, 1), (0.6, 2)])
def test_the_last_sample_is_not_taken_just_after_another(tmp_path, since_s, nr_samples):
    options = RecordOptions(mode=Mode.PROCFS, interval_s=1, processes=False)
    with Recorder(tmp_path / "t", options) as recording:
        recording._stop.set()
        recording._thread.join()
        recording._sample()
        recording._sampled_s = time.monotonic() - since_s
    assert len(open_trace(tmp_path / "t").samples("system")) == nr_samples


def test_how_long_the_kernel_takes_to_let_go_asks_for_no_other_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(sources.ExitSource, "detach", lambda _: time.sleep(0.6))
    options = RecordOptions(mode=Mode.PROCFS, interval_s=1, processes=False)
    with Recorder(tmp_path / "t", options) as recording:
        recording._stop.set()
        recording._thread.join()
        recording._sample()
        recording._sampled_s = time.monotonic()
    assert len(open_trace(tmp_path / "t").samples("system")) == 1


def test_the_last_sample_of_a_planned_end_is_taken_before_it(tmp_path):
    with Recorder(tmp_path / "t", OPTIONS) as recording:
        assert recording.plan_end(3600) <= 3600
        assert recording.plan_end(0.3) <= 0.3
        deadline = time.monotonic() + 60
        while recording._sampled_s < 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not recording.wait(0)
    trace = open_trace(tmp_path / "t")
    end_ns = recording._start_ns + int(recording.result.duration_s * 1e9)
    for kind in ("system", "process"):
        assert len(set(trace.samples(kind)["timestamp_ns"])) == 1
        assert trace.samples(kind)["timestamp_ns"].max() < end_ns


SECONDS = st.floats(0.01, 1e4)


@given(end_s=SECONDS, interval_s=SECONDS, cost_s=st.floats(0, 0.2))
def test_samples_come_at_their_interval_and_one_before_the_end(end_s, interval_s, cost_s):
    """Played with a clock that only samples move on."""
    now_s, last_s, due_s, taken = 0.0, -float("inf"), interval_s, []
    while len(taken) < 100:
        next_s = next_sample_s(due_s, end_s=end_s, interval_s=interval_s, last_s=last_s, cost_s=cost_s)
        if next_s == float("inf"):
            break
        now_s = max(now_s, next_s)
        taken.append(now_s)
        now_s = last_s = now_s + cost_s
        due_s += interval_s
    else:
        return
    assert is_recent(last_s, end_s, interval_s) or last_s > end_s  # so that leaving takes no more
    assert all(later - earlier >= interval_s / 2 - 3 * cost_s for earlier, later in pairwise(taken))
    assert taken[-1] <= max(end_s - cost_s, 0.0) + cost_s


def test_without_a_planned_end_samples_come_when_they_are_due():
    forever = float("inf")
    assert next_sample_s(5.0, end_s=forever, interval_s=1.0, last_s=4.0, cost_s=0.1) == 5.0
    assert next_sample_s(forever, end_s=forever, interval_s=1.0, last_s=-forever, cost_s=0.0) == forever
