"""Threads and intervals made by hand."""

import numpy as np

from schedtuna.agent.contract import SENSED_DTYPE, ChangeTarget, Intent, RunningScheduler, Sensed, Standing

SECOND_NS = 10**9


def thread(tid, *, cpu_ms=0, wait_ms=0, wakeups=0, seconds=1.0, **values):
    """A row; rates are of an interval of one second."""
    row = np.zeros(1, SENSED_DTYPE)
    given = {
        "tid": tid,
        "tgid": tid,
        "ppid": 2000,
        "start_time_ns": tid * 1000,
        "comm": b"work",
        "weight": 1024,
        "observed_ns": int(seconds * SECOND_NS),
        "cpu_time_ns": int(cpu_ms * 1e6),
        "run_delay_ns": int(wait_ms * 1e6),
        "nr_voluntary": wakeups,
        **values,
    }
    for name, value in given.items():
        row[name] = value
    return row


def hog(tid, **values):
    return thread(tid, **{"cpu_ms": 500, "wait_ms": 450, "wakeups": 0, **values})


def interactive(tid, **values):
    return thread(tid, **{"cpu_ms": 50, "wait_ms": 100, "wakeups": 50, **values})


def sensed(number, *threads, cgroups=None, scheduler=None):
    tasks = np.concatenate([np.zeros(0, SENSED_DTYPE), *threads])
    return Sensed(
        number=number,
        start_ns=number * SECOND_NS,
        end_ns=(number + 1) * SECOND_NS,
        tasks=tasks[np.argsort(tasks["tid"])],
        cgroups=cgroups or {},
        machine={},
        kernel={},
        scheduler=scheduler or RunningScheduler("eevdf"),
    )


def intent(tid=7, setting="nice", old=0, new=10, **target):
    return Intent(
        ChangeTarget("thread", **{"tid": tid, "tgid": tid, "start_time_ns": tid * 1000, **target}),
        setting,
        old,
        new,
        "it is batch",
    )


def standing(*intents, since_ns=0):
    return {one.key: Standing(one, since_ns, one.old) for one in intents}
