"""Tries a scheduler against all that a plan says: a folder in which an interrupted one goes on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from schedtuna.backend.base import KERNELS_OWN
from schedtuna.backend.places.guest import Guest
from schedtuna.backend.vm import scheduler_program
from schedtuna.configfile import first_fault, parse_json
from schedtuna.errors import ConfigFileError, UnavailableError, UsageError, WorkloadError
from schedtuna.experiment.campaign import choose_seed
from schedtuna.experiment.vet.certificate import VetCertificate, VetOutcome, VetResult, judged
from schedtuna.experiment.vet.plan import (
    QUICK_TOPOLOGIES,
    SHIFT,
    STORED,
    TOPOLOGIES,
    VetCase,
    VetPlan,
    planned_cases,
)
from schedtuna.files import copy_file, make_folder, write_text
from schedtuna.lab.build.examples import find_examples
from schedtuna.lab.deterministic.trials import Deterministic, DeterministicRun, DeterministicSpec
from schedtuna.lab.errors import GuestError
from schedtuna.lab.guest.adversaries import ADVERSARY, ANSWER_WITHIN_S, SECONDS
from schedtuna.lab.store import Lab
from schedtuna.machine.binaries import hash_programs
from schedtuna.resources import resource_path
from schedtuna.scheduler.scx import SchedulerError, exit_dump, exit_reason
from schedtuna.scheduler.spec import SchedulerConfig

PLAN_NAME, CERTIFICATE_NAME, CASES = "plan.json", "certificate.json", "cases"
_SCRIPT = "lab/guest/adversaries.py"
_MORE_S = ANSWER_WITHIN_S + 45.0  # of the guest: until an adversary has ended by itself
LIMITS = (
    "the guest's clock counts instructions, 8 ns each: waits compare with fair's there, not with a machine's",
    "what needs two CPUs at the same instant, such as a race of two locks, shows rarely or never",
    "no stall in so many seconds says nothing about the next ones: other seeds try others",
)
_Model = TypeVar("_Model", VetPlan, VetResult)
Tell = Callable[[int, str], None]


@dataclass(frozen=True)
class VetSubject:
    """What is tried.

    Attributes:
        scheduler: Its name and settings.
        programs: What loads it, a program or a BPF object, by the kernel's version.
        missing: Why there is none for a kernel, by its version.
    """

    scheduler: SchedulerConfig
    programs: Mapping[str, Path]
    missing: Mapping[str, str]

    def identity(self) -> str:
        """Its programs, by content."""
        paths = sorted({str(path) for path in self.programs.values()})
        hashes = {path: digest for one in paths for path, digest in hash_programs([one]).items()}
        return "; ".join(f"{path} {digest[:16]}" for path, digest in hashes.items())


def vet_subject(text: str, lab: Lab, kernels: Sequence[str]) -> VetSubject:
    """Return what a text means.

    Args:
        text: A scheduler's name, or an object's path, with settings as `scheduler.parse` takes them.
        lab: What is installed.
        kernels: Full versions of those that it is tried on.

    Raises:
        UsageError: There is no such scheduler, or it is the kernel's own.
        UnavailableError: Its program is on none of the kernels.
    """
    scheduler = Guest().scheduler(text)
    if scheduler.name in KERNELS_OWN:
        raise UsageError(
            f"{scheduler.name} is the kernel's own scheduler, to which sched_ext returns",
            hint="name a sched_ext scheduler: `schedtuna schedulers list`",
        )
    programs: dict[str, Path] = {}
    missing: dict[str, str] = {}
    hint: str | None = "`schedtuna lab setup --kernel VERSION` installs one that has"
    for version in kernels:
        kernel = lab.kernel(version)
        if "CONFIG_SCHED_CLASS_EXT=y" not in kernel.config.read_text():
            missing[version] = "this kernel has no sched_ext"
            continue
        try:
            programs[version] = scheduler_program(scheduler, find_examples(kernel)) or Path()
        except UnavailableError as error:
            missing[version], hint = str(error), error.hint
    if not programs:
        raise UnavailableError(f"{text} can't be tried: {next(iter(missing.values()))}", hint=hint)
    return VetSubject(scheduler, programs, missing)


def planned(
    lab: Lab,
    subject: VetSubject,
    *,
    kernels: Sequence[str],
    topologies: Sequence[str] = (),
    adversaries: Sequence[str] = (),
    seconds: float,
    seed: int | None = None,
    is_quick: bool = False,
) -> VetPlan:
    """Return a plan; what is not said is all that there is.

    Args:
        lab: What is installed.
        subject: What is tried.
        kernels: Full versions.
        topologies: As `lab.shape` reads them.
        adversaries: Names.
        seconds: Of each case, on the guest's clock.
        seed: Of each case; None: a fresh one.
        is_quick: Whether little is tried on purpose.

    Raises:
        UsageError: There is no such adversary, or no deterministic guest of so many CPUs.
    """
    topologies = topologies or (QUICK_TOPOLOGIES if is_quick else TOPOLOGIES)
    return VetPlan(
        scheduler=subject.scheduler.label(),
        program=subject.identity(),
        cases=planned_cases(kernels, topologies, adversaries),
        seconds=seconds,
        seed=choose_seed(seed),
        is_quick=is_quick,
        qemu=lab.qemu.version,
    )


def replay_command(name: str, plan: VetPlan, result: VetResult) -> list[str]:
    """Return the command line that runs one case again, with the same seed.

    Args:
        name: How the scheduler was named.
        plan: The case's.
        result: Of the case.
    """
    case = result.case
    options = {"--kernel": case.kernel, "--topology": case.topology, "--adversary": case.adversary}
    options |= {"--for": f"{plan.seconds:g}s", "--seed": str(plan.seed)}
    return ["schedtuna", "schedulers", "vet", name, *(word for pair in options.items() for word in pair)]


class Vetting:
    """A folder, a plan, and what has been done of it.

    Args:
        lab: What is installed.
        folder: Where results are kept.
        plan: What is to be done.
        subject: What is tried.
        resume: Go on with what is there.

    Raises:
        UsageError: The folder holds another plan, or one and `resume` is not given, or none and it is.
        ConfigFileError: What it holds can't be read.
    """

    def __init__(
        self, lab: Lab, folder: Path, plan: VetPlan, subject: VetSubject, *, resume: bool = False
    ) -> None:
        self.folder, self.plan = folder, plan
        self._lab, self._subject = lab, subject
        self._machines: dict[tuple[str, str, bool], Deterministic] = {}
        self._not_started: dict[tuple[str, str], VetResult] = {}
        stored = folder / PLAN_NAME
        if resume:
            if not stored.exists():
                raise UsageError(f"{folder} holds nothing to go on with", hint="leave --resume out")
            if read_plan(folder) != plan:
                raise UsageError(
                    f"{folder} holds another plan: its scheduler, cases, seconds, seed or QEMU differ",
                    hint="repeat the command that began it, or leave --resume out",
                )
        elif stored.exists():
            raise UsageError(f"{folder} holds one already", hint=f"go on with it by --resume {folder}")
        else:
            make_folder(folder / CASES)
            write_text(stored, plan.model_dump_json(indent=1) + "\n")

    def run(self, tell: Tell = lambda _done, _note: None) -> VetCertificate:
        """Do what is left of the plan; returns what is known then.

        Args:
            tell: Is told how many cases are done, and what became of the last.

        Raises:
            BootError: A guest does not come up.
            UsageError: A program can't run in a guest.
        """
        results = []
        with _shared_script() as share:
            for case in self.plan.cases:
                path = self.folder / CASES / f"{case.name}.json"
                if path.exists():
                    result = _read(path, VetResult)
                else:
                    result = self._tried(case, share)
                    write_text(path, result.model_dump_json(indent=1) + "\n")
                results.append(result)
                tell(len(results), f"{case.topology} {case.adversary}: {result.outcome}")
        certificate = VetCertificate(plan=self.plan, results=tuple(results), limits=LIMITS)
        write_text(self.folder / CERTIFICATE_NAME, certificate.model_dump_json(indent=1) + "\n")
        return certificate

    def _tried(self, case: VetCase, share: Path) -> VetResult:
        if reason := case.impossible or self._subject.missing.get(case.kernel, ""):
            return VetResult(case=case, outcome=VetOutcome.NOT_RUN, reason=reason)
        place = case.kernel, case.topology
        if (former := self._not_started.get(place)) is not None:  # nor would it with another adversary
            return former.model_copy(update={"case": case})
        try:
            result = self._once(case, share)
        except SchedulerError as error:
            return self._not_started.setdefault(place, not_started(case, error))
        except GuestError as error:
            return self._died(case, share, str(error))
        if result.fails:
            return result.model_copy(update={"replay_hash": self._once(case, share).hash})
        usual = None if self.plan.is_quick else self._usual_wait_s(case, share)
        return result.model_copy(update={"usual_wait_s": usual})

    def _died(self, case: VetCase, share: Path, reason: str) -> VetResult:
        """Blame the scheduler for a guest's death only where the kernel's own lets such a guest live."""
        try:
            self._usual_wait_s(case, share)
        except GuestError as error:
            reason = f"without the scheduler the guest dies, too: {error}"
            return VetResult(case=case, outcome=VetOutcome.NOT_RUN, reason=reason)
        return VetResult(case=case, outcome=VetOutcome.DIED, reason=reason)

    def _once(self, case: VetCase, share: Path) -> VetResult:
        run, seen = self._attack(case, share, own=True)
        return judged(
            case,
            seen,
            ejected=run.ejected,
            reason=exit_reason(run.scheduler_log),
            dump=exit_dump(run.scheduler_log),
            digest=run.hash,
        )

    def _usual_wait_s(self, case: VetCase, share: Path) -> float | None:
        """How long a task stands still at most under the kernel's own scheduler."""
        return self._attack(case, share, own=False)[1].get("longest_wait_s")

    def _attack(self, case: VetCase, share: Path, *, own: bool) -> tuple[DeterministicRun, Mapping[str, Any]]:
        """Run an adversary; returns the run, and what it printed.

        Raises:
            SchedulerError: The scheduler did not start.
            GuestError: The guest died or hangs, or the adversary did not end as it should.
        """
        environment = {ADVERSARY: case.adversary, SECONDS: repr(self.plan.seconds)}
        machine = self._machine(case, share, own=own)
        try:
            run = machine.once(self.plan.seed, environment, self.plan.seconds + _MORE_S)
        except WorkloadError as error:
            raise GuestError(str(error)) from error
        if run.raw.failure:
            raise GuestError(f"the adversary did not end: {run.raw.failure}; {run.raw.stderr[-500:].strip()}")
        seen = parse_json(run.raw.stdout)
        if not isinstance(seen, dict):
            raise GuestError("the adversary printed nothing that can be read")
        return run, seen

    def _machine(self, case: VetCase, share: Path, *, own: bool) -> Deterministic:
        """Return the saved machine of a case, which others of the same guest have, too."""
        key = case.kernel, case.topology, own
        if key not in self._machines:
            spec = DeterministicSpec(
                ("python3", f"/share/{Path(_SCRIPT).name}"),
                kernel=case.kernel,
                cpus=case.nr_cpus,
                topology=case.topology,
                shift=SHIFT,
                share=share,
                scheduler=self._subject.scheduler if own else None,
                scheduler_program=self._subject.programs[case.kernel] if own else None,
            )
            self._machines[key] = Deterministic(self._lab, spec)
        return self._machines[key]


def not_started(case: VetCase, error: SchedulerError) -> VetResult:
    """Return the result of a scheduler that does not come into charge; what it said last is a part of why."""
    said = error.log.strip().rpartition("\n")[2]
    return VetResult(
        case=case,
        outcome=VetOutcome.NOT_STARTED,
        reason=f"{error.reason}: {said}" if said else error.reason,
        dump=exit_dump(error.log),
    )


def read_plan(folder: Path) -> VetPlan:
    """Return the plan of a folder.

    Raises:
        ConfigFileError: There is none that can be read.
    """
    return _read(folder / PLAN_NAME, VetPlan)


def _read(path: Path, model: type[_Model]) -> _Model:
    try:
        content = parse_json(path.read_bytes())
        return model.model_validate(STORED.upgrade(content, path) if model is VetPlan else content)
    except ValidationError as error:
        raise ConfigFileError(f"{path} is damaged: {first_fault(error)}") from None
    except (OSError, ValueError) as error:
        raise ConfigFileError(f"{path} can't be read: {error}") from None


@contextmanager
def _shared_script() -> Iterator[Path]:
    """Give a folder with the adversaries, which guests have as /share."""
    with tempfile.TemporaryDirectory(prefix="schedtuna-vet-") as folder:
        copy_file(resource_path(_SCRIPT), Path(folder) / Path(_SCRIPT).name)
        yield Path(folder)
