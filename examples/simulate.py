"""Simulate typing and video beside batch work: under the kernel's own scheduler, and under one of ours.

python examples/simulate.py [SECONDS]
"""

import sys

from schedtuna.sim import EnqueueReason, Machine, Scheduler, Task, simulate
from schedtuna.trace.analysis import Analysis

SLICE_NS = 3_000_000


class WakersFirst(Scheduler):
    """Two queues: who slept is served before who was preempted."""

    conserves_work = True

    def init(self, machine: Machine) -> None:
        """Make the queues."""
        self.woken, self.preempted = machine.create_dsq(), machine.create_dsq()

    def enqueue(self, machine: Machine, task: Task, reason: EnqueueReason) -> None:
        """Put a task that can run into one of them."""
        queue = self.woken if reason is EnqueueReason.WAKEUP else self.preempted
        machine.dsq_insert(task, queue, SLICE_NS)

    def dispatch(self, machine: Machine, cpu: int, _prev: Task | None) -> None:
        """Give a CPU the first that may run there."""
        if not machine.dsq_move_to_local(self.woken, cpu):
            machine.dsq_move_to_local(self.preempted, cpu)


def main(seconds: float) -> None:
    """Print how long tasks waited for a CPU after they were woken, at the 99th percentile."""
    schedulers: dict[str, str | type[Scheduler]] = {"fair": "fair", "wakers first": WakersFirst}
    for name, scheduler in schedulers.items():
        trace = simulate("interactive", scheduler, cpus=2, seed=1, duration_s=seconds)
        for group in Analysis(trace).by("comm").dicts():
            p99_ns = group["wakeup_latency_p99_ns"]
            if p99_ns is not None:
                print(f"{name:12}  {group['name']:10}  p99 {p99_ns / 1e3:8.0f} us")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10)
