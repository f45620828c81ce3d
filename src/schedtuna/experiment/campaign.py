"""What everything that makes trials needs: a folder with a log, a manifest, and this machine."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from schedtuna.backend.base import Validity
from schedtuna.backend.host import KERNELS_OWN, HostBackend
from schedtuna.backend.kernels import KernelsBackend, guests
from schedtuna.backend.vm import GuestChoice, VmBackend, host_command
from schedtuna.errors import StudyError, UntrustedError, naming
from schedtuna.experiment.reach import require_reach
from schedtuna.experiment.triallog import TrialLog, read_trials
from schedtuna.files import remove_folder, write_text
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.claims import claimed
from schedtuna.knobs.registry import knob_named
from schedtuna.machine.daemons import running_daemons
from schedtuna.machine.manifest import FILE_NAME, Manifest, build_manifest, machine_identity
from schedtuna.machine.probe import Probe
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.command import check
from schedtuna.workload.identity import environment
from schedtuna.workload.spec import MetricSpec, Workload


class UnwrittenError(StudyError):
    """Every run was made, and what came of them can't be written.

    Args:
        folder: The results folder.
        error: Why not.
        again: The command that writes it, once that is possible.
    """

    def __init__(self, folder: Path, error: OSError, again: str) -> None:
        super().__init__(
            f"can't write {error.filename2 or error.filename or folder}: {error.strerror or error}; "
            f"all runs are kept in {folder}",
            hint=f"free some space or fix the permissions; then this writes it, without a run: {again}",
        )


@dataclass(frozen=True)
class Campaign:
    """An open results folder, and where its trials run.

    Attributes:
        folder: The results folder.
        log: Its trials.
        backend: This machine, or guests of the lab.
        manifest: What the machine and the command are.
        seed: Of every random choice.
        warnings: What to know before the first run.
    """

    folder: Path
    log: TrialLog
    backend: HostBackend | VmBackend | KernelsBackend
    manifest: Manifest
    seed: int
    warnings: tuple[str, ...]

    def introduce(self, say: Callable[[str], None]) -> None:
        """Tell where results go, the seed, and what to know before the first run."""
        say(f"results: {self.folder}  seed: {self.seed}")
        for warning in self.warnings:
            say(f"warning: {warning}")

    def unwritten(self, error: OSError) -> UnwrittenError:
        """The error that the results can't be written."""
        return UnwrittenError(self.folder, error, f"the same command with --resume {self.folder}")

    @property
    def how_to_continue(self) -> str:
        """What to do after an interruption."""
        return f"every finished run is kept; to continue, repeat the command with --resume {self.folder}"


@contextmanager
def open_campaign(
    kind: str,
    workload: Workload,
    target: Target,
    schedulers: Sequence[SchedulerConfig],
    read: Sequence[MetricSpec],
    *,
    required: Sequence[str] = (),
    limits: Mapping[str, float] | None = None,
    seed: int | None,
    results: Path,
    resume: Path | None,
    identity: Mapping[str, str],
    names: Sequence[str] = (),
    turned: Iterable[str] = (),
    guest: GuestChoice | None = None,
) -> Iterator[Campaign]:
    """Open a fresh results folder, or the one to resume, and this machine or the lab as its backend.

    Args:
        kind: The command; the folder's name begins with it.
        workload: What runs.
        target: What is tuned.
        schedulers: What it runs under.
        read: The metrics to read from every run.
        required: Names of more metrics that every run must have.
        limits: Covariates above which a run counts as failed.
        seed: As asked; None for a fresh one, or the resumed folder's.
        results: Where folders are created.
        resume: A folder to continue.
        identity: What else the trials depend on; the kind, the workload and
            its program, the target, the seed and the machine are added.
        names: What the folder's name is made of; default: the kind and the command.
        turned: Names of what a search will vary, besides what the schedulers set.
        guest: Run in guests of the lab, on this kernel; None for this machine.

    Raises:
        WorkloadError: The command can't be run.
        StudyError: The folder can't be used, or the settings can't reach the command's work.
        TargetBusyError: Another run is turning the target's knobs.
    """
    of_guest = guest is not None and not workload.shell and host_command(workload) is None
    program = f"the guest's {workload.argv[0]}" if of_guest else os.path.realpath(check(workload))
    turned = list(turned)
    reach = [] if guest else require_reach(workload, target, schedulers, turned)
    seed = choose_seed(_resumed_seed(resume) if seed is None and resume is not None else seed)
    name = workload.name or Path(workload.argv[0].split()[0] if workload.shell else workload.argv[0]).name
    folder = resume or new_results_folder(results, *(names or (kind, name)))
    manifest = build_manifest(
        ["/bin/sh", "-c", " ".join(workload.argv)] if workload.shell else workload.argv,
        seed,
        folder=workload.folder,
        search_path=environment(workload).get("PATH"),
    )
    whole = {
        "experiment": kind,
        **identity,
        "workload": workload.model_dump_json(exclude_defaults=True),
        "limits": json.dumps(limits or {}),
        "program": f"{program} {manifest.binary_hashes.get(program, '')[:16]}",
        "target": f"{target.scope} {target.pid or target.cgroup or ''}".rstrip(),
        "seed": str(seed),
        **{f"machine.{key}": json.dumps(value) for key, value in machine_identity().items()},
    }
    described = manifest.stable_hash()
    backend: HostBackend | VmBackend | KernelsBackend
    if guest is None:
        backend = HostBackend(target, metrics=read, required=required, limits=limits, manifest_hash=described)
    else:
        backend = guests(
            guest,
            lambda one: VmBackend(choice=one, metrics=read, required=required, manifest_hash=described),
        )
        whole["guest"] = backend.identity
    held = _claimed(target, schedulers, turned) if guest is None else nullcontext()
    with held, ExitStack() as cleanup, backend, TrialLog(folder, whole) as log:
        cleanup.callback(_forget_if_empty, log, fresh=resume is None)
        if not (folder / FILE_NAME).exists():
            with naming(folder):
                write_text(folder / FILE_NAME, manifest.model_dump_json(indent=2) + "\n")
        found = () if guest else (*reach, *_daemon_warnings(), *_knob_warnings(schedulers, target))
        warnings = (*log.warnings, *backend.warnings, *found)
        yield Campaign(folder, log, backend, manifest, seed, warnings)


def choose_seed(seed: int | None) -> int:
    """Return the seed that was asked for, or a fresh one short enough to type."""
    return secrets.randbelow(10**6) if seed is None else seed


def new_results_folder(results: Path, *names: str) -> Path:
    """Return a path for a results folder that is not there yet: ``results/a_b_20250131-235959``."""
    stem = "_".join([re.sub(r"[^A-Za-z0-9.-]+", "-", name) for name in names])
    base = results / f"{stem}_{time.strftime('%Y%m%d-%H%M%S')}"
    taken = [base, *(base.with_name(f"{base.name}-{n}") for n in range(2, 1000))]
    return next(path for path in taken if not path.exists())


def _forget_if_empty(log: TrialLog, *, fresh: bool) -> None:
    """Remove a folder of which nothing came: no run succeeded, and the error that follows says why."""
    if fresh and all(record.trial.validity is not Validity.OK for record in log.records()):
        with suppress(OSError, UntrustedError):
            remove_folder(log.folder)


def _resumed_seed(folder: Path) -> int | None:
    text = read_trials(folder)[0].get("seed", "")
    if not text.isdecimal():
        raise StudyError(
            f"{folder} does not record its seed", hint="give the --seed that it was started with"
        )
    return int(text)


def _daemon_warnings() -> Iterator[str]:
    for found in running_daemons(Probe.live()):
        if found.daemon.interferes:
            yield f"{found.daemon.name} is running and {found.daemon.does}; stop it: {found.daemon.stop}"


def _claimed(
    target: Target, schedulers: Sequence[SchedulerConfig], turned: Iterable[str]
) -> AbstractContextManager[None]:
    """Claim the target; the whole machine where another scheduler is to be in charge of it."""
    if all(scheduler.name in KERNELS_OWN for scheduler in schedulers):
        return claimed(target, turned={*turned, *_knobs_set(schedulers)})
    return claimed(Target(Scope.MACHINE))


def _knobs_set(schedulers: Sequence[SchedulerConfig]) -> set[str]:
    """Knobs that differ from the default under one of the schedulers; the others' values are flags."""
    return {name for one in schedulers if one.name in KERNELS_OWN for name in one.values}


def _knob_warnings(schedulers: Sequence[SchedulerConfig], target: Target) -> Iterator[str]:
    for name in sorted(_knobs_set(schedulers)):
        hint = knob_named(name).probe(target).hint
        if hint:
            yield f"{name}: {hint}"
