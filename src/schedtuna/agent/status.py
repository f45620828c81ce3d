"""What does an agent do now? For `agent status`, metrics and the page."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from schedtuna import __version__
from schedtuna.agent.explaining import tell_row
from schedtuna.agent.guard.guard import effects_of
from schedtuna.agent.loop import Agent
from schedtuna.agent.telling import tell_act
from schedtuna.printable import printable
from schedtuna.trace.tasks import clean_name

if TYPE_CHECKING:
    from schedtuna.agent.contract import Sensed

NR_THREADS_TOLD = 10
_MACHINE = ("cpu_percent", "run_queue_length", "psi_cpu_some_percent", "memory_available_bytes")


def status_of(agent: Agent) -> dict[str, Any]:
    """Return what an agent does now, for `agent status` and metrics."""
    sensed = agent.sensed
    ids = agent.actor.record_ids()
    return {
        "version": __version__,
        "pid": os.getpid(),
        "policy": agent.policy.name,
        "advise": agent.options.advise,
        "interval_s": agent.interval_s,
        "stopped": agent.stopped,
        "guard": {
            "decision": str(agent.verdict.decision),
            "reason": agent.verdict.reason,
            "facts": dict(agent.verdict.facts),
        },
        "effects": effects_of(agent.guard),
        "slos": [
            {
                "name": slo.name,
                "value": slo.value,
                "limit": slo.limit,
                "is_met": slo.is_met,
                "is_stale": slo.is_stale,
            }
            for slo in (() if sensed is None else sensed.slos)
        ],
        "counts": dict(vars(agent.counts)),
        "unknown": dict(agent.senses.unknown),
        "managers": [manager.name for manager in agent.managers],
        "scheduler": None if sensed is None else sensed.scheduler.name,
        "kernel": {} if sensed is None else dict(sensed.kernel),
        "nr_threads": 0 if sensed is None else len(sensed.tasks),
        "decisions": {} if agent.decisions is None else agent.decisions.told(),
        "log": {"mb_per_h": agent.log.megabytes_per_h, "rows_lost": agent.log.nr_lost},
        "standing": [
            {
                "id": one.intent.id,
                "what": one.intent.target.tell(),
                "tid": one.intent.target.tid,
                "cgroup": one.intent.target.cgroup,
                "setting": one.intent.setting,
                "found": one.found,
                "value": one.intent.new,
                "reason": one.intent.reason,
                "why_unproven": one.intent.why_unproven,
                "since_s": (time.monotonic_ns() - one.since_ns) / 1e9,
                "records": ids.get(key, []),
            }
            for key, one in agent.actor.standing.items()
        ],
        "advice": [tell_act(act) for act in agent.advice.values()],
        "taken": dict(list(agent.ownership.taken.items())[-100:]),
    }


def view_of(agent: Agent, *, after: int) -> dict[str, Any]:
    """Return what the page shows of an agent: its status, who runs and waits, what was decided of late.

    Args:
        agent: See there.
        after: Number of the last row of the log that is known already.
    """
    sensed = agent.sensed
    return {
        **status_of(agent),
        "interval": None if sensed is None else _interval(sensed),
        "rows": [
            {
                "number": number,
                "kind": row["kind"],
                "told": printable(tell_row(row)),
                "features": row.get("features") or {},
            }
            for number, row in agent.log.rows_after(after)
        ],
    }


def _interval(sensed: Sensed) -> dict[str, Any]:
    """The last interval: how long ago it ended, and the threads that ran and waited most in it."""
    return {
        "number": sensed.number,
        "seconds": sensed.seconds,
        "age_s": (time.monotonic_ns() - sensed.end_ns) / 1e9,
        "machine": {name: sensed.machine[name] for name in _MACHINE if name in sensed.machine},
        "running": most_of(sensed, "cpu_time_ns"),
        "waiting": most_of(sensed, "run_delay_ns"),
    }


def most_of(sensed: Sensed, counter: str, most: int = NR_THREADS_TOLD) -> list[dict[str, Any]]:
    """Return the threads with the most of a counter in an interval, that with the most first.

    Threads that were not watched in it have no rates, and are left out; so is who has none of it.

    Args:
        sensed: The interval.
        counter: ``cpu_time_ns`` or ``run_delay_ns``.
        most: How many at most.
    """
    tasks = sensed.tasks
    counted = np.flatnonzero((tasks["observed_ns"] > 0) & (tasks[counter] > 0))
    values = tasks[counter][counted].astype(np.int64)
    order = counted[np.argsort(-values, kind="stable")[:most]]
    return [_thread(task, sensed.end_ns - sensed.start_ns) for task in tasks[order]]


def _thread(task: Any, interval_ns: int) -> dict[str, Any]:
    """A thread; shares are of the interval, also where it was born in it, so that they add up."""
    return {
        "tid": int(task["tid"]),
        "comm": clean_name(bytes(task["comm"])),
        "nice": int(task["nice"]),
        "cpu_percent": 100 * float(task["cpu_time_ns"]) / interval_ns,
        "wait_percent": 100 * float(task["run_delay_ns"]) / interval_ns,
        "wait_per_switch_us": _per_switch_us(task),
    }


def _per_switch_us(task: Any) -> float | None:
    """Mean wait for a CPU for each time that it got one; None where it got none that is known."""
    switches = int(task["nr_voluntary"]) + int(task["nr_involuntary"])
    return float(task["run_delay_ns"]) / 1e3 / switches if switches else None
