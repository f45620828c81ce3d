"""What is known of candidates, against what the simulator itself says of them where a CPU is to choose."""

import numpy as np
import pytest

from schedtuna.features.candidates import TaskMoments
from schedtuna.trace.intervals import intervals

pytest.importorskip("polars")

from schedtuna.sim import Simulation

END_NS = 400_000_000


@pytest.mark.parametrize("load", ["interactive:load=0.9", "ping-pong:load=0.9", "fork-join:load=1.2"])
def test_what_is_told_of_candidates_is_what_the_simulator_knows(load):
    simulation = Simulation(load, "external", cpus=2, seed=3, duration_s=1, traced=True)
    events, asked, rng = [], [], np.random.default_rng(7)
    while True:
        simulation.run(END_NS)
        cpu = simulation.deciding_cpu
        if cpu is None:
            break
        rows = simulation.candidate_rows().copy()
        asked += [(simulation.now_ns, cpu, row) for row in rows]
        simulation.choose(int(rng.choice(rows["id"])))
        events.append(simulation.take_events())
    events.append(simulation.take_events())
    moments = TaskMoments(intervals(np.concatenate(events), start_ns=0, end_ns=END_NS))
    time = np.array([now for now, _, _ in asked])
    tid = np.array([row["id"] + 1 for _, _, row in asked])
    found, known = moments.look(tid, time)
    assert len(asked) > 150
    assert known.mean() > 0.97
    for name in ("waited_ns", "attained_ns", "burst_ns", "cpu_time_ns"):
        expected = np.array([row[name] for _, _, row in asked])
        # The machine's costs (switches, wakeups) are part of what events show, and of no task's CPU time.
        off = np.abs(found[name] - expected) > 10_000 + expected // 50
        assert (off & known).sum() <= 0.01 * len(off), name
    last = np.array([row["cpu"] for _, _, row in asked])
    ran = known & (found["last_cpu"] >= 0)
    assert ran.mean() > 0.5
    # The simulator's is the queue that a wakeup put it on, where that is another than it ran on last.
    assert (found["last_cpu"] == last)[ran].mean() > 0.95
