"""Plays and simulates all loads, and judges them: a folder that an interrupted campaign goes on in."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from schedtuna.configfile import parse_json
from schedtuna.errors import ConfigFileError, UsageError, nearest
from schedtuna.fidelity import judge, rules
from schedtuna.fidelity.calibrate import calibrated
from schedtuna.fidelity.certificate import (
    MACHINE_NAME,
    Certificate,
    controls_of,
    judge_changes,
    judge_controls,
    judge_load,
    verdict,
)
from schedtuna.fidelity.changes import BASE, CHANGES, changed_load
from schedtuna.fidelity.envelope import Envelope, envelope_here
from schedtuna.fidelity.loads import LOADS, PlayedLoad, played_load, pure_switching, short_wakeups
from schedtuna.fidelity.machine_file import SimulatedMachine, read_machine, write_machine
from schedtuna.fidelity.measure import Interruptions, RunFigures
from schedtuna.fidelity.model import Model, fair_defaults, matched_noise, simulated_runs
from schedtuna.fidelity.real import machine_shape, played_run, recorded
from schedtuna.files import make_folder, write_text
from schedtuna.files.versions import StoredFormat
from schedtuna.kernel.slices import read_back_slice, slice_scale
from schedtuna.knobs.journal import Journal
from schedtuna.sim.topology import MachineShape

STORED = StoredFormat(ConfigFileError, key="format_version")
PLAN_NAME = "plan.json"


class Plan(BaseModel):
    """What a campaign does; one that goes on has the same.

    Attributes:
        format_version: Of this format.
        is_quick: Whether it is too short to certify.
        nr_runs: Real runs of each load.
        nr_change_runs: Real runs of each change.
        seconds: Length of a run.
        loads, changes: Which.
        envelope: The machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = STORED.newest
    is_quick: bool
    nr_runs: int
    nr_change_runs: int
    seconds: int
    loads: tuple[str, ...]
    changes: tuple[str, ...]
    envelope: Envelope


@dataclass
class Sides:
    """Both sides of everything, by name of load or change.

    Attributes:
        real, model: Load -> runs.
        controlled: Load -> control -> runs.
        real_changes, model_changes: Change, or BASE -> runs.
    """

    real: dict[str, list[RunFigures]] = field(default_factory=dict)
    model: dict[str, list[RunFigures]] = field(default_factory=dict)
    controlled: dict[str, dict[str, list[RunFigures]]] = field(default_factory=dict)
    real_changes: dict[str, list[RunFigures]] = field(default_factory=dict)
    model_changes: dict[str, list[RunFigures]] = field(default_factory=dict)


Progress = Callable[[int, int, str], None]


def planned(*, quick: bool, shape: MachineShape, only: Sequence[str] = ()) -> Plan:
    """Return what a campaign on this machine does.

    Args:
        quick: Whether it is to take minutes, and can't certify.
        shape: The machine's CPUs.
        only: These loads and no changes, which can't certify either; default: all that have room on it.

    Raises:
        UsageError: There is no such load.
    """
    room = {name: load.fewest_cpus <= shape.nr_cpus for name, load in LOADS.items()}
    for name in only:
        if not room.get(name):
            raise UsageError(f"no load {name!r}: {nearest(name, room)}")
    changes = [name for name, change in CHANGES.items() if change.fewest_cpus <= shape.nr_cpus]
    return Plan(
        is_quick=quick or bool(only),
        nr_runs=4 if quick else rules.FEWEST_RUNS,
        nr_change_runs=3 if quick else 6,
        seconds=1 if quick else 3,
        loads=tuple(dict.fromkeys(only)) or tuple(name for name, has_room in room.items() if has_room),
        changes=() if only else tuple(changes),
        envelope=envelope_here(str(shape)),
    )


class FidelityCampaign:
    """A folder, a plan, and what has been done of it.

    Args:
        folder: Where runs are kept.
        plan: What is to be done.
        resume: Go on with what is there.

    Raises:
        UsageError: The folder holds another campaign, or one and `resume` is not given, or none and it is.
    """

    def __init__(self, folder: Path, plan: Plan, *, resume: bool = False) -> None:
        self.folder, self.plan = folder, plan
        self.shape = machine_shape()
        self.cpus = tuple(range(self.shape.nr_cpus))
        stored = folder / PLAN_NAME
        if stored.exists():
            if not resume:
                raise UsageError(
                    f"{folder} holds a campaign", hint=f"go on with it by --resume {folder}, or name another"
                )
            if _read_plan(stored) != plan:
                raise UsageError(
                    f"{folder} holds another campaign: its plan, kernel or machine differs",
                    hint="name another folder",
                )
        elif resume:
            raise UsageError(f"{folder} holds no campaign to go on with", hint=f"start one by -o {folder}")
        else:
            make_folder(folder / "runs")
            write_text(stored, plan.model_dump_json(indent=1) + "\n")

    def run(self, progress: Progress = lambda _done, _total, _note: None) -> tuple[Certificate, Sides]:
        """Do what is left of the plan, and judge.

        Raises:
            UnavailableError: A privilege or the kernel's support is missing.
            WorkloadError: The player failed.
        """
        machine = self._machine(progress)
        sides = self._played(progress)
        model = Model(self.shape, machine.costs, fair_parameters(self.shape.nr_cpus))
        self._simulate(sides, model, progress)
        return self._judged(sides, machine, model), sides

    def _machine(self, progress: Progress) -> SimulatedMachine:
        path = self.folder / MACHINE_NAME
        if path.exists():
            return read_machine(str(path))
        progress(0, 1, "calibration")
        machine = calibrated_here(self.plan.envelope, self.cpus, self.plan.seconds)
        write_machine(machine, path)
        return machine

    def _loads(self) -> Iterator[tuple[str, PlayedLoad, int]]:
        """Yield what is played, with its name in files and its seed: in rounds of an order drawn anew."""
        order = random.Random(rules.FIRST_SEED)
        for k in range(max(self.plan.nr_runs, self.plan.nr_change_runs)):
            seed = rules.FIRST_SEED + k
            todo = []
            if k < self.plan.nr_runs:
                todo += [(f"load-{name}", self._load(name)) for name in self.plan.loads]
            if k < self.plan.nr_change_runs and self.plan.changes:
                todo += [(f"change-{name}", self._change(name)) for name in (BASE, *self.plan.changes)]
            order.shuffle(todo)
            for name, load in todo:
                yield f"{name}-{k}", load, seed

    def _load(self, name: str) -> PlayedLoad:
        return played_load(name, rules.FIRST_SEED, self.cpus, self.plan.seconds)

    def _change(self, name: str) -> PlayedLoad:
        return changed_load(name, rules.FIRST_SEED, self.cpus, self.plan.seconds)

    def _played(self, progress: Progress) -> Sides:
        sides, journal = Sides(), Journal()
        sides.real = {name: [] for name in self.plan.loads}
        sides.real_changes = {name: [] for name in (BASE, *self.plan.changes) if self.plan.changes}
        todo = list(self._loads())
        for done, (name, load, seed) in enumerate(todo):
            path = self.folder / "runs" / f"{name}.json"
            if path.exists():
                run = RunFigures.model_validate_json(path.read_bytes())
            else:
                progress(done, len(todo), load.name)
                run = played_run(load, seed, journal)
                write_text(path, run.model_dump_json() + "\n")
            kind = sides.real if name.startswith("load-") else sides.real_changes
            kind[load.name].append(run)
        return sides

    def _simulate(self, sides: Sides, model: Model, progress: Progress) -> None:
        total = len(sides.real) + len(sides.real_changes)
        for done, (name, real) in enumerate(sides.real.items()):
            progress(done, total, f"simulating {name}")
            seeds, load = [run.seed for run in real], self._load(name)
            noise = matched_noise(load, model, _noise(real))
            sides.model[name] = simulated_runs(load, model, seeds, noise=noise)
            sides.controlled[name] = {
                control: simulated_runs(load, model, seeds, control=rules.CONTROLS[control], noise=noise)
                for control in controls_of(LOADS[name])
            }
        for done, (name, real) in enumerate(sides.real_changes.items(), start=len(sides.real)):
            progress(done, total, f"simulating {name}")
            seeds = [run.seed for run in real]
            changed = self._change(name)
            noise = matched_noise(changed, model, _noise(real))
            sides.model_changes[name] = simulated_runs(changed, model, seeds, noise=noise)

    def _judged(self, sides: Sides, machine: SimulatedMachine, model: Model) -> Certificate:
        cells = [
            cell
            for name in sides.real
            for cell in judge_load(name, sides.real[name], sides.model[name], sides.controlled[name])
        ]
        controls = judge_controls(cells, sides.real, sides.controlled)
        differences = judge_changes(sides.real_changes, sides.model_changes)
        agreement = judge.differences_agree(differences)
        fewest = min((len(runs) for runs in sides.real.values()), default=0)
        is_certified, reason = verdict(cells, controls, agreement, fewest=fewest)
        return Certificate(
            is_quick=self.plan.is_quick,
            is_certified=is_certified,
            reason=reason,
            envelope=asdict(self.plan.envelope),
            costs=machine.costs,
            fitted=[name for name, constant in machine.constants.items() if constant.is_fitted],
            parameters=fair_defaults() | dict(model.parameters),
            cells=cells,
            controls=controls,
            differences=differences,
            agreement=agreement,
            nr_runs={name: len(runs) for name, runs in sides.real.items()},
        )


def _read_plan(path: Path) -> Plan:
    try:
        return Plan.model_validate(STORED.upgrade(parse_json(path.read_bytes()), path))
    except (ValueError, ValidationError) as error:
        raise ConfigFileError(f"{path} is no plan of a campaign: {error}") from error


def _noise(real: Sequence[RunFigures]) -> Interruptions:
    """What tasks of others did on average: an input of the simulation, no part of the model."""
    per_s = sum(run.interruptions.per_s for run in real) / len(real)
    share = sum(run.interruptions.share for run in real) / len(real)
    return Interruptions(per_s=per_s, mean_ns=share / per_s * 1e9 if per_s else 0.0, share=share)


def calibrated_here(envelope: Envelope, cpus: tuple[int, ...], seconds: int) -> SimulatedMachine:
    """Play what calibration needs, with seeds that judge nothing, and fit what that moves.

    Raises:
        UnavailableError: A privilege or the kernel's support is missing.
    """
    with ExitStack() as stack:
        traces = []
        for load in (pure_switching(cpus), short_wakeups(cpus, seconds)):
            trace, _, _ = stack.enter_context(recorded(load, rules.CALIBRATION_SEED, Journal()))
            traces.append(trace)
        return calibrated(traces, envelope)


def fair_parameters(nr_cpus: int) -> dict[str, int]:
    """Return what of `fair` this kernel has set otherwise, as far as it tells.

    The base slice is what the kernel gives a task that asks for none, before it is scaled by CPUs.
    """
    try:
        slice_ns, _ = read_back_slice()
    except OSError:
        return {}
    return {"base_slice_us": round(slice_ns / slice_scale(nr_cpus) / 1000)} if slice_ns else {}
