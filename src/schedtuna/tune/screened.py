"""Before a study on this machine: record what its command does, and ask the model what to try."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from schedtuna.backend.base import Validity
from schedtuna.backend.places.host import Host
from schedtuna.errors import StudyError, UnavailableError, UsageError
from schedtuna.fidelity.envelope import NOISE, certification
from schedtuna.fidelity.machine_file import HERE, default_path, read_machine
from schedtuna.files import make_folder
from schedtuna.history.plan import StudyPlan
from schedtuna.knobs.base import Scope
from schedtuna.record.recorder import Recorder, RecordOptions
from schedtuna.scheduler.fair import NAME as FAIR
from schedtuna.sim.lives import BoolArray
from schedtuna.sim.loads import with_recording
from schedtuna.sim.recorded import RecordedLoad
from schedtuna.sim.schedulers import parsed_scheduler
from schedtuna.sim.simulation import complete_costs
from schedtuna.sim.topology import MachineShape
from schedtuna.sim.whose import of_cgroup, of_command, of_process
from schedtuna.tune.replica import Replica
from schedtuna.tune.screen import screen


def screened(
    plan: StudyPlan,
    load: str | None,
    *,
    recording: Path,
    say: Callable[[str], object] = lambda _text: None,
    progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> tuple[StudyPlan, list[str]]:
    """Return a plan with what the model says of its settings, and what to know of that.

    Args:
        plan: What will be searched.
        load: What stands for its command: a trace's folder, a file or a family's member; None: a run of the
            command is recorded.
        recording: The folder for that.
        say: Told what is being done.
        progress: Told how many settings were tried, and of how many.

    Raises:
        UsageError: The model can't stand for what is tuned.
        UnavailableError: This user or kernel can't record.
        StudyError: The run that is recorded fails.
        TraceError: The trace can't be replayed.
    """
    place = plan.place
    if not isinstance(place, Host):
        raise UsageError(f"--screen asks a model about this machine, not about {place.label}")
    if plan.scheduler.name != FAIR:
        raise UsageError(
            f"the model has no {plan.scheduler.name}: it has the kernel's own scheduler",
            hint="leave --screen out, or tune --scheduler fair",
        )
    if load is None:
        say("recording one run of the command for the model")
        load = str(_recorded(plan, recording))
        say(f"recorded: {load}; --load {load} takes it again")
    source = with_recording(load)
    is_recorded = isinstance(source, RecordedLoad)
    nr_cpus = source.nr_cpus if isinstance(source, RecordedLoad) else place.nr_cpus()
    shape = MachineShape.of(nr_cpus, None)
    costs = _constants(is_recorded=is_recorded)
    replica = Replica(
        source, plan.scheduler, shape=shape, costs=costs, whose=lambda found: _whose(place, found)
    )
    found, notes = screen(
        replica, plan.scheduler.space, plan.metrics, load=load, seed=plan.seed, progress=progress
    )
    facts = {
        "name": FAIR,
        "parameters": {name: spec.default for name, spec in parsed_scheduler(FAIR).parameters.items()},
    }
    notes.append(f"the model is {certification(str(shape), facts, complete_costs(costs)).text}")
    return plan.model_copy(update={"screen": found}), notes


def _recorded(plan: StudyPlan, folder: Path) -> Path:
    make_folder(folder.parent)
    options = RecordOptions(waking=True, processes=False, command=plan.workload.argv)
    try:
        recorder = Recorder(folder, options)
    except UnavailableError as error:
        error.hint = f"{error.hint or 'run as root'}; or name what stands for the command: --load TRACE"
        raise
    with plan.place.open(plan) as backend, recorder:
        trial = backend.run(plan.workload, plan.scheduler, seed=plan.seed)
    if trial.validity is not Validity.OK:
        raise StudyError(
            f"the run that was recorded failed: {trial.reason}\n{trial.output_tail}".rstrip(),
            hint="make the command succeed by hand first",
        )
    return folder


def _constants(*, is_recorded: bool) -> dict[str, int]:
    """The machine's constants as they were fitted, if they were; a recording has its noise in it."""
    if not default_path().exists():
        return {}
    fitted = read_machine(HERE).costs
    return {name: value for name, value in fitted.items() if not (is_recorded and name in NOISE)}


def _whose(place: Host, load: RecordedLoad) -> BoolArray:
    """Which tasks the knobs of a place turn."""
    if place.scope is Scope.PID and place.pid is not None:
        return of_process(load, place.pid)
    if place.scope is Scope.CGROUP and place.cgroup is not None:
        mount = Path("/", load.trace.manifest.get("cgroup_hierarchy") or "")
        return of_cgroup(
            load, f"/{place.cgroup.relative_to(mount)}" if place.cgroup.is_relative_to(mount) else ""
        )
    return of_command(load)
