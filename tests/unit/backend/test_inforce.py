"""Real commands that undo real settings, seen by the kernel as tasks end, and by looking."""

import os
import subprocess
import sys

import pytest

from schedtuna.backend.base import Trial, Validity
from schedtuna.backend.host import HostBackend
from schedtuna.backend.inforce import SettingsWatch, settled
from schedtuna.backend.looks import Looks
from schedtuna.kernel.privilege import missing_capabilities
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.inforce import Force, SettingFinding
from schedtuna.knobs.journal import Journal
from schedtuna.scheduler.fair import fair
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import Workload

BURN = "i=0; while [ $i -lt 40000 ]; do i=$((i+1)); done"
MUCH = BURN.replace("40000", "300000")  # so that it is looked at several times, on any machine
needs_bpf = pytest.mark.skipif(bool(missing_capabilities()), reason="needs CAP_BPF and CAP_PERFMON")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
needs_two = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
BOTH_WAYS = [pytest.param(True, marks=needs_bpf, id="ends"), pytest.param(False, id="looks")]


class Seeing(HostBackend):
    """Runs scripts with `MUCH` in them, which it may write otherwise."""

    much = MUCH


@pytest.fixture(params=BOTH_WAYS)
def backend(request, tmp_path, monkeypatch):
    with Seeing(journal=Journal(tmp_path / "state")) as opened:
        opened._settings = SettingsWatch(ends=request.param)
        if not request.param:
            opened.much = until_seen(tmp_path / "seen", monkeypatch)
        yield opened
        opened._settings.close()


def until_seen(file, monkeypatch):
    """Work that ends once looks have seen much of it, whatever else keeps the CPUs busy."""
    look = Looks.look

    def counted(looks):
        look(looks)
        if sum(row.cpu_ns for row in looks.seen()) > 2e8:
            file.touch()

    monkeypatch.setattr(Looks, "look", counted)
    return f"rm -f {file}; until [ -e {file} ]; do {BURN}; done"


@pytest.fixture
def seeing(tmp_path):
    """A backend that sees every run, however short."""
    if missing_capabilities():
        pytest.skip("needs CAP_BPF and CAP_PERFMON")
    with HostBackend(journal=Journal(tmp_path / "state")) as opened:
        yield opened


def run(backend: HostBackend, script: str, **values) -> Trial:
    chosen = fair(include=list(values)).with_values(values)
    if isinstance(backend, Seeing):
        script = script.replace(MUCH, backend.much)
    return backend.run(Workload(argv=(script,), shell=True), chosen, seed=1)


def forces(trial: Trial) -> dict[str, Force]:
    return {name: Force.of(text) for name, text in trial.in_force.items()}


UNDOERS = [
    pytest.param({"affinity": "cpus_1"}, f"taskset -c 0,1 sh -c '{MUCH}'", "taskset -c 0,1", marks=needs_two),
    ({"nice": 5}, f"nice -n 3 sh -c '{MUCH}'", "nice -n 3"),
    ({"nice": 5}, f"renice -n 9 $$ > /dev/null; {MUCH}", "renice -n 9 '$$'"),
    ({"policy": "batch"}, f"chrt -i 0 sh -c '{MUCH}'", "chrt -i 0"),
    pytest.param({"policy": "batch"}, f"chrt -f 1 sh -c '{MUCH}'", "chrt -f 1", marks=needs_root),
    pytest.param({"slice_us": 2000}, f"chrt -f 1 sh -c '{MUCH}'", "chrt -f 1", marks=needs_root),
    pytest.param({"realtime": "rr"}, f"chrt -o 0 sh -c '{MUCH}'", "chrt -o 0", marks=needs_root),
    pytest.param(
        {"timer_slack_us": 100},
        f"echo 70000 > /proc/$$/timerslack_ns; {MUCH}",
        "the command",
        marks=needs_root,
    ),
]


@pytest.mark.parametrize(("values", "script", "by"), UNDOERS)
def test_a_run_whose_settings_the_command_undoes_fails_and_says_what_did(backend, values, script, by):
    trial = run(backend, script, **values)
    (name,) = values
    assert (trial.validity, forces(trial)) == (Validity.FAILED, {name: Force.UNDONE})
    assert f"{name}={values[name]} was not in force" in trial.reason and by in trial.reason


def test_a_session_of_its_own_has_another_autogroup(backend):
    if "autogroup_nice" not in fair().parameters:
        pytest.skip("no autogroups here")
    assert forces(run(backend, MUCH, autogroup_nice=5)) == {"autogroup_nice": Force.IN_FORCE}
    trial = run(backend, f"setsid -w sh -c '{MUCH}'", autogroup_nice=5)
    assert forces(trial) == {"autogroup_nice": Force.UNDONE}


def test_settings_that_the_command_leaves_alone_are_in_force(backend):
    values = {"nice": 5, "policy": "batch"}
    trial = run(backend, f"sh -c '{MUCH}'; nice > /dev/null", **values)
    assert (trial.validity, trial.reason) == (Validity.OK, "")
    assert forces(trial) == dict.fromkeys(values, Force.IN_FORCE)


def test_the_default_has_nothing_to_be_in_force(backend):
    trial = backend.run(Workload(argv=(BURN,), shell=True), SchedulerConfig(name="default"), seed=1)
    assert (trial.validity, trial.in_force) == (Validity.OK, {})


def test_a_helper_that_sets_its_own_is_told_of_and_fails_nothing(seeing):
    helper = BURN.replace("40000", "10000")
    trial = run(seeing, f"nice -n 3 sh -c '{helper}'; {MUCH}", nice=5)
    assert (trial.validity, forces(trial)) == (Validity.OK, {"nice": Force.PARTLY})
    assert "nice 8 (sh)" in trial.in_force["nice"]


def test_a_run_of_a_millisecond_is_seen_as_it_ends(seeing):
    assert forces(run(seeing, "exec true", nice=5)) == {"nice": Force.IN_FORCE}
    assert forces(run(seeing, "exec nice -n 3 true", nice=5)) == {"nice": Force.UNDONE}


def test_children_of_a_parent_that_resets_on_fork_are_without_its_settings(seeing):
    script = (
        "import os, subprocess\n"
        "os.sched_setscheduler(0, os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, os.sched_param(0))\n"
        f"subprocess.run(['sh', '-c', '''{MUCH}{MUCH.replace('i=0', '; i=0')}'''])\n"
    )
    workload = Workload(argv=(sys.executable, "-S", "-c", script))
    trial = seeing.run(workload, fair().with_values({"policy": "idle"}), seed=1)
    assert forces(trial) == {"policy": Force.UNDONE}


@needs_two
def test_threads_that_bind_themselves_inside_the_set_leave_it_in_force(seeing):
    script = (
        "import os, threading\n"
        "def work(cpu):\n"
        "    os.sched_setaffinity(threading.get_native_id(), {cpu})\n"
        "    sum(range(2_000_000))\n"
        "cpu = min(os.sched_getaffinity(0))\n"
        "threads = [threading.Thread(target=work, args=(cpu,)) for _ in range(3)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
    )
    workload = Workload(argv=(sys.executable, "-S", "-c", script))
    trial = seeing.run(workload, fair().with_values({"affinity": "cpus_1"}), seed=1)
    assert forces(trial) == {"affinity": Force.IN_FORCE}


@needs_root
def test_a_command_that_leaves_its_control_group_is_out_of_its_reach(backend):
    if "cpuset" not in fair(include=["all"]).parameters:
        pytest.skip("no cpusets here")
    assert forces(run(backend, MUCH, cpuset="cpus_1")) == {"cpuset": Force.IN_FORCE}
    leave = (
        "for root in /sys/fs/cgroup /sys/fs/cgroup/cpuset; do echo $$ > $root/cgroup.procs; done 2> /dev/null"
    )
    assert forces(run(backend, f"{leave}; {MUCH}", cpuset="cpus_1")) == {"cpuset": Force.UNDONE}


def test_what_was_looked_at_too_little_is_not_checked(tmp_path):
    """Many short children, none of which is there when somebody looks."""
    with HostBackend(journal=Journal(tmp_path / "state")) as opened:
        opened._settings = SettingsWatch(ends=False)
        trial = run(opened, "exec true", nice=5)
    assert trial.validity is Validity.OK
    assert forces(trial)["nice"] in (Force.NOT_CHECKED, Force.IN_FORCE)  # its exec may have been looked at


def test_what_could_not_be_checked_is_undone_where_the_command_line_undoes_it():
    found = {"nice": SettingFinding(Force.NOT_CHECKED), "policy": SettingFinding(Force.NOT_CHECKED)}
    texts = settled(found, Workload(argv=("nice", "-n", "3", "true")))
    assert {name: Force.of(text) for name, text in texts.items()} == {
        "nice": Force.UNDONE,
        "policy": Force.NOT_CHECKED,
    }
    assert "`nice -n 3`" in texts["nice"]


@pytest.mark.parametrize(
    ("script", "force"),
    [
        ("nice ./helper; ./bench", Force.NOT_CHECKED),
        ("./bench & nice ./helper", Force.NOT_CHECKED),
        ("cd x; nice ./bench; echo done", Force.UNDONE),
        ("renice -n 5 $$; ./bench", Force.UNDONE),
    ],
)
def test_a_helper_beside_the_work_undoes_nothing_that_could_not_be_checked(script, force):
    texts = settled({"nice": SettingFinding(Force.NOT_CHECKED)}, Workload(argv=("sh", "-c", script)))
    assert Force.of(texts["nice"]) is force


@pytest.fixture
def service():
    process = subprocess.Popen(["sh", "-c", "while true; do :; done"])
    yield process
    process.kill()
    process.wait()


@needs_root
def test_a_service_is_looked_at_while_its_load_runs(backend, service):
    target = Target(Scope.PID, pid=service.pid)
    backend.target, values = target, {"nice": 5}
    backend._service_started = HostBackend(target)._service_started
    chosen = fair(target, include=list(values)).with_values(values)
    kept = backend.run(Workload(argv=("sleep", "0.3")), chosen, seed=1)
    assert forces(kept) == {"nice": Force.IN_FORCE}
    undo = f"renice -n 1 -p {service.pid} > /dev/null; sleep 0.5"
    undone = backend.run(Workload(argv=(undo,), shell=True), chosen, seed=1)
    assert (undone.validity, forces(undone)) == (Validity.FAILED, {"nice": Force.UNDONE})


def test_what_a_daemon_does_that_the_command_leaves_behind_counts_too(seeing):
    """It loses its parent, and is the launcher's child then."""
    trial = run(seeing, f"setsid sh -c '{MUCH}{MUCH.replace('i=0', '; i=0')}' & sleep 0.2", nice=5)
    assert forces(trial) == {"nice": Force.IN_FORCE}
    trial = run(seeing, f"setsid nice -n 3 sh -c '{MUCH}' & sleep 0.2", nice=5)
    assert forces(trial) == {"nice": Force.UNDONE}
