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

    Raises:
        UsageError: Tasks change their parts halfway.
    """
    if options.swap:
        raise UsageError("--swap of mix.py is not in the model", hint="simulate both halves")
    tasks: list[tuple[str, int, list[Step]]] = []  # name, group, steps
    helpers: list[tuple[str, int, list[Step]]] = []
    session = 1 if options.apart else 0
    for number, requests in enumerate(mix.draw_all(options)):
        ask, answer = 2 * number, 2 * number + 1
        mine: list[Step] = []
        helping: list[Step] = []
        for arrival_ns, nr_loops in requests:
            own = nr_loops // 2 if options.helper else nr_loops
            mine.append((mix.START_NS + arrival_ns, NONE, Op.SLEEP_UNTIL.value, FROM_BEGINNING))
            mine.append(_work(own, unit_ns))
            if options.helper:
                mine += [(0, ask, Op.WRITE.value, 0), (0, answer, Op.READ.value, 0)]
                helping += [
                    (0, ask, Op.READ.value, 0),
                    _work(nr_loops - own, unit_ns),
                    (0, answer, Op.WRITE.value, 0),
                ]
        tasks.append(("interactive", session, mine))
        if options.helper:
            helpers.append(("helper", session, helping))
    groups = [("/session", 0, _SHARES)] if options.apart else []
    hogs: list[tuple[str, int, list[Step]]] = []
    for number in range(options.hogs):
        if options.apart:
            groups.append((f"/session-{number + 1}", 0, _SHARES))
        hogs.append(("hog", len(groups) if options.apart else 0, [(FOREVER, NONE, Op.RUN.value, 0)]))
    everybody = [*tasks, *helpers, *hogs]
    return FlatLoad(
        [name for name, _, _ in everybody],
        _rows(everybody),
        np.array([(*step, 0) for _, _, steps in everybody for step in steps], STEP_DTYPE),
        mix.START_NS + int(options.seconds * 1e9),
        groups=groups,
        nr_mailboxes=2 * options.tasks if options.helper else 0,
    )


def _rows(everybody: list[tuple[str, int, list[Step]]]) -> np.ndarray[Any, Any]:
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
