"""Names of tasks are what they are, and nothing of what was in their place before."""

import pytest
from tests.kernel.recording import Memory, Puppet

from schedtuna.kernel.objects import VMLINUX_BTF
from schedtuna.kernel.privilege import missing_capabilities
from schedtuna.record.aggregate import Aggregator
from schedtuna.record.filters import TaskFilter
from schedtuna.record.stream import EventStream
from schedtuna.trace.schema import TaskReason

pytestmark = pytest.mark.skipif(
    bool(missing_capabilities()) or not VMLINUX_BTF.exists(), reason="may not load BPF programs here"
)


@pytest.fixture
def puppet():
    with Puppet() as puppet:
        yield puppet


def rename(puppet, name):
    puppet.do(f"open('/proc/self/comm', 'w').write({name!r})")


def test_a_task_that_is_counted_has_its_newest_name_alone(puppet):
    with Aggregator(TaskFilter(tgid=puppet.pid)) as counted:
        for name in ("a-name-of-15-let", "sh"):
            rename(puppet, name)
            assert set(counted.snapshot().tasks["comm"]) == {name[:15].encode()}


def test_each_name_of_a_stream_is_whole_and_no_more(puppet):
    names = ["x" * (1 + 7 * k % 15) for k in range(60)]
    sink = Memory()
    with EventStream(TaskFilter(tgid=puppet.pid)) as stream:
        for name in names:
            rename(puppet, name)
            stream.drain(sink)
    renamed = sink.rows[sink.rows["reason"] == TaskReason.RENAME]
    assert renamed["comm"].tolist() == [name.encode() for name in names]
