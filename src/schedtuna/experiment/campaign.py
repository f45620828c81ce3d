"""What everything that makes trials needs: a folder with a log, a manifest, and the places of the runs."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from schedtuna.backend.base import Backend, Side, Validity, label
from schedtuna.backend.places.base import Place
from schedtuna.errors import FolderTakenError, StudyError, UntrustedError, naming
from schedtuna.experiment.identity import Identity
from schedtuna.experiment.triallog import SCHEDULER_PROGRAMS, TrialLog, read_trials
from schedtuna.files import remove_folder, removing_empty, write_text
from schedtuna.machine.binaries import hash_programs
from schedtuna.machine.manifest import FILE_NAME, Manifest, build_manifest, machine_identity
from schedtuna.scheduler.probe import installed
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.identity import environment
from schedtuna.workload.spec import RunSpec


class OpenPlace(Protocol):
    """Opens a place for runs: `Place.open`, or something that has the runs made elsewhere."""

    def __call__(
        self, place: Place, spec: RunSpec, schedulers: Sequence[SchedulerConfig], turned: Iterable[str], /
    ) -> AbstractContextManager[Backend]:
        """Open it; see `Place.open`."""
        ...


def open_here(
    place: Place, spec: RunSpec, schedulers: Sequence[SchedulerConfig], turned: Iterable[str]
) -> AbstractContextManager[Backend]:
    """Open a place for runs that this process makes."""
    return place.open(spec, schedulers, turned)


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
class Question:
    """What a campaign's runs are made for.

    Attributes:
        kind: The command that asks it; the folder's name begins with it.
        sides: The schedulers that are tried, each with its place.
        identity: What the answer depends on, besides the runs; places, workload, seed and machine are added.
        names: What the folder's name is made of; empty: the kind and the command.
        turned: Names of what a search will vary, besides what the schedulers set.
    """

    kind: str
    sides: Sequence[tuple[Place, SchedulerConfig]]
    identity: Mapping[str, str] = field(default_factory=dict)
    names: Sequence[str] = ()
    turned: Iterable[str] = ()

    @property
    def places(self) -> dict[Place, list[SchedulerConfig]]:
        """The places, each with what is tried there."""
        found: dict[Place, list[SchedulerConfig]] = {}
        for place, scheduler in self.sides:
            found.setdefault(place, []).append(scheduler)
        return found

    def where(self, place: Place) -> str:
        """What a place is called beside the others; empty where there is but one."""
        return place.label if len(self.places) > 1 else ""

    def labels(self) -> list[str]:
        """What the sides are called."""
        return [label(scheduler, self.where(place)) for place, scheduler in self.sides]


@dataclass(frozen=True)
class Campaign:
    """An open results folder, and where its trials run.

    Attributes:
        folder: The results folder.
        log: Its trials.
        asked: What its runs are made for.
        spec: What its runs have in common.
        sides: What is tried, each on its backend.
        manifest: What the machine and the command are.
    """

    folder: Path
    log: TrialLog
    asked: Question
    spec: RunSpec
    sides: tuple[Side, ...]
    manifest: Manifest

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before the first run; after it also what came up meanwhile."""
        told = (text for side in self.sides for text in side.backend.warnings)
        return (*self.log.warnings, *dict.fromkeys(told))

    def introduce(self, say: Callable[[str], None]) -> None:
        """Tell where results go, the seed, and what to know before the first run."""
        say(f"results: {self.folder}  seed: {self.spec.seed}")
        for warning in self.warnings:
            say(f"warning: {warning}")

    def unwritten(self, error: OSError) -> UnwrittenError:
        """The error that the results can't be written."""
        return UnwrittenError(self.folder, error, f"the same command with --resume {self.folder}")

    @property
    def has_results(self) -> bool:
        """Whether a run succeeded; without, a fresh folder goes with the campaign."""
        return _has_results(self.log)

    @property
    def how_to_continue(self) -> str:
        """What to do after an interruption."""
        return how_to_continue(self.folder)


def how_to_continue(folder: Path) -> str:
    """What to do after an interruption of what has its runs in a folder, or in folders in it."""
    return f"every finished run is kept; to continue, repeat the command with --resume {folder}"


@contextmanager
def open_campaign(
    asked: Question,
    spec: RunSpec,
    *,
    results: Path,
    resume: Path | None = None,
    open_place: OpenPlace = open_here,
) -> Iterator[Campaign]:
    """Open a fresh results folder, or the one to resume, and the places of what is tried.

    Args:
        asked: What is tried, and what for.
        spec: What the runs have in common.
        results: Where folders are created.
        resume: A folder to continue.
        open_place: How places are opened; by default this process makes their runs.

    Raises:
        WorkloadError: The command can't be run.
        StudyError: The folder can't be used, or the settings can't reach the command's work.
        TargetBusyError: Another run is turning the target's knobs.
    """
    workload = spec.workload
    name = workload.name or Path(workload.argv[0].split()[0] if workload.shell else workload.argv[0]).name
    manifest = _manifest(spec)
    whole = _identity(asked, spec, manifest)
    with ExitStack() as cleanup, ExitStack() as opened:
        backends = {
            place: opened.enter_context(open_place(place, spec, schedulers, asked.turned))
            for place, schedulers in asked.places.items()
        }
        whole |= _joined(backend.identity for backend in backends.values())
        cleanup.enter_context(removing_empty(resume.parent if resume else results))
        log = opened.enter_context(
            TrialLog(resume, whole, manifest.stable_hash())
            if resume
            else _fresh_log(results, asked.names or (asked.kind, name), whole, manifest.stable_hash())
        )
        folder = log.folder
        cleanup.callback(_forget_if_empty, log, fresh=resume is None)
        if not (folder / FILE_NAME).exists():
            with naming(folder):
                write_text(folder / FILE_NAME, manifest.model_dump_json(indent=2) + "\n")
        sides = [
            Side(
                backends[place],
                scheduler,
                asked.where(place),
                is_exact=place.is_exact,
                is_model=place.is_model,
            )
            for place, scheduler in asked.sides
        ]
        yield Campaign(folder, log, asked, spec, tuple(sides), manifest)


def changed_since(folder: Path, asked: Question, spec: RunSpec) -> list[str]:
    """Return what of a campaign's identity is not what it was when the trials in a folder were made.

    The seed does not count, nor what the backends add; and what the version that made them did not write down
    can't be told.

    Raises:
        StudyError: The folder has no trials.
    """
    there, _ = read_trials(folder)
    here = _identity(asked, spec, _manifest(spec))
    return [name for name, text in here.items() if name != "seed" and there.get(name, text) != text]


def _manifest(spec: RunSpec) -> Manifest:
    workload = spec.workload
    return build_manifest(
        ["/bin/sh", "-c", " ".join(workload.argv)] if workload.shell else workload.argv,
        spec.seed,
        folder=workload.folder,
        search_path=environment(workload).get("PATH"),
    )


def _identity(asked: Question, spec: RunSpec, manifest: Manifest) -> dict[str, str]:
    """What the trials are trials of, but for what the backends add."""
    there = [place.identity(spec.workload) for place in asked.places]
    programs = dict.fromkeys(identity.pop("program", "") for identity in there)
    return {
        "experiment": asked.kind,
        **asked.identity,
        "workload": spec.workload.model_dump_json(exclude_defaults=True),
        "limits": json.dumps(spec.limits),
        "program": "; ".join(f"{path} {manifest.binary_hashes.get(path, '')[:16]}" for path in programs),
        **_scheduler_programs(scheduler for _, scheduler in asked.sides),
        **_joined(there),
        "seed": str(spec.seed),
        **{f"machine.{key}": json.dumps(value) for key, value in machine_identity().items()},
    }


def _scheduler_programs(schedulers: Iterable[SchedulerConfig]) -> dict[str, str]:
    """The programs of schedulers, by content: a rebuilt one is another scheduler."""
    paths = [one.binary_path or installed().get(one.name) for one in schedulers]
    hashes: dict[str, str] = {}
    for path in filter(None, paths):
        hashes |= hash_programs([str(path)])
    told = "; ".join(f"{path} {digest[:16]}" for path, digest in hashes.items())
    return {SCHEDULER_PROGRAMS: told} if told else {}


def choose_seed(seed: int | None, resume: Path | None = None) -> int:
    """Return the seed that was asked for, or the resumed folder's, or a fresh one short enough to type.

    Raises:
        StudyError: The folder to resume does not say its seed.
    """
    if seed is not None:
        return seed
    return secrets.randbelow(10**6) if resume is None else _resumed_seed(resume)


def _joined(identities: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """What several places' runs depend on, each fact once."""
    found: dict[str, list[str]] = {}
    for identity in identities:
        for name, text in identity.items():
            found.setdefault(name, []).append(text)
    return {name: "; ".join(dict.fromkeys(texts)) for name, texts in found.items()}


def new_results_folder(results: Path, *names: str) -> Path:
    """Return a path for a results folder that is not there yet: ``results/a_b_20250131-235959``."""
    stem = "_".join([re.sub(r"[^A-Za-z0-9._-]+", "-", name) for name in names])
    base = results / f"{stem}_{time.strftime('%Y%m%d-%H%M%S')}"
    taken = [base, *(base.with_name(f"{base.name}-{n}") for n in range(2, 1000))]
    return next(path for path in taken if not path.exists())


def _fresh_log(results: Path, names: Sequence[str], whole: Identity, manifest_hash: str) -> TrialLog:
    """A log in a new folder, whose name no other process has taken meanwhile."""
    while True:
        with suppress(FolderTakenError):
            return TrialLog(new_results_folder(results, *names), whole, manifest_hash, fresh=True)


def _has_results(log: TrialLog) -> bool:
    return any(record.trial.validity is Validity.OK for record in log.records())


def _forget_if_empty(log: TrialLog, *, fresh: bool) -> None:
    """Remove a folder of which nothing came: no run succeeded, and the error that follows says why."""
    if fresh and not _has_results(log):
        with suppress(OSError, UntrustedError):
            remove_folder(log.folder)


def _resumed_seed(folder: Path) -> int:
    text = read_trials(folder)[0].get("seed", "")
    if not text.isdecimal() or len(text) > 100:
        raise StudyError(
            f"{folder} does not record its seed", hint="give the --seed that it was started with"
        )
    return int(text)
