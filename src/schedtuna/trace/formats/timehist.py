"""What did `perf sched timehist` print: when each task left a CPU, and how long it had run and waited before?

A row becomes the switches and the wakeup that it tells of. Times are in microseconds, cut, so that what is
up to 2 us apart was at once. Nothing in the text says whose rows are there: who has none did not run.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from io import BufferedIOBase

import numpy as np

from schedtuna.errors import TraceError
from schedtuna.trace.formats.names import Names
from schedtuna.trace.formats.sampled import lines, shown
from schedtuna.trace.formats.sched_line import state_of
from schedtuna.trace.formats.sink import Sink
from schedtuna.trace.intervals import TID_LIMIT
from schedtuna.trace.reading import APART
from schedtuna.trace.schema import EVENT_DTYPE, EventType, PrevState

_US = 1000
_AT_ONCE_NS = 2 * _US
_NICE_0 = 120
_MAX_CPU = 0xFFFF
_FORGOTTEN = TID_LIMIT - 1 - _MAX_CPU  # from here on, one per CPU: threads that perf knew no more
_LABELS = re.compile(r"prio|wait time|sch delay|pre-mig time|run time|state")
_NEEDED = ("wait time", "sch delay", "run time")
_MILLISECONDS = re.compile(r"[0-9]{1,12}\.[0-9]{3}")
_ROW = re.compile(r"\s*([0-9]{1,10})\.([0-9]{1,9}) \[([0-9]{1,5})\]  ?(.*)")
_TASK = re.compile(
    r"(?P<comm>.+?)\[(?P<tid>-1|[0-9]{1,8})(?:/(?:-1|[0-9]{1,8}))?\]\s+"
    r"(?P<rest>(?:[0-9]+\.[0-9]{3}\s|-?[0-9]+\s|awakened: |migrated: ).*)"
)
_NEXT = re.compile(r"next: .{0,20}\[([0-9]{1,8})(?:/[0-9]{1,8})?\]")
# Up to perf 6.8 these are letters of old kernels for the bits of new ones (TASK_STATE_TO_CHAR_STR of
# tools/perf/builtin-sched.c): 128, idle, is K, and 256, preempted, is W.
_STATES = {"K": PrevState.IDLE, "W": PrevState.PREEMPTED, "x": PrevState.IDLE}
_HINT = "perf sched timehist --state -n -i FILE > TEXT; or import FILE itself, which says more"
_NOTE = (
    "from perf sched timehist: times are cut to microseconds, first waits of new tasks are among the wakeup"
    " latencies, and a CPU counts as idle while no row says that a task ran. If rows are of some tasks only"
    " (perf record without -a, timehist --pid, --comm or --time), import the perf.data instead"
)
_INFERRED = (
    "the text has no states: who was woken before it ran again is taken to have slept, anyone else to have"
    " been preempted; print them with timehist --state"
)


@dataclass
class _Run:
    """A row: a task ran on a CPU, and left it.

    Attributes:
        next_tid: Who came; None: the text does not say.
        state: In which state it left; None: the text does not say.
        has_begin: Whether the row says when it came.
    """

    begin_ns: int
    end_ns: int
    cpu: int
    tid: int
    delay_ns: int
    state: PrevState | None
    next_tid: int | None
    has_begin: bool = True


def parse_timehist(stream: BufferedIOBase, sink: Sink) -> None:
    """Read the rows of `perf sched timehist`, with any of its options but `-I`, as events.

    Raises:
        TraceError: It is something else.
    """
    names = Names()
    runs = _read(stream, names)
    if not runs:
        raise TraceError("no rows of perf sched timehist", hint=_HINT)
    has_states = any(run.state is not None and run.tid < _FORGOTTEN for run in runs)
    _infer_states(runs)
    events = np.array(_events(runs), EVENT_DTYPE)
    sink.write_events(events[np.argsort(events["timestamp_ns"], kind="stable")])
    sink.write_tasks(names.rows())
    notes = [_NOTE, *([] if has_states else [_INFERRED])]
    nr_gone = sum(run.tid >= _FORGOTTEN for run in runs)
    if nr_gone:
        notes.append(
            f"{nr_gone:,} rows are of threads that perf had forgotten: here they are one, called :-1"
        )
    sink.update_manifest({"clock": "local", "cpus_begin": APART, "sample_notes": notes})


def _read(stream: BufferedIOBase, names: Names) -> list[_Run]:
    runs: list[_Run] = []
    labels: list[str] = []
    width, known_cpus = 0, set[int]()  # of the column that draws the CPUs (-V)
    for number, line in lines(stream):
        if not line.strip():
            continue
        if "task name" in line and "cpu" in line:
            labels = _LABELS.findall(line)
            drawn = re.search(r"cpu  ([0-9a-f]+)  task name", line)
            width = len(drawn[1]) if drawn else 0
            continue
        row = _ROW.fullmatch(line)
        if row is None:
            continue  # headers, callchains, and the summary of -S
        if not {*_NEEDED} <= {*labels}:
            raise TraceError(f"line {number}: expected the header of timehist, got {shown(line)}", hint=_HINT)
        rest = row[4][width:] if width else row[4]
        task = _TASK.fullmatch(rest.strip())
        if task is None or task["rest"].startswith(("awakened:", "migrated:")):
            if task is None and not rest.strip().startswith("<idle>"):
                raise TraceError(f"line {number}: expected a task, got {shown(rest.strip())}", hint=_HINT)
            continue
        end_ns = int(row[1]) * 10**9 + int(row[2].ljust(9, "0"))
        run = _run(task, labels, end_ns, int(row[3]), number)
        run.has_begin = run.cpu in known_cpus or run.begin_ns < run.end_ns
        known_cpus.add(run.cpu)
        runs.append(run)
        names.note(run.tid, end_ns, task["comm"].strip().encode())
    return runs


def _run(task: re.Match[str], labels: list[str], end_ns: int, cpu: int, line: int) -> _Run:
    words = task["rest"].split()
    values = dict(zip(labels, words, strict=False))
    if not all(_MILLISECONDS.fullmatch(values.get(name, "")) for name in _NEEDED):
        raise TraceError(f"line {line}: expected times in ms, got {shown(task['rest'])}", hint=_HINT)
    ran_ns, delay_ns = (_ns(values[name]) for name in ("run time", "sch delay"))
    state = _STATES.get(values.get("state", ""))
    if state is None:
        state = state_of(values.get("state", "").encode())
    following = _NEXT.search(task["rest"])
    next_tid = int(following[1]) if following else None
    tid = int(task["tid"])
    if tid < 0:  # of a thread that had ended and was forgotten: one that nobody else can be
        tid, state = _FORGOTTEN + cpu, PrevState.DEAD
    if max(tid, next_tid or 0) >= TID_LIMIT or cpu > _MAX_CPU or delay_ns + ran_ns > end_ns:
        raise TraceError(f"line {line}: there can be no such task, CPU or time", hint=_HINT)
    return _Run(end_ns - ran_ns, end_ns, cpu, tid, delay_ns, state, next_tid)


def _ns(milliseconds: str) -> int:
    whole, _, rest = milliseconds.partition(".")
    return (int(whole) * 1000 + int(rest)) * _US


def _infer_states(runs: list[_Run]) -> None:
    """Give each run a state: where the text has none, from how the task came back."""
    following: dict[int, _Run] = {}
    for run in reversed(runs):
        later = following.get(run.tid)
        if run.state is None:
            slept = later is None or later.delay_ns > 0
            run.state = PrevState.SLEEPING if slept else PrevState.PREEMPTED
        following[run.tid] = run


def _events(runs: list[_Run]) -> list[tuple[int, ...]]:
    """Return the events in the order of `EVENT_DTYPE`."""
    of_cpu: dict[int, list[_Run]] = {}
    for run in runs:
        of_cpu.setdefault(run.cpu, []).append(run)
    switches = [event for cpu in of_cpu for event in _switches(of_cpu[cpu])]
    before: dict[int, PrevState | None] = {}
    wakers = _Wakers(of_cpu)
    wakeups: list[tuple[int, ...]] = []  # come first of what is at once
    has_wakeups = any(run.delay_ns for run in runs)
    for run in runs:
        state = before.get(run.tid)
        # Who was runnable may have been woken all the same: that begins no wait. Who slept has waited,
        # perhaps for less than what perf prints.
        is_woken = run.delay_ns or (state is not None and has_wakeups)
        if is_woken and state not in {PrevState.PREEMPTED, PrevState.RUNNABLE}:
            wakeups += wakers.wakeup(run)
        before[run.tid] = run.state
    return wakeups + switches


class _Wakers:
    """Knows on which CPU a wakeup can have been: one that had begun to be recorded; and who ran there."""

    def __init__(self, of_cpu: dict[int, list[_Run]]) -> None:
        self._of_cpu = of_cpu
        self._begins = {cpu: [run.begin_ns for run in runs] for cpu, runs in of_cpu.items()}

    def wakeup(self, run: _Run) -> list[tuple[int, ...]]:
        """Return the wakeup that began a run's delay; none if that was before all that is recorded."""
        time_ns = run.begin_ns - run.delay_ns
        for cpu in (run.cpu, *self._of_cpu):
            index = bisect_left(self._begins[cpu], time_ns) - 1
            if index >= 0:  # strictly: who comes at that moment was not there yet
                near = self._of_cpu[cpu][index]
                current = near.tid if time_ns < near.end_ns else 0
                return [_event(EventType.WAKEUP, time_ns, cpu, run.tid, current)]
        return []


def _switches(runs: list[_Run]) -> list[tuple[int, ...]]:
    """Return the switches of a CPU, whose runs are moved together where they are apart by rounding alone."""
    events: list[tuple[int, ...]] = []
    before: _Run | None = None
    for run in runs:
        if before is not None and run.begin_ns - before.end_ns <= _AT_ONCE_NS:
            run.begin_ns = before.end_ns
            events.append(_leave(before, run.tid if before.next_tid is None else before.next_tid))
        else:
            if before is not None:
                events.append(_leave(before, before.next_tid or 0))
            if run.has_begin:
                came = _event(EventType.SWITCH, run.begin_ns, run.cpu, 0, run.tid, state=PrevState.RUNNABLE)
                events.append(came)
        before = run
    return [*events, _leave(runs[-1], runs[-1].next_tid or 0)]


def _leave(run: _Run, next_tid: int) -> tuple[int, ...]:
    return _event(
        EventType.SWITCH, run.end_ns, run.cpu, run.tid, next_tid, state=run.state or PrevState.PREEMPTED
    )


def _event(
    kind: EventType,
    time_ns: int,
    cpu: int,
    tid: int,
    other_tid: int,
    *,
    state: PrevState = PrevState.PREEMPTED,
) -> tuple[int, ...]:
    return (time_ns, tid, other_tid, 0, cpu, cpu, cpu, int(kind), int(state), _NICE_0, _NICE_0)
