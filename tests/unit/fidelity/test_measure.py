"""The figures of a run, held against what must be true of them."""

from __future__ import annotations

import numpy as np
import pytest

from schedtuna.errors import TraceError, UnavailableError

try:
    from schedtuna.fidelity.measure import CURVE, measured
    from schedtuna.sim.traced import simulate
except UnavailableError as missing:
    pytest.skip(str(missing), allow_module_level=True)

WAKER = {"run": 1000, "timer": {"ref": "unique", "period": 7137}}
WINDOW_S = (0.2, 2.0)


def run(tasks, cpus=1):
    trace = simulate({"tasks": tasks}, cpus=cpus, duration_s=2)
    return measured(trace, 1, WINDOW_S, range(cpus))


def test_while_a_task_wants_its_cpu_it_or_another_one_has_it():
    """On one CPU others take exactly the time for which the load waits."""
    found = run({"fid_waker": WAKER, "other": {"run": 100_000}})
    waited = found.figures["run_delay_ms_per_s"] / 1e3
    ran = found.figures["cpu_percent:waker"] / 100
    assert found.interruptions.share == pytest.approx(waited / (waited + ran), abs=0.01)
    assert found.interruptions.share > 0.2


def test_others_that_follow_each_other_are_one_interruption():
    others = {f"other{k}": {"run": 300, "timer": {"ref": "unique", "period": 20_137}} for k in range(3)}
    found = run({"fid_hog": {"run": 100_000}, **others})
    # They wake up at once, and run one after the other.
    assert found.interruptions.per_s == pytest.approx(1e6 / 20_137, rel=0.1)
    assert found.interruptions.mean_ns == pytest.approx(3 * 300_000, rel=0.1)


def test_what_others_do_meanwhile_is_no_interruption():
    found = run({"fid_waker": {**WAKER, "cpus": [0]}, "other": {"run": 100_000, "cpus": [1]}}, cpus=2)
    assert found.interruptions.share < 0.6  # of both CPUs' time in which it wants one of them
    alone = run({"fid_waker": WAKER})
    assert alone.interruptions.share == 0
    assert alone.interruptions.per_s == 0


def test_figures_agree_with_each_other():
    found = run({"fid_a": {"run": 100_000}, "fid_b": {"run": 100_000, "priority": 5}, "fid_c": WAKER})
    figures = found.figures
    assert found.seconds == pytest.approx(1.8)
    assert sum(figures[f"share:{name}"] for name in "abc") == pytest.approx(100)
    # The CPU is theirs alone, but for interrupts and the window's ends.
    assert sum(figures[f"cpu_percent:{name}"] for name in "abc") == pytest.approx(100, abs=1)
    assert figures["switches_per_s"] * figures["slice_mean_us"] == pytest.approx(1e6, rel=0.03)
    assert figures["wakeup_latency_mean_us"] == figures["wakeup_latency_mean_us:c"]
    curve = found.curves["wakeup_latency"]
    assert len(curve) == len(CURVE)
    assert curve == sorted(curve)
    assert float(np.mean(curve)) == pytest.approx(figures["wakeup_latency_mean_us"], rel=0.1)
    assert found.timeline[0][0] == 0
    assert {name for _, name in found.timeline} <= {"a", "b", "c", ""}


def test_a_trace_of_others_has_no_figures():
    with pytest.raises(TraceError, match="none of the load's tasks"):
        run({"other": WAKER})
