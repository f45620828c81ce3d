"""CPUs that go and come while the scheduler is recorded: the counts go on, and agree with the kernel's."""

import pytest
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.lab.boot import boot
from schedtuna.lab.vm import GuestSpec
from schedtuna.trace.aggregates.remote import metrics_of_dump

ONLINE = "/sys/devices/system/cpu/cpu1/online"
# Four tasks that compute on four CPUs, one of which goes away and comes back below them.
LOAD = f"""
cat /sys/kernel/sched_ext/hotplug_seq
for job in 1 2 3 4; do python3 -I -S -c 'sum(range(6 * 10**6))' & done
for nr in 1 2 3; do
    echo 0 > {ONLINE}; sleep 0.2
    grep -c ^processor /proc/cpuinfo
    echo 1 > {ONLINE}; sleep 0.2
done
{{last}}
wait
cat /sys/kernel/sched_ext/hotplug_seq
"""


@pytest.fixture(scope="module")
def guest():
    booted, _ = boot(lab_or_skip(), GuestSpec(cpus=4, recording=True))
    with booted:
        yield booted


@pytest.mark.parametrize("last", [":", f"echo 0 > {ONLINE}"], ids=["back", "away at the end"])
def test_recording_goes_on_while_a_cpu_goes_and_comes(guest, last):
    guest.run(["sh", "-c", f"echo 1 > {ONLINE}"], folder="/")  # as the case before may have left it
    raw, dump = guest.run_recorded(["sh", "-c", LOAD.format(last=last)], folder="/")
    assert raw.exit_code == 0, raw.tail()
    first, *nr_cpus, after = (int(word) for word in raw.stdout.split())
    assert nr_cpus == [3, 3, 3]
    assert after - first >= 6  # each went and came
    metrics = metrics_of_dump(dump)  # refuses what is incomplete
    window_us = dump["window_ns"] / 1000
    used = raw.usage  # the kernel's own account of the same tasks
    voluntary, involuntary = used["nr_voluntary_switches"], used["nr_involuntary_switches"]
    assert metrics["sched.cpu_time_total_us"] == pytest.approx(1e6 * used["cpu_time_s"], rel=0.02)
    assert metrics["sched.preemptions"] == pytest.approx(involuntary, rel=0.02, abs=5)
    assert metrics["sched.switches"] == pytest.approx(voluntary + involuntary, rel=0.02, abs=5)
    assert metrics["sched.migrations"] >= 1  # off the CPU that went
    assert all(0 <= number < 4 * window_us for name, number in metrics.items() if name.endswith("_us")), (
        metrics
    )
