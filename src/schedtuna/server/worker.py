"""Makes one trial, in a process of its own: what needs privilege is here, and what serves HTTP is elsewhere.

Its order comes as JSON on standard input, which stays open for as long as the server lives: at its end this
process ends the trial, as it does on SIGTERM, and puts back what it had changed. Its answer goes into a file,
and that a run has ended is told on standard output.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError

from schedtuna.configfile import parse_json
from schedtuna.errors import SchedtunaError, UsageError
from schedtuna.files import write_text
from schedtuna.server.allowed import Allowed, run_spec
from schedtuna.wire import Problem, SchedulerAnswer, Submission, TrialOutcome
from schedtuna.workload.spec import RunSpec

ANSWER_NAME = "answer.json"
TRACE_NAME = "trace.tar"
TOOK = "took_s"
MOST_TRACE_BYTES = 64 << 20
_PATIENCE_S = 1.5  # that an ended trial has to put things back, once the server is gone


class WorkerOrder(BaseModel):
    """What a worker is to do: run a trial, or tell what a scheduler is here.

    Attributes:
        submission: The trial.
        commands, user: See `Allowed`.
        scheduler: Name of a scheduler.
        tunable: Whether it is asked what a search varies of it.
        include: Knobs on request, for that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    submission: Submission | None = None
    commands: bool = False
    user: str | None = None
    scheduler: str = ""
    tunable: bool = False
    include: tuple[str, ...] = ()


def main(folder: Path) -> int:
    """Carry out the order on standard input, with a folder of one's own."""
    line = sys.stdin.readline()
    threading.Thread(target=_end_with_the_server, name="schedtuna-server-gone", daemon=True).start()
    with _ended_by_sigterm():
        try:
            answer = _answer(WorkerOrder.model_validate(parse_json(line)), folder)
        except KeyboardInterrupt:
            return 130
    write_text(folder / ANSWER_NAME, answer.model_dump_json(), mode=0o600)
    return 0


def _answer(order: WorkerOrder, folder: Path) -> BaseModel:
    try:
        if order.submission is not None:
            return run_trial(order.submission, Allowed((), order.commands, order.user), folder)
        return tell_scheduler(order.scheduler, tunable=order.tunable, include=order.include)
    except SchedtunaError as error:
        return TrialOutcome(problem=problem_of(error))
    except OSError as error:
        return TrialOutcome(
            problem=Problem(kind="OSError", message=f"{error.filename or ''}: {error.strerror}")
        )


def problem_of(error: SchedtunaError) -> Problem:
    """Return an error as it travels."""
    kind = next(base.__name__ for base in type(error).__mro__ if base.__module__ == "schedtuna.errors")
    return Problem(kind=kind, message=str(error)[:4000], hint=(error.hint or "")[:2000])


def run_trial(submission: Submission, allowed: Allowed, folder: Path) -> TrialOutcome:
    """Run what was submitted, once, on this machine.

    Raises:
        SchedtunaError: No trial could be made of it.
    """
    from schedtuna.backend.host import HostBackend
    from schedtuna.backend.places.host import Host
    from schedtuna.machine.manifest import build_manifest
    from schedtuna.workload.command import command_line

    place = Host()
    spec = run_spec(submission, allowed, nr_cpus=place.nr_cpus())
    scheduler = place.scheduler(submission.scheduler.name)
    if submission.scheduler.values:
        scheduler = scheduler.with_values(dict(submission.scheduler.values), stated=True)
    argv = command_line(spec.workload, submission.seed)
    manifest = build_manifest(argv if submission.command is None else argv[:1], submission.seed)
    # Of a client's command the arguments are not read as files: what a hash of one says is not for everybody.
    manifest = manifest.model_copy(update={"command": tuple(argv)})
    trace: Path | None = folder / "trace" if submission.trace else None
    with ExitStack() as stack:
        spec = stack.enter_context(_in_own_folder(spec))
        backend = stack.enter_context(place.open(spec, [scheduler]))
        if trace is not None:
            stack.enter_context(_recorded(trace, submission))
        if isinstance(backend, HostBackend):
            backend.on_run = _tell_run
        trial = backend.run(spec.workload, scheduler, seed=submission.seed)
        warnings = list(backend.warnings)
    trial = trial.model_copy(update={"manifest_hash": manifest.stable_hash()})
    nr_bytes = None
    if trace is not None:
        nr_bytes, told = archived(trace, folder / TRACE_NAME)
        warnings += told
    return TrialOutcome(
        trial=parse_json(trial.model_dump_json(), any_text=True),
        manifest=parse_json(manifest.model_dump_json(), any_text=True),
        warnings=tuple(warnings),
        trace_bytes=nr_bytes,
    )


def _tell_run(took_s: float) -> None:
    """Tell the server on standard output that a run has ended; where it has gone, nobody needs to know."""
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps({TOOK: took_s}) + "\n")
        sys.stdout.flush()


@contextmanager
def _in_own_folder(spec: RunSpec) -> Iterator[RunSpec]:
    """Give a trial an empty folder of its user's to run in: stress-ng, for one, needs one to write."""
    from schedtuna.workload.identity import find_identity

    with TemporaryDirectory(prefix="schedtuna-trial-") as folder:
        identity = find_identity(spec.workload.user) if spec.workload.user else None
        if identity is not None:
            os.chown(folder, identity.uid, identity.gid)
        workload = spec.workload.model_copy(update={"folder": Path(folder)})
        yield spec.model_copy(update={"workload": workload})


@contextmanager
def _recorded(folder: Path, submission: Submission) -> Iterator[None]:
    """Record the events of this process's descendants: the trial's tasks, and nobody else's."""
    from schedtuna.record.filters import TaskFilter
    from schedtuna.record.recorder import Recorder, RecordOptions

    named = submission.workload or (submission.command.argv[0] if submission.command else "")
    options = RecordOptions(task_filter=TaskFilter(tree=(os.getpid(),)), command=(named,))
    with Recorder(folder, options):
        yield


def archived(trace: Path, path: Path, *, most_bytes: int = MOST_TRACE_BYTES) -> tuple[int | None, list[str]]:
    """Put a trace into an archive; returns its size, and what to know. One that is too large is left out."""
    import tarfile

    from schedtuna.files import writing

    nr_bytes = sum(file.stat().st_size for file in trace.rglob("*") if file.is_file())
    if nr_bytes > most_bytes:
        told = f"the trace is left out: it has {nr_bytes} bytes, and {most_bytes} are the most that travel"
        return None, [told]
    with writing(path, mode=0o600) as file, tarfile.open(fileobj=file, mode="w") as archive:
        archive.add(trace, arcname="trace")
    return path.stat().st_size, []


def tell_scheduler(name: str, *, tunable: bool, include: tuple[str, ...] = ()) -> SchedulerAnswer:
    """Return a scheduler as this machine has it.

    Raises:
        SchedtunaError: There is none, it can't run here, or nothing of it can be tuned.
    """
    from schedtuna.backend.places.host import Host
    from schedtuna.machine.binaries import hash_programs

    place = Host()
    if include and not tunable:
        raise UsageError("knobs on request are included in what is tunable")
    found = place.tunable(name, include) if tunable else place.scheduler(name)
    program = str(found.binary_path) if found.binary_path is not None else ""
    return SchedulerAnswer(
        scheduler=parse_json(found.model_copy(update={"binary_path": None}).model_dump_json(), any_text=True),
        program=next(iter(hash_programs([program]).values()), "") if program else "",
        left_out=tuple(place.left_out(name)) if tunable else (),
    )


def _end_with_the_server() -> NoReturn:
    """Wait until the server has gone, and end the trial as it would have done."""
    while os.read(sys.stdin.fileno(), 1 << 10):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_S)
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit  # never reached


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind, so that all is put back; before and after, it just ends the process."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            signal.signal(signal.SIGTERM, before)


def order_line(order: WorkerOrder) -> bytes:
    """Return an order as a worker reads it."""
    return json.dumps(order.model_dump(mode="json")).encode() + b"\n"


def read_answer(
    folder: Path, of: type[TrialOutcome | SchedulerAnswer]
) -> TrialOutcome | SchedulerAnswer | None:
    """Return what a worker has answered; None: it came to no answer."""
    try:
        content: Mapping[str, Any] = parse_json((folder / ANSWER_NAME).read_bytes(), any_text=True)
    except (FileNotFoundError, ValueError):
        return None
    with contextlib.suppress(ValidationError):
        return of.model_validate(content)
    with contextlib.suppress(ValidationError):
        return TrialOutcome.model_validate(content)
    return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
