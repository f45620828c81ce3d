"""How much has a server done? Counters, and what they look like to Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

# Name -> what it counts, and the label that tells its kinds apart.
COUNTERS = {
    "requests": ("Requests answered.", "verb"),
    "refused": ("Requests refused.", "status"),
    "trials": ("Trials by what became of them.", "state"),
}
GAUGES = {
    "trials_waiting": "Trials that wait.",
    "trials_running": "Trials that run.",
    "stored_bytes": "What all results take.",
}


@dataclass
class RequestCounts:
    """Numbers that only grow, by name and kind."""

    _values: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, name: str, kind: str) -> None:
        """Count one more."""
        assert name in COUNTERS
        self._values[name, kind] += 1

    def text(self, gauges: Mapping[str, float]) -> str:
        """Return all of them, and what is so at the moment, in Prometheus's text format (version 0.0.4)."""
        lines = []
        for name, (text, label) in COUNTERS.items():
            full = f"schedtuna_server_{name}_total"
            lines += [f"# HELP {full} {text}", f"# TYPE {full} counter"]
            of = sorted((kind, value) for (counted, kind), value in self._values.items() if counted == name)
            lines += [f'{full}{{{label}="{kind}"}} {value}' for kind, value in of]
        for name, text in GAUGES.items():
            full = f"schedtuna_server_{name}"
            lines += [f"# HELP {full} {text}", f"# TYPE {full} gauge", f"{full} {gauges[name]:g}"]
        return "\n".join(lines) + "\n"
