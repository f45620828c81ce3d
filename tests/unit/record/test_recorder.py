"""What does a recording leave behind that is interrupted, or fails, while it begins?"""

import os
import signal
import time

import pytest

from schedtuna.record import recorder, sources
from schedtuna.record.recorder import Mode, Recorder, RecordOptions
from schedtuna.trace.store import open_trace

OPTIONS = RecordOptions(mode=Mode.PROCFS, interval_s=60)


def at_the_call_of(monkeypatch, name, action):
    module = recorder if hasattr(recorder, name) else sources
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
