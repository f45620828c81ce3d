"""What others did to the machine during a run, and when that spoils it."""

from __future__ import annotations

import os

import pytest

from schedtuna.machine.procstat import CpuTimes, ProcStat
from schedtuna.workload.command import run
from schedtuna.workload.covariates import COVARIATES, DEFAULT_LIMITS, covariates, invalid_reason
from schedtuna.workload.spec import Workload

TICKS = os.sysconf("SC_CLK_TCK")


def spent(**ticks: int) -> ProcStat:
    return ProcStat(total=CpuTimes(**ticks), cpus={})


def test_fractions_add_up_by_hand():
    # 10 s of CPU time: 2 s stolen, 1 s of interrupts, 4 s busy of which 3 s ours, the rest idle.
    times = spent(user=3 * TICKS, system=TICKS, steal=2 * TICKS, softirq=TICKS, idle=3 * TICKS)
    values = covariates(times, cpu_time_s=3.0)
    assert values == pytest.approx({"steal_fraction": 0.2, "irq_fraction": 0.1, "other_fraction": 0.1})


def test_a_run_shorter_than_a_tick_has_none():
    assert covariates(spent(), cpu_time_s=0.0) == {}


def test_our_own_time_is_not_others():
    assert covariates(spent(user=10, idle=10), cpu_time_s=100.0)["other_fraction"] == 0.0


def test_a_run_is_valid_within_its_limits():
    assert invalid_reason({"steal_fraction": 0.05}, {"steal_fraction": 0.05}) == ""
    assert invalid_reason({}, DEFAULT_LIMITS) == ""
    assert DEFAULT_LIMITS.keys() == COVARIATES.keys()


def test_a_spoilt_run_says_by_what():
    reason = invalid_reason({"steal_fraction": 0.2}, {"steal_fraction": 0.1})
    assert reason.startswith("steal_fraction: 20% of the CPUs' time went to other guests")
    assert reason.endswith("(limit 10%)")


def test_a_real_run_has_all_of_them():
    raw = run(Workload(argv=("sleep", "0.2")), 1)
    assert raw.covariates.keys() == COVARIATES.keys()
    assert all(0 <= value <= 1 for value in raw.covariates.values())
