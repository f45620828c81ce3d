"""What does the recorder say on kernels that it can't record on?"""

import errno
import os

import pytest

from schedtuna.errors import UnavailableError
from schedtuna.kernel import objects
from schedtuna.kernel.kernel_btf import KernelBtf
from schedtuna.kernel.objects import VMLINUX_BTF, BpfObject
from schedtuna.record import loading
from schedtuna.record.aggregate import Aggregator
from schedtuna.record.filters import TaskFilter
from schedtuna.record.stream import EventStream

pytestmark = pytest.mark.usefixtures("bpf")


@pytest.mark.parametrize("recorder", [EventStream, Aggregator])
def test_damaged_btf(tmp_path, recorder):
    damaged = tmp_path / "vmlinux"
    for content in (b"", b"no BTF", VMLINUX_BTF.read_bytes()[:5000]):
        damaged.write_bytes(content)
        with pytest.raises(UnavailableError, match=r"kernel.s types") as caught:
            recorder(btf=damaged)
        assert caught.value.hint


def test_the_btf_of_another_kernel_is_noticed(tmp_path):
    """BTF that is sound but has no scheduler in it: that of a BPF object."""
    with BpfObject("sched_stream") as bpf:
        content = bpf._own_btf_bytes()
    other = tmp_path / "other"
    other.write_bytes(content)
    with pytest.raises(UnavailableError):
        EventStream(btf=other)
    with KernelBtf(other) as kernel:
        assert kernel.tracepoint_arity("sched_switch") is None
        assert kernel.has_member("sched_event", "tid")
        assert not kernel.has_member("sched_event", "nonsense")
        assert not kernel.has_member("nonsense", "tid")


def test_a_kernel_without_btf(monkeypatch, tmp_path):
    monkeypatch.setattr(objects, "VMLINUX_BTF", tmp_path / "missing")
    with pytest.raises(UnavailableError, match="has no BTF") as caught:
        EventStream()
    assert "CONFIG_DEBUG_INFO_BTF" in caught.value.hint
    assert "--procfs" in caught.value.hint


def test_a_kernel_without_accounting(monkeypatch):
    monkeypatch.setattr(KernelBtf, "has_member", lambda *_: False)
    with pytest.raises(UnavailableError, match="CONFIG_SCHEDSTATS") as caught:
        Aggregator()
    assert "leave --aggregate out" in caught.value.hint


def test_a_pid_namespace_of_its_own(monkeypatch):
    monkeypatch.setattr(loading, "in_initial_pid_namespace", lambda: False)
    for task_filter in (TaskFilter(tgid=1), TaskFilter(tree=(1,))):
        with pytest.raises(UnavailableError, match="PID namespace") as caught:
            Aggregator(task_filter)
        assert "--pid=host" in caught.value.hint
    with Aggregator(TaskFilter(comm="x")):
        pass


def test_an_old_kernel(monkeypatch):
    class Old:
        release = "4.19.0-21-amd64"

    monkeypatch.setattr("schedtuna.kernel.objects.os.uname", Old)
    error = objects._bpf_error("the kernel refuses to load", errno.EINVAL, [])
    assert "4.19" in error.hint
    assert "5.12 or newer" in error.hint


def test_what_the_kernel_says_is_passed_on(monkeypatch):
    log = ["libbpf: prog 'on_switch': failed to load: -22", "libbpf: failed to load object 'x'"]
    monkeypatch.setenv("SCHEDTUNA_DEBUG", "1")
    error = objects._bpf_error("the kernel refuses to load x", errno.EINVAL, log)
    assert "on_switch" in str(error)
    assert error.__notes__ == log


def test_unknown_names_are_programming_errors():
    with BpfObject("sched_stream") as bpf:
        for call in (
            lambda: bpf.set_constants({"nonsense": 1}),
            lambda: bpf.set_max_entries("nonsense", 1),
            lambda: bpf.skip(["nonsense"]),
        ):
            with pytest.raises(KeyError, match="nonsense"):
                call()
        with pytest.raises(OverflowError):
            bpf.set_constants({"filter_comm": 256})


def test_nothing_stays_open():
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        with EventStream(ring_bytes=1):
            pass
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_the_highest_cpu_counts_not_how_many_there_are(monkeypatch):
    class Sparse:
        @staticmethod
        def live():
            return Sparse()

        def read(self, _path):
            return "0-3,8-11"

    monkeypatch.setattr(loading, "Probe", Sparse)
    assert loading.nr_cpu_ids() == 12
