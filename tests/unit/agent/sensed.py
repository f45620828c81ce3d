"""Intervals made by hand."""

import numpy as np

from schedtuna.agent.contract import (
    SENSED_DTYPE,
    ChangeTarget,
    Intent,
    RunningScheduler,
    Sensed,
    SloReading,
    Standing,
)

SECOND_NS = 10**9
INTENT = Intent(ChangeTarget("thread", tid=7, tgid=7, start_time_ns=1), "nice", 0, 10, "batch")
IN_FORCE = {INTENT.key: Standing(INTENT, 0, 0)}
EEVDF = RunningScheduler("eevdf")


def interval(number, *, kernel=None, machine=None, slos=(), scheduler=EEVDF, seconds=1.0, tasks=1):
    end_ns = (number + 1) * SECOND_NS
    return Sensed(
        number=number,
        start_ns=end_ns - int(seconds * SECOND_NS),
        end_ns=end_ns,
        tasks=np.zeros(tasks, SENSED_DTYPE),
        cgroups={},
        machine=machine or {},
        kernel={"wakeup_latency_p99_us": 100.0} if kernel is None else kernel,
        scheduler=scheduler,
        slos=slos,
    )


def slo(value, limit=50.0, *, at_most=True, age_s=0.0, name="p99_ms"):
    return SloReading(name, value, limit, at_most, int(age_s * SECOND_NS), 10 * SECOND_NS)
