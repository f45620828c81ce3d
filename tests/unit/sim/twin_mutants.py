"""Rules of the Python fair class, each wrong on purpose in one place, and a load that tells.

They are what the loads of `twin_loads` are worth: a rule that could be wrong without any of them telling
would not be tested.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """`right`, which stands once in a module of schedtuna.sim, is `wrong`; load `caught` tells."""

    module: str
    right: str
    wrong: str
    caught: int

    def scheduler(self) -> Any:
        """Return the wrong scheduler."""
        sources = {name: _source(name) for name in ("eevdf", "fair")}
        assert sources[self.module].count(self.right) == 1, f"not once in {self.module}: {self.right}"
        sources[self.module] = sources[self.module].replace(self.right, self.wrong)
        before = sys.modules["schedtuna.sim.eevdf"]
        try:
            sys.modules["schedtuna.sim.eevdf"] = _module("eevdf", sources["eevdf"])
            return _module("fair", sources["fair"]).Fair()
        finally:
            sys.modules["schedtuna.sim.eevdf"] = before


def _source(name: str) -> str:
    spec = importlib.util.find_spec(f"schedtuna.sim.{name}")
    assert spec is not None and spec.loader is not None
    source: str = spec.loader.get_source(spec.name)  # type: ignore[attr-defined]
    return source


def _module(name: str, source: str) -> ModuleType:
    module = ModuleType(f"schedtuna.sim.{name}")
    exec(compile(source, name, "exec"), module.__dict__)
    return module


MUTANTS = {
    "V without who runs": Mutant("eevdf", "            yield self.curr", "            yield from ()", 0),
    "V without weights": Mutant(
        "eevdf",
        "weighted += entity.vruntime * entity.load\n            load += entity.load",
        "weighted += entity.vruntime\n            load += 1",
        0,
    ),
    "V rounded up": Mutant("eevdf", "self.zero = weighted // load", "self.zero = -(-weighted // load)", 0),
    "V rounded towards zero": Mutant(
        "eevdf", "self.zero = weighted // load", "self.zero = _divide(weighted, load)", 1
    ),
    "lag 0 is not eligible": Mutant(
        "eevdf", "return entity.vruntime * load <= weighted", "return entity.vruntime * load < weighted", 2
    ),
    "who is ahead of V is picked": Mutant(
        "eevdf", "for entity in self.tree if entity.vruntime * load <= weighted", "for entity in self.tree", 0
    ),
    "who runs is not asked whether eligible": Mutant(
        "eevdf", "if running and running.vruntime * load > weighted:", "if running is None:", 0
    ),
    "no lag clamp": Mutant(
        "eevdf",
        "max(-limit, min(limit, self.avg_vruntime() - entity.vruntime))",
        "self.avg_vruntime() - entity.vruntime",
        8,
    ),
    "lag clamp without the tick": Mutant(
        "eevdf", "delta_fair(longest + self.tick_ns)", "delta_fair(longest)", 4
    ),
    "lag clamp by the own slice": Mutant(
        "eevdf",
        "longest = max((other.slice_ns for other in self.queued()), default=0)",
        "longest = entity.slice_ns",
        3,
    ),
    "no lag kept": Mutant("eevdf", "if self.nr_queued and entity.vlag:", "if self.nr_queued > 1 << 20:", 0),
    "lag not inflated": Mutant(
        "eevdf", "_divide(entity.vlag * (load + entity.load), max(load, 1))", "entity.vlag", 0
    ),
    "lag rounded down": Mutant(
        "eevdf",
        "_divide(entity.vlag * (load + entity.load), max(load, 1))",
        "entity.vlag * (load + entity.load) // max(load, 1)",
        43,
    ),
    "no half slice for new tasks": Mutant(
        "eevdf", "virtual_slice // 2 if initial else virtual_slice", "virtual_slice", 0
    ),
    "relative deadline forgotten": Mutant(
        "eevdf",
        "if entity.rel_deadline:\n            entity.deadline += entity.vruntime",
        "if entity.rel_deadline and not entity:\n            entity.deadline += entity.vruntime",
        0,
    ),
    "no DELAY_ZERO where it leaves": Mutant("fair", "entity.vlag = min(entity.vlag, 0)", "pass", 0),
    "no DELAY_ZERO where it wakes up": Mutant("eevdf", "if entity.vlag > 0:", "if entity.vlag > 1 << 60:", 0),
    "no DELAY_DEQUEUE": Mutant(
        "fair", "if why is _Leave.SLEEP and not queue.is_eligible(entity):", "if why is None:", 0
    ),
    "no RUN_TO_PARITY": Mutant(
        "eevdf", "if running and protect and running.is_protected:", "if protect is None:", 0
    ),
    "protected for the own slice": Mutant("eevdf", "if shortest < entity.slice_ns:", "if shortest < 0:", 0),
    "protection ends with the slice": Mutant("fair", "(is_over or not curr.is_protected)", "is_over", 0),
    "protection stays when a shorter slice comes": Mutant(
        "eevdf",
        "entity.vlag = min(entity.vlag, entity.vruntime + entity.delta_fair(self.min_slice()))",
        "pass",
        3,
    ),
    "equal deadlines: last come": Mutant(
        "eevdf", "import insort_right", "import insort_left as insort_right", 0
    ),
    "equal deadlines: who runs": Mutant(
        "eevdf", "running.deadline < best.deadline", "running.deadline <= best.deadline", 0
    ),
    "virtual time rounded up": Mutant(
        "eevdf", "delta_ns * self.factor >> self.shift", "-(-delta_ns * self.factor >> self.shift)", 0
    ),
    "virtual time by division": Mutant(
        "eevdf", "delta_ns * self.factor >> self.shift", "delta_ns * NICE_0_LOAD // self.weight", 2
    ),
    "inverse weights computed": Mutant("eevdf", "inverse = _INVERSE_OF.get(self.load, inverse)", "pass", 20),
    "a new weight keeps the lag": Mutant(
        "eevdf", "        entity.vlag = rescale(entity.vlag)", "        pass", 0
    ),
    "a new weight keeps the deadline": Mutant(
        "eevdf", "entity.deadline = rescale(entity.deadline)", "pass", 0
    ),
    "slices end late": Mutant(
        "eevdf", "if entity.vruntime < entity.deadline:", "if entity.vruntime <= entity.deadline:", 1
    ),
    "a group asks for no slice": Mutant(
        "fair", "entity.slice_ns, entity.custom_slice = slice_ns, True", "pass", 4
    ),
    "groups are no buddies": Mutant("fair", "_set_next_buddy(entity)\n                break", "break", 9),
    "buddies stay": Mutant(
        "fair",
        "        if level.queue.next is not level:\n            break\n        level.queue.next = None",
        "        pass",
        4,
    ),
    "groups' shares are not theirs": Mutant(
        "fair", "if self._shares[group] != entity.weight:", "if group is None:", 1
    ),
    "idle tasks don't give way": Mutant("fair", "if curr.idle and not wakes.idle:", "if curr is None:", 3),
    "batch tasks preempt": Mutant("fair", "or task.policy is not Policy.OTHER:", "or task is None:", 3),
    "shorter slices don't preempt": Mutant(
        "fair", "is_shorter = wakes.slice_ns < curr.slice_ns", "is_shorter = False", 0
    ),
    "forks preempt": Mutant("fair", "(is_fork or wakes.delayed)", "wakes.delayed", 4),
    "a yield is none": Mutant("fair", "entity.vruntime = entity.deadline\n", "pass\n", 1),
    "what wakes up brings no account up to date": Mutant(
        "fair", "        self._update_curr(machine, queue)\n        is_shorter", "        is_shorter", 0
    ),
    "a worse nice value runs on": Mutant("fair", "elif entity.weight < before:", "elif entity is None:", 2),
    "slices not clamped": Mutant(
        "fair", "max(_LEAST_SLICE_NS, min(asked, _LONGEST_SLICE_NS))", "min(asked, 3_000_000)", 0
    ),
    "the slice is not scaled by CPUs": Mutant(
        "fair", "_BASE_SLICE_NS * min(machine.nr_cpus, 8).bit_length()", "_BASE_SLICE_NS", 2
    ),
    "interrupts count as CPU time": Mutant(
        "fair", "now = machine.clock_task_ns(queue.cpu)", "now = max(machine.now_ns, curr.exec_start)", 0
    ),
    "levels that two tasks share are put back": Mutant(
        "fair",
        "shared = {id(entity) for entity in puts} & {id(entity) for entity in sets}",
        "shared = set()",
        1,
    ),
}

# Of the native class, by its own parameters: a rule that is left out, and the load that tells.
NATIVE_MUTANTS = {
    "fair:version=616": 0,
    "fair:base_slice_us=701": 3,
    "fair:run_to_parity=0": 2,
    "fair:place_lag=0": 0,
    "fair:place_deadline_initial=0": 0,
    "fair:place_rel_deadline=0": 0,
    "fair:delay_dequeue=0": 0,
    "fair:delay_zero=0": 0,
    "fair:preempt_short=0": 0,
    "fair:wakeup_preemption=0": 0,
    "fair:next_buddy=1": 0,
    "fair:pick_buddy=0": 9,
    "fair:hrtick=1": 0,
}
