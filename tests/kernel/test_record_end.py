"""What is still to be done when a recording ends, where many tasks live?"""

import subprocess
import time
from contextlib import contextmanager

import polars  # noqa: F401  # so that neither side pays for it
import pytest

from schedtuna.kernel.objects import VMLINUX_BTF
from schedtuna.kernel.privilege import missing_capabilities
from schedtuna.record.recorder import Mode, Recorder, RecordOptions
from schedtuna.trace.store import open_trace

pytestmark = pytest.mark.skipif(
    bool(missing_capabilities()) or not VMLINUX_BTF.exists(), reason="may not load BPF programs here"
)
NR_SLEEPERS = 400


@contextmanager
def sleepers():
    processes = [subprocess.Popen(["sleep", "infinity"]) for _ in range(NR_SLEEPERS)]
    try:
        yield {process.pid for process in processes}
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("mode", [Mode.STREAM, Mode.AGGREGATE])
def test_a_planned_end_looks_at_no_process_again(tmp_path, mode):
    """The CPU times of beginning, which reads every process, and of ending, of the same thread."""
    with sleepers() as pids:
        recorder = Recorder(tmp_path / "t", RecordOptions(mode=mode, interval_s=60))
        before_s = time.thread_time()
        with recorder:
            begin_s = time.thread_time() - before_s
            recorder.plan_end(0.5)
            deadline = time.monotonic() + 60
            while recorder._sampled_s < 0 and time.monotonic() < deadline:
                time.sleep(0.01)
            before_s = time.thread_time()
        end_s = time.thread_time() - before_s
    assert end_s < begin_s
    trace = open_trace(tmp_path / "t")
    assert trace.state == "complete"
    assert trace.manifest["origin"]["machine"]
    samples = trace.samples("process")
    assert pids <= set(samples["pid"])
    assert set(samples["timestamp_ns"]) == {samples["timestamp_ns"][0]}
    if mode is Mode.STREAM:
        assert pids <= set(trace.task_rows["tid"].tolist())
