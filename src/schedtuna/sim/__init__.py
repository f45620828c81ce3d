"""What would this load do on another machine, under another scheduler? The simulated machine.

    from schedtuna.sim import simulate

    trace = simulate("load.json", "fair", cpus=8, seed=1)

The machine is native code, which an installation may lack: what needs it says so when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Public name -> the module that defines it. Loaded on first use: some need the native module.
_PUBLIC = {
    "GLOBAL_DSQ": "schedtuna.sim.native",
    "DequeueReason": "schedtuna.sim.native",
    "EnqueueReason": "schedtuna.sim.native",
    "Machine": "schedtuna.sim.native",
    "RecordedLoad": "schedtuna.sim.recorded",
    "Scheduler": "schedtuna.sim.scheduler",
    "Simulation": "schedtuna.sim.simulation",
    "Stop": "schedtuna.sim.native",
    "Task": "schedtuna.sim.native",
    "check_scheduler": "schedtuna.sim.conformance",
    "simulate": "schedtuna.sim.traced",
}

if TYPE_CHECKING:
    from schedtuna.sim.conformance import check_scheduler as check_scheduler
    from schedtuna.sim.native import GLOBAL_DSQ as GLOBAL_DSQ
    from schedtuna.sim.native import DequeueReason as DequeueReason
    from schedtuna.sim.native import EnqueueReason as EnqueueReason
    from schedtuna.sim.native import Machine as Machine
    from schedtuna.sim.native import Stop as Stop
    from schedtuna.sim.native import Task as Task
    from schedtuna.sim.recorded import RecordedLoad as RecordedLoad
    from schedtuna.sim.scheduler import Scheduler as Scheduler
    from schedtuna.sim.simulation import Simulation as Simulation
    from schedtuna.sim.traced import simulate as simulate

__all__ = sorted(_PUBLIC)  # noqa: PLE0605 - the table holds strings


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'schedtuna.sim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
