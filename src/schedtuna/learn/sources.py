"""Of what is a run of a dataset: a trace, its hash, the family of its workload, its machine?"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Literal

from schedtuna.trace.parts import own_files
from schedtuna.trace.store import open_trace
from schedtuna.trace.tasks import clean_name
from schedtuna.trace.trace import Trace, imported_format
from schedtuna.workload.families import FAMILIES

SIMULATED = "simulated"
_LONGEST_NAME = 200
_LOCK = "writer.lock"
# Constants of simulated machines that came after the first datasets, whose runs keep their hashes.
_LATER_COSTS = frozenset(
    {
        "nodes",
        "remote_distance",
        "remote_access_permille",
        "migration_node_ns",
        "slow_cpus",
        "slow_capacity",
        "pressure_per_s",
        "pressure_ns",
        "pressure_permille",
    }
)


@dataclass(frozen=True)
class RunSource:
    """A run that rows may be made of.

    Attributes:
        name: For people.
        trace: What happened.
        sha256: Of the trace's files; of one in memory, of what it simulates.
        kind: Where it is from.
        family: Of its workload.
        host: A hash of the machine's name; `simulated`, or `unknown`.
        seed: Of a simulation.
    """

    name: str
    trace: Trace
    sha256: str
    kind: Literal["recorded", "imported", "simulated"]
    family: str
    host: str
    seed: int | None

    @classmethod
    def of_folder(cls, folder: Path) -> RunSource:
        """Open a trace's folder.

        Raises:
            TraceError: It is none, or damaged.
        """
        return cls.of(open_trace(folder), folder.name or str(folder), _hash_of_files(folder))

    @classmethod
    def of(cls, trace: Trace, name: str, digest: str | None = None) -> RunSource:
        """Take a trace.

        Args:
            trace: The trace.
            name: For people.
            digest: Of its files; None: of what it simulates.
        """
        simulation = trace.manifest.get("simulation")
        facts: dict[str, Any] = simulation if isinstance(simulation, dict) else {}
        if digest is None:
            told = _as_first_told(facts) if facts else trace.manifest
            digest = sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
        kind: Literal["recorded", "imported", "simulated"] = "recorded"
        if facts:
            kind = "simulated"
        elif imported_format(trace.manifest) is not None:
            kind = "imported"
        seed = facts.get("seed")
        return cls(
            name=clean_name(name[:_LONGEST_NAME]),
            trace=trace,
            sha256=digest,
            kind=kind,
            family=clean_name(_family(trace, facts, name)[:_LONGEST_NAME]),
            host=SIMULATED if facts else _host(trace),
            seed=seed if isinstance(seed, int) else None,
        )


def _as_first_told(facts: dict[str, Any]) -> dict[str, Any]:
    """Leave out constants that came later and have their default: they change nothing."""
    from schedtuna.sim.native import cost_table

    usual = {name: value for name, value, *_ in cost_table() if name in _LATER_COSTS}
    costs = facts.get("costs")
    if not isinstance(costs, dict):
        return facts
    return facts | {"costs": {name: value for name, value in costs.items() if usual.get(name) != value}}


def _hash_of_files(folder: Path) -> str:
    """Hash what a trace's folder holds, file by file in order of their names."""
    total = sha256()
    for path in sorted(own_files(folder), key=lambda path: path.name):
        if path.name != _LOCK and path.is_file():
            with path.open("rb") as file:
                total.update(f"{path.name} {file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _family(trace: Trace, simulation: dict[str, Any], name: str) -> str:
    label = trace.manifest.get("label")
    if label:
        return str(label)
    workload = simulation.get("workload")
    if isinstance(workload, dict):
        told = str(workload.get("name", name)).partition(":")[0]
        return told if told in FAMILIES else Path(told).stem
    command = trace.manifest.get("command")
    if isinstance(command, list) and command:
        return Path(str(command[0])).name
    return re.sub(r"[-_]?\d[\d_-]*$", "", name) or name


def _host(trace: Trace) -> str:
    origin = trace.manifest.get("origin")
    machine = origin.get("machine") if isinstance(origin, dict) else None
    told = machine.get("hostname_hash") if isinstance(machine, dict) else None
    return clean_name(str(told)[:16]) if told else "unknown"
