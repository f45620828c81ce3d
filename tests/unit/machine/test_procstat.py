import pytest

from schedtuna.errors import UnavailableError
from schedtuna.machine.procstat import CpuTimes, parse_proc_stat, read_proc_stat

TEXT = """\
cpu  100 10 50 800 20 5 15 0 30 0
cpu0 60 10 30 390 5 2 3 0 30 0
cpu2 40 0 20 410 15 3 12 0 0 0
intr 1 2 3
ctxt 12345
"""


def test_columns_are_the_kernels():
    stat = parse_proc_stat(TEXT)
    assert stat.total == CpuTimes(100, 10, 50, 800, 20, 5, 15, 0, 30, 0)
    assert sorted(stat.cpus) == [0, 2]
    assert stat.total.total == 1000  # guest time is part of user time
    assert stat.total.irq_fraction == pytest.approx(0.02)
    assert stat.total.idle_fraction == pytest.approx(0.82)
    assert stat.total.steal_fraction == 0


def test_differences_tell_what_happened_meanwhile():
    earlier = parse_proc_stat("cpu 10 0 10 70 0 0 0 10\ncpu0 10 0 10 70 0 0 0 10\n")
    later = parse_proc_stat("cpu 30 0 20 100 0 2 8 50\ncpu0 30 0 20 100 0 2 8 50\ncpu1 1 0 0 0\n")
    spent = later - earlier
    assert spent.total == CpuTimes(user=20, system=10, idle=30, irq=2, softirq=8, steal=40)
    assert spent.total.steal_fraction == pytest.approx(40 / 110)
    assert spent.total.irq_fraction == pytest.approx(10 / 110)
    assert list(spent.cpus) == [0]  # CPU 1 came online in between


def test_counters_that_step_back_count_nothing():
    assert (CpuTimes(idle=5, user=9) - CpuTimes(idle=6, user=4)) == CpuTimes(user=5)


def test_no_time_has_no_fractions():
    assert CpuTimes().steal_fraction == CpuTimes().irq_fraction == 0


def test_columns_of_future_kernels_are_ignored():
    assert parse_proc_stat("cpu 1 2 3 4 5 6 7 8 9 10 11 12\n").total.guest_nice == 10


@pytest.mark.parametrize("text", ["", "ctxt 5\n", "cpu0 1 2 3 4\n"])
def test_no_totals_is_an_error(text):
    with pytest.raises(UnavailableError, match="no line of CPU times"):
        parse_proc_stat(text)


def test_garbage_names_the_line():
    with pytest.raises(UnavailableError, match="cpu0 many"):
        parse_proc_stat("cpu 1 2 3 4\ncpu0 many\n")


def test_missing_procfs_is_an_error(tmp_path):
    with pytest.raises(UnavailableError, match="can't read"):
        read_proc_stat(tmp_path)


def test_the_running_kernels_total_is_the_sum_of_its_cpus():
    stat = read_proc_stat()
    for name in ("user", "system", "idle", "steal"):
        total = getattr(stat.total, name)
        parts = sum(getattr(times, name) for times in stat.cpus.values())
        # The kernel rounds each line down to ticks, and reads the CPUs one after the other.
        assert abs(total - parts) <= 100 + len(stat.cpus)
