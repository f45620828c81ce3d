"""The real side: a load played in a group of its own, while every switch of the machine is recorded."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from schedtuna.configfile import parse_json
from schedtuna.errors import UnavailableError, WorkloadError
from schedtuna.fidelity import rules
from schedtuna.fidelity.loads import PlayedLoad
from schedtuna.fidelity.measure import SETTLED_S, RunFigures, measured
from schedtuna.files import write_text
from schedtuna.knobs.autogroup import AutogroupNice
from schedtuna.knobs.base import Target
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.session import Changes
from schedtuna.machine.topology import topology_now
from schedtuna.record.recorder import Recorder, RecordOptions
from schedtuna.resources import resource_path
from schedtuna.sim.topology import MachineShape
from schedtuna.trace.fairness import group_weight
from schedtuna.trace.store import open_trace
from schedtuna.trace.trace import Trace
from schedtuna.workload.command import Held, RawRun, start
from schedtuna.workload.spec import Workload

_TRIES = 3  # of a run from which the hypervisor took time
_SPARE_S = 60.0


def machine_shape() -> MachineShape:
    """Return this machine's CPUs as the simulator has them.

    Raises:
        UnavailableError: They aren't numbered from 0, or differ, as the simulator's don't.
    """
    topology = topology_now()
    online = topology.online
    if online != tuple(range(len(online))):
        raise UnavailableError(
            f"the CPUs that are online are {', '.join(map(str, online))}: simulated ones are numbered from 0",
            hint="bring the others online",
        )
    llcs, cores = topology.llcs, topology.cores
    threads = {len(core) for core in cores}
    sizes = {len(llc) for llc in llcs}
    if len(threads) != 1 or len(sizes) != 1 or threads > {1, 2}:
        raise UnavailableError("this machine's caches or cores are not all alike, as simulated ones are")
    nr_threads = threads.pop()
    return MachineShape(len(llcs), len(online) // len(llcs) // nr_threads, nr_threads)


def played_run(load: PlayedLoad, seed: int, journal: Journal | None = None) -> RunFigures:
    """Play a load once, and return its figures; a run from which time was stolen is repeated.

    Raises:
        UnavailableError: A privilege or the kernel's support is missing.
        WorkloadError: The player failed.
    """
    for _ in range(_TRIES):
        with recorded(load, seed, journal or Journal()) as (trace, window_s, steal):
            run = measured(trace, seed, window_s, load.cpus, steal=steal)
        if run.steal <= rules.MOST_STEAL:
            break
    return run


@contextmanager
def recorded(
    load: PlayedLoad, seed: int, journal: Journal
) -> Iterator[tuple[Trace, tuple[float, float], float]]:
    """Play a load once; yield its trace, when in it the load was at work, and the share of time stolen.

    Raises:
        UnavailableError: A privilege or the kernel's support is missing.
        WorkloadError: The player failed.
    """
    with tempfile.TemporaryDirectory(prefix="schedtuna-fidelity-") as name:
        folder = Path(name)
        raws = _played(load, seed, folder, journal)
        trace = open_trace(folder / "trace")
        trace.require_complete()
        steal = max(raw.covariates.get("steal_fraction", 0.0) for raw in raws)
        yield trace, _window_s(raws, load.seconds, trace.window_ns[0]), steal


def _played(load: PlayedLoad, seed: int, folder: Path, journal: Journal) -> list[RawRun]:
    with ExitStack() as stack:
        held = [stack.enter_context(_held(load, nice, seed, folder, journal)) for nice in load.groups]
        stack.enter_context(_elsewhere(load.cpus))
        with Recorder(folder / "trace", RecordOptions(interval_s=3600.0, processes=False)):
            for one in held:
                one.go()
            raws = [one.wait() for one in held]
    for raw in raws:
        if raw.failure:
            raise WorkloadError(f"the player failed: {raw.failure}", hint=raw.tail())
    return raws


@contextmanager
def _held(load: PlayedLoad, nice: int, seed: int, folder: Path, journal: Journal) -> Iterator[Held]:
    """Hold the player of one of the load's groups at its gate, the group weighed."""
    file = folder / f"load{nice}.json"
    write_text(file, json.dumps(load.files()[nice]))
    player = str(resource_path("native/schedtuna-player"))
    workload = Workload(argv=(player, str(file), "--seed", "{seed}"), timeout_s=load.seconds + _SPARE_S)
    with start(workload, seed) as held:
        target = Target(pid=held.pid)
        knob = AutogroupNice().probe(target)
        values = {"autogroup_nice": nice} if knob.ok else {"cpu_weight": group_weight(nice)}
        with Changes(target, journal) as changes:
            changes.apply(values)
            yield held


@contextmanager
def _elsewhere(cpus: Sequence[int]) -> Iterator[None]:
    """Keep this thread, and those that it begins, off the CPUs that a load has to itself."""
    before = os.sched_getaffinity(0)
    others = before - set(cpus)
    if others:
        os.sched_setaffinity(0, others)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _window_s(raws: Sequence[RawRun], seconds: int, begin_ns: int) -> tuple[float, float]:
    """Return when all players were at work, in seconds since the trace's beginning."""
    starts = [parse_json(raw.stdout)["start_ns"] for raw in raws]
    return (max(starts) - begin_ns) / 1e9 + SETTLED_S, (min(starts) - begin_ns) / 1e9 + seconds
