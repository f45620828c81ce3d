"""Two small places, each one file and one row: a simulator, and a machine somewhere else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np

from schedtuna.backend.base import Backend, Trial, Validity
from schedtuna.backend.places.base import Place
from schedtuna.backend.places.field import AnyPlace
from schedtuna.backend.places.host import Host
from schedtuna.backend.places.registry import PlaceEntry
from schedtuna.errors import UnavailableError, UsageError
from schedtuna.scheduler.parse import parse_scheduler
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec, ParameterType
from schedtuna.workload.spec import RunSpec, Workload

ROWS = {
    "simulated": PlaceEntry(
        "tests.unit.backend.places.fakes:Simulated", "a simulated machine", ability="tune", options=("cpus",)
    ),
    "remote": PlaceEntry(
        "tests.unit.backend.places.fakes:Remote", "another machine", ability="tune", options=("address",)
    ),
}
SLICE = ParameterSpec(
    name="slice_us", type=ParameterType.INTEGER, default=3000, min_value=100, max_value=9000
)


class Simulated(Place):
    """A machine whose runs take no time: half as long under half the slice."""

    kind: Literal["simulated"] = "simulated"
    cpus: int = 4

    @property
    def label(self) -> str:
        return f"a simulated machine with {self.cpus} CPUs"

    def nr_cpus(self) -> int:
        return self.cpus

    def identity(self, workload: Workload) -> dict[str, str]:
        return {"program": workload.argv[0], "target": "simulated"}

    def scheduler(self, text: str) -> SchedulerConfig:
        return parse_scheduler(text, _policy)

    def tunable(
        self, text: str, include: Sequence[str] = (), *, defined: SchedulerConfig | None = None
    ) -> SchedulerConfig:
        found = defined or self.scheduler(text)
        if include or not found.parameters:
            raise UnavailableError(f"nothing of {text} can be tuned in a simulator")
        return found

    @contextmanager
    def open(
        self, spec: RunSpec, schedulers: Sequence[SchedulerConfig] = (), turned: Iterable[str] = ()
    ) -> Iterator[Backend]:
        yield SimulatedBackend(self.cpus)


def _policy(name: str) -> SchedulerConfig:
    if name != "fair":
        raise UsageError(f"unknown policy {name!r}")
    return SchedulerConfig(name="fair", parameters={"slice_us": SLICE})


class SimulatedBackend:
    name = "simulated"
    warnings: tuple[str, ...] = ()

    def __init__(self, cpus: int) -> None:
        self.identity = {"simulator": f"{cpus} CPUs"}
        self._cpus = cpus

    def run(self, workload: Workload, scheduler: SchedulerConfig, *, seed: int, nth: int = 0) -> Trial:
        noise = 1 + 0.01 * float(np.random.default_rng(seed).standard_normal())
        slice_us = float(str(scheduler.values.get("slice_us", SLICE.default)))
        told = {"scheduler": scheduler.name, "values": scheduler.values, "seed": seed}
        if workload.argv[0] == "false":
            return Trial(**told, validity=Validity.FAILED, reason="the command exited with code 1")
        return Trial(
            **told, metrics={"wall_time_s": noise * 8 * slice_us / 3000 / self._cpus}, duration_s=1.0
        )


class Remote(Place):
    """A machine at the other end of a line, over which only text travels."""

    kind: Literal["remote"] = "remote"
    address: str = "there"
    there: AnyPlace = Host()

    @property
    def label(self) -> str:
        return self.address

    def nr_cpus(self) -> int:
        return self.there.nr_cpus()

    def identity(self, workload: Workload) -> dict[str, str]:
        return {**self.there.identity(workload), "target": f"{self.address}: {self.there.label}"}

    def scheduler(self, text: str) -> SchedulerConfig:
        return self.there.scheduler(text)

    def tunable(
        self, text: str, include: Sequence[str] = (), *, defined: SchedulerConfig | None = None
    ) -> SchedulerConfig:
        return self.there.tunable(text, include, defined=defined)

    @contextmanager
    def open(
        self, spec: RunSpec, schedulers: Sequence[SchedulerConfig] = (), turned: Iterable[str] = ()
    ) -> Iterator[Backend]:
        with self.there.open(
            RunSpec.model_validate_json(spec.model_dump_json()), schedulers, turned
        ) as there:
            yield RemoteBackend(self.address, there)


class RemoteBackend:
    name = "remote"

    def __init__(self, address: str, there: Backend) -> None:
        self.identity: Mapping[str, str] = {"remote": address}
        self.warnings = tuple(f"{address}: {text}" for text in there.warnings)
        self._there = there

    def run(self, workload: Workload, scheduler: SchedulerConfig, *, seed: int, nth: int = 0) -> Trial:
        order = json.dumps([workload.model_dump_json(), scheduler.model_dump_json(), seed])
        return Trial.model_validate_json(self._carried_out(order))

    def _carried_out(self, order: str) -> str:
        workload, scheduler, seed = json.loads(order)
        return self._there.run(
            Workload.model_validate_json(workload),
            SchedulerConfig.model_validate_json(scheduler),
            seed=seed,
        ).model_dump_json()
