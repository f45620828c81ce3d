"""Files of rt-app's that are right, each with what it must become, written in many ways."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

OPS = [
    *("Run", "Spin", "Sleep", "SleepUntil", "Io", "Yield"),
    *("Lock", "Unlock", "Wait", "Signal", "Broadcast", "Barrier", "Suspend", "Resume", "Read", "Write"),
    *("Fork", "Exec", "Exit", "SetNice", "SetPolicy", "SetSlice", "SetAffinity", "Loop"),
]
KINDS = ["Mutex", "Condition", "Barrier", "Suspended", "Pipe"]
US = 1000
RELATIVE = 1
FIXED = 0

Step = tuple[str, Any, Any]  # operation, amount in ns or None, name of what it works on

times = st.integers(1, 2**31 - 1)
names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=8)
suffixes = st.sampled_from(["", "0", "17", "_a", "-late", ".x"])
blanks = st.sampled_from(["", " ", "\n", "\t", "/* , } */", "// ] ,\n", " /**/ "])


@st.composite
def plain_events(draw) -> tuple[str, Any, list[Step]]:
    """An event of rt-app's without preconditions: its name, its value, its steps."""
    name = draw(st.sampled_from(["run", "runtime", "sleep", "timer", "yield", "signal", "broad", "resume"]))
    if name == "yield":
        return name, "", [("Yield", None, None)]
    if name in ("signal", "broad", "resume"):
        target = draw(names)
        op = {"signal": "Signal", "broad": "Broadcast", "resume": "Resume"}[name]
        kind = "suspended " if name == "resume" else "condition "
        return name, kind + target, [(op, None, kind + target)]
    time = draw(times)
    if name == "timer":
        return (
            name,
            {"ref": "unique" + draw(st.sampled_from("ab")), "period": time},
            [("SleepUntil", time * US, None)],
        )
    return name, time, [({"run": "Run", "runtime": "Spin", "sleep": "Sleep"}[name], time * US, None)]


@st.composite
def locked_events(draw) -> tuple[list[tuple[str, Any]], list[Step]]:
    """What is done with a mutex held."""
    mutex, (name, value, steps) = draw(names), draw(plain_events())
    return [("lock", mutex), (name, value), ("unlock", mutex)], [
        ("Lock", None, mutex),
        *steps,
        ("Unlock", None, mutex),
    ]


@st.composite
def phases(draw) -> tuple[list[tuple[str, Any]], list[Step], int]:
    """The events of a phase in their order, their steps, and how often they are repeated."""
    events: list[tuple[str, Any]] = [("run", time := draw(times))]
    steps: list[Step] = [("Run", time * US, None)]
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            more, its_steps = draw(locked_events())
        else:
            name, value, its_steps = draw(plain_events())
            more = [(name, value)]
        events += more
        steps += its_steps
    return events, steps, draw(st.integers(1, 1000))


def keyed(events: list[tuple[str, Any]], draw) -> list[tuple[str, Any]]:
    """Give every event a key of its own."""
    used: set[str] = set()
    keys = []
    for name, value in events:
        key = name + draw(suffixes)
        while key in used:
            key = f"{name}{len(used)}_{len(key)}"
        used.add(key)
        keys.append((key, value))
    return keys


class Members(list[tuple[str, Any]]):
    """An object whose members keep their order."""


def written(value: Any, draw) -> str:
    """Write a value as JSON with whatever rt-app's reader passes over."""
    if isinstance(value, dict):
        value = Members(value.items())
    if isinstance(value, Members):
        inner = [
            f"{draw(blanks)}{json.dumps(k, ensure_ascii=draw(st.booleans()))}:{written(v, draw)}"
            for k, v in value
        ]
    elif isinstance(value, list):
        inner = [written(v, draw) for v in value]
    else:
        return f"{draw(blanks)}{json.dumps(value)}{draw(blanks)}"
    last = "," if inner and draw(st.booleans()) else ""
    opening, closing = "{}" if isinstance(value, Members) else "[]"
    return f"{draw(blanks)}{opening}{','.join(inner)}{draw(blanks)}{last}{draw(blanks)}{closing}"


@st.composite
def documents(draw) -> tuple[str, dict[str, list[Step]], dict[str, int], int]:
    """A file; its tasks' steps; their numbers of instances; its duration in seconds, or -1."""
    tasks, expected, instances = Members(), {}, {}
    for name in draw(st.lists(names, min_size=1, max_size=3, unique=True)):
        fields = Members()
        steps: list[Step] = []
        for phase in draw(st.lists(names, min_size=1, max_size=3, unique=True)):
            events, its_steps, count = draw(phases())
            members = Members(keyed(events, draw))
            members.insert(draw(st.integers(0, len(members))), ("loop", count))
            fields.append((phase, members))
            first = len(steps)
            steps += [*its_steps, ("Loop", count, first)]
        count = draw(st.one_of(st.just(-1), st.integers(1, 9)))
        instances[name] = draw(st.integers(1, 3))
        expected[name] = [*steps, ("Loop", count, 0), ("Exit", None, None)]
        task = [("phases", fields), ("loop", count), ("instance", instances[name]), ("priority", 3)]
        tasks.append((name, Members(draw(st.permutations(task)))))
    duration = draw(st.sampled_from([-1, 1, 60]))
    sections = [("tasks", tasks), ("global", Members([("duration", duration), ("calibration", "CPU0")]))]
    return written(Members(draw(st.permutations(sections))), draw), expected, instances, duration
