import os
import threading
import time

import pytest

from schedtuna.errors import UnavailableError
from schedtuna.record.procfs import SYSTEM_METRICS, SystemSampler, scan_threads

STAT = (
    "cpu  {user} 0 100 {idle} 10 5 5 0 0 0\ncpu0 {user} 0 100 {idle} 10 5 5 0 0 0\nintr {n} 0\nctxt {n}\n"
    "processes {n}\nprocs_running 3\nprocs_blocked 2\n"
)


@pytest.fixture
def proc(tmp_path):
    """A /proc whose counters can be moved on."""

    class Proc:
        path = tmp_path

        def set(self, user=0, idle=0, n=0, pages=0, stalled_us=0):
            (tmp_path / "stat").write_text(STAT.format(user=user, idle=idle, n=n))
            (tmp_path / "loadavg").write_text("1.50 1.00 0.50 3/123 4567\n")
            (tmp_path / "meminfo").write_text(
                "MemTotal: 1000 kB\nMemAvailable: 600 kB\nBuffers: 5 kB\nCached: 7 kB\n"
                "SwapTotal: 100 kB\nSwapFree: 90 kB\n"
            )
            (tmp_path / "vmstat").write_text(
                f"pgpgin {pages}\npgpgout 0\npswpin {pages}\npswpout 0\npgfault 0\n"
            )
            (tmp_path / "pressure").mkdir(exist_ok=True)
            (tmp_path / "pressure/cpu").write_text(
                f"some avg10=0.00 avg60=0.00 avg300=0.00 total={stalled_us}\n"
            )

    return Proc()


def test_the_cost_of_sampling_is_never_told_from_two_threads_times(proc):
    proc.set()
    sampler = SystemSampler(threads=False, proc=proc.path)
    assert sampler.sample()[1]["sampler_cpu_percent"] >= 0
    taken = []
    thread = threading.Thread(target=lambda: taken.extend(sampler.sample()[1] for _ in range(2)))
    thread.start()
    thread.join()
    assert ["sampler_cpu_percent" in sample for sample in taken] == [False, True]
    assert taken[1]["sampler_cpu_percent"] >= 0


def test_a_sample_covers_the_time_since_the_one_before(proc):
    proc.set()
    sampler = SystemSampler(threads=False, proc=proc.path)
    before = time.monotonic_ns()
    proc.set(user=75, idle=25, n=1000, pages=8, stalled_us=10**12)
    timestamp, sample = sampler.sample()
    assert timestamp >= before
    assert sample["cpu_percent"] == sample["user_percent"] == 75
    assert sample["run_queue_length"] == 3
    assert sample["nr_io_blocked_threads"] == 2
    assert sample["nr_threads"] == 123
    assert sample["memory_used_bytes"] == 400 * 1024
    assert sample["swap_used_bytes"] == 10 * 1024
    assert sample["psi_cpu_some_percent"] == 100
    rates = sample["switches_per_s"], sample["forks_per_s"], sample["interrupts_per_s"]
    assert len(set(rates)) == 1
    assert sample["io_read_bytes_per_s"] / rates[0] == pytest.approx(8 * 1024 / 1000)
    assert sample["swap_in_bytes_per_s"] / rates[0] == pytest.approx(8 * os.sysconf("SC_PAGE_SIZE") / 1000)


def test_counters_that_step_back_give_no_negative_rates(proc):
    proc.set(user=5, n=10)
    sampler = SystemSampler(threads=False, proc=proc.path)
    proc.set(user=6, n=3)
    assert sampler.sample()[1]["switches_per_s"] == 0


def test_what_a_kernel_lacks_is_left_out(proc):
    proc.set()
    for name in ("vmstat", "meminfo", "loadavg", "pressure/cpu"):
        (proc.path / name).unlink()
    sampler = SystemSampler(threads=False, proc=proc.path)
    sample = sampler.sample()[1]
    assert "memory_used_bytes" not in sample
    assert "psi_cpu_some_percent" not in sample
    assert "switches_per_s" in sample


def test_without_procfs_there_is_an_error(tmp_path):
    with pytest.raises(UnavailableError):
        SystemSampler(proc=tmp_path)


def test_this_machine_has_every_metric():
    sampler = SystemSampler()
    time.sleep(0.1)  # shares of CPU time need ticks to share out: without one they are unknown, and left out
    sample = sampler.sample()[1]
    assert set(sample) <= set(SYSTEM_METRICS)
    psi = {name for name in SYSTEM_METRICS if name.startswith("psi_")}
    assert set(SYSTEM_METRICS) - set(sample) <= psi  # not every kernel has it, or all of it
    assert 0 <= sample["cpu_percent"] <= 100
    assert sample["nr_active_threads"] >= 1  # this one


def test_the_scan_counts_states_and_switches(tmp_path):
    for tid, state, voluntary in ((10, "R (running)", 3), (11, "D (disk sleep)", 4), (12, "S (sleeping)", 5)):
        folder = tmp_path / f"10/task/{tid}"
        folder.mkdir(parents=True)
        (folder / "status").write_text(
            f"Name:\tState:\tR\\n\nState:\t{state}\n"
            f"voluntary_ctxt_switches:\t{voluntary}\nnonvoluntary_ctxt_switches:\t1\n"
        )
    (tmp_path / "11").mkdir()  # gone before its threads were listed
    states, switches = scan_threads(tmp_path)
    assert states == {"nr_active_threads": 1, "nr_blocked_threads": 1}
    assert switches == {10: (3, 1), 11: (4, 1), 12: (5, 1)}


def test_a_thread_that_ends_does_not_hide_the_switches_of_others(proc):
    def threads(**switches):
        for tid in ("10", "11", "12"):
            (proc.path / f"10/task/{tid}/status").unlink(missing_ok=True)
        for tid, (voluntary, involuntary) in switches.items():
            folder = proc.path / f"10/task/{tid.removeprefix('t')}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "status").write_text(
                f"State:\tS (sleeping)\nvoluntary_ctxt_switches:\t{voluntary}\n"
                f"nonvoluntary_ctxt_switches:\t{involuntary}\n"
            )

    proc.set()
    threads(t10=(10**6, 10**6), t11=(5, 5), t12=(900, 900))
    sampler = SystemSampler(proc=proc.path)
    proc.set(n=100)
    threads(t11=(65, 25), t12=(40, 20))  # 10 ended; 12 did, too, and a new thread has its number
    sample = sampler.sample()[1]
    assert sample["voluntary_switches_per_s"] / sample["switches_per_s"] == pytest.approx(1.0)
    assert sample["involuntary_switches_per_s"] / sample["switches_per_s"] == pytest.approx(0.4)


def test_shares_of_less_than_a_clock_tick_are_unknown_not_0(proc):
    proc.set(user=5)
    sampler = SystemSampler(threads=False, proc=proc.path)
    assert not {name for name in sampler.sample()[1] if name.endswith("_percent")} & {
        "cpu_percent",
        "iowait_percent",
        "softirq_percent",
    }
