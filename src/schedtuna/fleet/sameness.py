"""Would a worker make the same runs as this process? What their numbers depend on, and how that differs."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from schedtuna import __version__
from schedtuna.backend.base import Backend
from schedtuna.backend.places.base import Place
from schedtuna.backend.simulated import SimulatedBackend
from schedtuna.workload.spec import RunSpec

PACKAGES = ("numpy", "polars")  # what figures are computed with
_PROBE, _PROBE_CPUS, _PROBE_S = "interactive", 2, 1.0


@dataclass(frozen=True)
class Facts:
    """What the numbers of runs depend on, somewhere.

    Attributes:
        versions: Of what makes and measures them, by name.
        identity: What the place says that they depend on, by name.
        probe: Digest of one small simulation's figures; empty where nothing is simulated.
    """

    versions: dict[str, str]
    identity: dict[str, str]
    probe: str = ""


def facts_here(place: Place, spec: RunSpec, backend: Backend) -> Facts:
    """Return the facts of this process.

    Raises:
        UsageError: The workload is not here, or can't run at the place.
    """
    identity = {**place.identity(spec.workload), **backend.identity}
    probe = _probe() if isinstance(backend, SimulatedBackend) else ""
    return Facts(_versions(PACKAGES if probe else ()), identity, probe)


def differences(here: Facts, there: Facts) -> list[str]:
    """Return in what two processes differ, a sentence's part each; none: their runs are the same."""
    told = [
        f"{name} is {theirs or 'absent'} there, and {ours or 'absent'} here"
        for ours_of, theirs_of in ((here.versions, there.versions), (here.identity, there.identity))
        for name in dict.fromkeys([*ours_of, *theirs_of])
        if (ours := ours_of.get(name)) != (theirs := theirs_of.get(name))
    ]
    if not told and here.probe != there.probe:
        told.append("a simulation that is the same everywhere came out otherwise")
    return told


def _versions(packages: Iterable[str]) -> dict[str, str]:
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Schedtuna": __version__, "Python": python} | {name: _version(name) for name in packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _probe() -> str:
    from schedtuna.sim.traced import simulate
    from schedtuna.trace.analysis import Analysis

    trace = simulate(_PROBE, "fair", cpus=_PROBE_CPUS, seed=1, duration_s=_PROBE_S)
    figures: dict[str, Any] = dict(Analysis(trace).overall(kthreads=False))
    return hashlib.sha256(json.dumps(figures, sort_keys=True, default=str).encode()).hexdigest()
