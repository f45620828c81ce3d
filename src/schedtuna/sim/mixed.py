"""What would a workload of the suite do on a simulated machine? The seeded ones that are ours, as loads.

The program that runs for real draws what is random itself (`workload/programs/mix.py`), and the same code
draws it here: arrivals are the same to the nanosecond, work to the loop. How long that takes, no code says.
"""

from __future__ import annotations

import argparse
from hashlib import sha256
from typing import Any

import numpy as np

from schedtuna.errors import UsageError
from schedtuna.sim.flat import FOREVER, NONE, STEP_DTYPE, TASK_DTYPE, FlatLoad
from schedtuna.sim.native import FROM_BEGINNING, NEVER, Op
from schedtuna.workload.programs import mix
from schedtuna.workload.suite import own_names, suite_workload

UNIT_US = 20.0  # what a unit of work takes unless `NAME:unit_us=...` says otherwise; of no machine
_PROGRAM = "mix.py"
_SHARES = 1024

Step = tuple[int, int, int, int]  # amount, object, op, flags
_Row = tuple[str, int, list[Step]]  # name, group, steps


def is_mixed(source: object) -> bool:
    """Whether a load's name is one of these, with or without settings."""
    return isinstance(source, str) and source.partition(":")[0] in own_names()


def mixed_load(source: str, nr_cpus: int, seed: int) -> tuple[FlatLoad, dict[str, Any]]:
    """Return a workload of the suite as a load, and what a manifest says of it, whatever the seed.

    Args:
        source: Its name, or NAME:unit_us=N, how long a unit of its work takes.
        nr_cpus: The CPUs that it is sized for.
        seed: What arrivals and work are drawn from, as the program itself draws them.

    Raises:
        UsageError: A setting is none.
    """
    name, _, settings = source.partition(":")
    unit_ns = _unit_ns(source, settings)
    argv = suite_workload(name, nr_cpus).workload.argv
    words = list(argv[next(i for i, word in enumerate(argv) if word.endswith(_PROGRAM)) + 1 :])
    options = mix.parse_options([word.replace("{seed}", str(seed)) for word in words])
    facts = {"name": source, "is_of_suite": True, "command": [_PROGRAM, *words], "unit_ns": unit_ns}
    facts["sha256"] = sha256(repr(sorted(facts.items())).encode()).hexdigest()
    return load_of_mix(options, unit_ns), facts


def load_of_mix(options: argparse.Namespace, unit_ns: int) -> FlatLoad:
    """Return what mix.py does with these options, where a unit of work takes so long.

    The interpreter's start, and its main process, which waits, are left out.
    """
    rows: list[_Row] = []
    helpers: list[_Row] = []
    groups: list[tuple[str, int, int]] = []
    requests = mix.draw_all(options)
    nr_both = min(options.tasks, options.hogs) if options.swap or options.users else 0
    for number, mine in enumerate(requests[:nr_both] if options.swap else []):
        rows += _in_turn(mine, options, unit_ns, number)
    if options.apart:
        groups.append(("/session", 0, _SHARES))
    shared = len(groups)
    for number, mine in enumerate(requests):
        if options.swap and number < nr_both:
            continue
        group = shared
        if options.users and number < nr_both:
            groups.append((f"/user-{number + 1}", 0, _SHARES))
            group = len(groups)
        steps, helping = _serving(mine, options, unit_ns, number * _nr_helpers(options))
        rows.append(("interactive", group, steps))
        helpers += [("helper", group, one) for one in helping]
    rows += helpers
    for number in range(nr_both if options.swap else 0, options.hogs):
        if options.apart:
            groups.append((f"/session-{number + 1}", 0, _SHARES))
        group = number + 1 if options.users and number < nr_both else len(groups) if options.apart else 0
        rows.append(("hog", group, [(FOREVER, NONE, Op.RUN.value, 0)]))
    rows += [("job", shared, _jobs(jobs, unit_ns)) for jobs in mix.draw_jobs(options)]
    return FlatLoad(
        [name for name, _, _ in rows],
        _rows(rows),
        np.array([(*step, 0) for _, _, steps in rows for step in steps], STEP_DTYPE),
        mix.START_NS + int(options.seconds * 1e9),
        groups=groups,
        nr_mailboxes=2 * options.tasks * _nr_helpers(options),
    )


def _nr_helpers(options: argparse.Namespace) -> int:
    return len(mix.shares_of(0, options)[1])


def _serving(
    requests: list[tuple[int, int]], options: argparse.Namespace, unit_ns: int, first_helper: int
) -> tuple[list[Step], list[list[Step]]]:
    """The steps of a task that answers, and of each of its helpers."""
    mine: list[Step] = []
    helping: list[list[Step]] = [[] for _ in range(_nr_helpers(options))]
    for arrival_ns, nr_loops in requests:
        own, shares = mix.shares_of(nr_loops, options)
        mine.append((mix.START_NS + arrival_ns, NONE, Op.SLEEP_UNTIL.value, FROM_BEGINNING))
        mine += [_work(own, unit_ns)] if own else []
        answers: list[Step] = []
        for number, (share, steps) in enumerate(zip(shares, helping, strict=True), first_helper):
            ask, answer = 2 * number, 2 * number + 1
            mine.append((0, ask, Op.WRITE.value, 0))
            (answers if options.together else mine).append((0, answer, Op.READ.value, 0))
            steps += [(0, ask, Op.READ.value, 0), _work(share, unit_ns), (0, answer, Op.WRITE.value, 0)]
        mine += answers
    return mine, helping


def _in_turn(
    requests: list[tuple[int, int]], options: argparse.Namespace, unit_ns: int, number: int
) -> list[_Row]:
    """Two tasks that change their parts halfway, as `mix.in_turn`."""
    half_ns = int(options.seconds * 1e9) // 2
    first, _ = _serving([one for one in requests if one[0] < half_ns], options, unit_ns, number)
    second, _ = _serving([one for one in requests if one[0] >= half_ns], options, unit_ns, number)
    until_half = (mix.START_NS + half_ns, NONE, Op.SPIN.value, 0)
    return [
        ("interactive", 0, [*first, (FOREVER, NONE, Op.RUN.value, 0)]),
        ("hog", 0, [until_half, *second]),
    ]


def _jobs(jobs: list[int], unit_ns: int) -> list[Step]:
    pause = (int(mix.JOB_PAUSE_S * 1e9), NONE, Op.SLEEP.value, 0)
    return [step for nr_loops in jobs for step in (_work(nr_loops, unit_ns), pause)]


def _rows(everybody: list[_Row]) -> np.ndarray[Any, Any]:
    rows = np.zeros(len(everybody), TASK_DTYPE)
    rows["cpu_set"] = rows["first_cpu"] = NONE
    rows["group"] = [group for _, group, _ in everybody]
    rows["nr_steps"] = [len(steps) for _, _, steps in everybody]
    return rows


def _work(nr_loops: int, unit_ns: int) -> Step:
    return nr_loops * unit_ns // mix.LOOPS_PER_UNIT, NONE, Op.RUN.value, 0


def _unit_ns(source: str, settings: str) -> int:
    unit_us = UNIT_US
    if settings:
        key, _, number = settings.partition("=")
        try:
            unit_us = {"unit_us": float}[key](number)
        except (KeyError, ValueError) as error:
            name = source.partition(":")[0]
            raise UsageError(f"{source!r}: {settings!r} sets nothing", hint=f"{name}:unit_us=20") from error
    if not 0.1 <= unit_us <= 10_000:  # also of nan
        raise UsageError(f"{source!r}: a unit of work takes 0.1 to 10,000 us")
    return min(round(unit_us * 1000), NEVER)
