import base64
import zlib

import numpy as np
import pytest

from schedtuna.errors import MetricError
from schedtuna.trace.aggregates.layout import CPU_STATS_DTYPE, STATS_BORN, STATS_DEAD, STATS_DTYPE
from schedtuna.trace.aggregates.remote import metrics_of_dump


def packed(array):
    return base64.b64encode(zlib.compress(array.tobytes())).decode()


def task(tid, *, run_ns, flags=0):
    row = np.zeros(1, STATS_DTYPE)
    row["task"]["tid"] = tid
    row["run_ns"], row["flags"], row["nr_runs"] = run_ns, flags, 2
    return row


def dump(**changes):
    exits = np.concatenate([task(1, run_ns=3000, flags=STATS_DEAD | STATS_BORN), task(2, run_ns=4000)])
    living = np.concatenate([task(2, run_ns=3999), task(3, run_ns=5000)])
    content = {
        "exits": packed(exits),
        "living": packed(living),
        "cpus": packed(np.zeros(2, CPU_STATS_DTYPE)),
        "window_ns": 10**6,
        "nr_cpus": 2,
    }
    return {**content, **changes}


def test_a_task_that_ended_while_the_living_were_read_counts_once():
    metrics = metrics_of_dump(dump())
    assert metrics["sched.cpu_time_total_us"] == 12.0
    assert metrics["sched.switches"] == 6


def test_missing_tasks_are_an_error():
    cpus = np.zeros(2, CPU_STATS_DTYPE)
    cpus["nr_exits_lost"] = 3, 4
    with pytest.raises(MetricError, match="7 tasks were not recorded"):
        metrics_of_dump(dump(cpus=packed(cpus)))


@pytest.mark.parametrize(
    "content",
    [{}, [], dump(exits="?"), dump(living=base64.b64encode(b"not packed").decode()), dump(nr_cpus="many")],
    ids=["empty", "a list", "no base64", "not packed", "no number"],
)
def test_what_is_not_a_dump_is_an_error(content):
    with pytest.raises(MetricError, match="can't be read"):
        metrics_of_dump(content)
