"""`schedtuna schedulers start, switch, stop` and `undo`, run inside a guest whose kernel has sched_ext."""

import json

import pytest
from tests.kernel.guest_python import run_in, run_script, shared_package
from tests.kernel.lab_guest import build_fifo, lab_or_skip, schedulers_or_skip

from schedtuna.lab.boot import boot
from schedtuna.lab.vm import GuestSpec

PATIENT = ("--within", "5m")  # a guest may get little of a CPU
# Trials on the machine itself: in charge, ejected by a SysRq, and back under the kernel's own scheduler.
TRIALS = """
import sys
from schedtuna.backend.host import HostBackend
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import Workload

load = Workload(argv=("hackbench", "-g", "1", "-l", "20"))
eject = Workload(argv=("echo S > /proc/sysrq-trigger; sleep 1",), shell=True)
theirs, fair = SchedulerConfig(name=sys.argv[1]), SchedulerConfig(name="fair")
with HostBackend() as backend:
    trials = [backend.run(w, s, seed=1) for w, s in ((load, theirs), (eject, theirs), (load, fair))]
print("[" + ",".join(trial.model_dump_json() for trial in trials) + "]")
"""


@pytest.fixture(scope="module")
def lab():
    return lab_or_skip()


@pytest.fixture(scope="module")
def programs(lab):
    return schedulers_or_skip(lab, 2)


@pytest.fixture(scope="module")
def guest(lab, programs, tmp_path_factory):
    share = shared_package(lab, tmp_path_factory.mktemp("share"))
    build_fifo(share, "own_fifo")
    booted, _ = boot(lab, GuestSpec(cpus=2, memory_mib=2048, programs=tuple(programs.values()), share=share))
    with booted:
        yield booted


def test_a_scheduler_is_started_swapped_and_undone_also_after_a_kill(guest, programs):
    first, second = programs
    results = run_in(
        guest,
        ("schedulers", "start", first),
        ("schedulers", "start", second),
        ("schedulers", "switch", second, "--json"),
        ("schedulers", "status", "--json"),
        ("schedulers", "stop"),
        ("schedulers", "status", "--json"),
        ("killed at scheduler: before the change", "schedulers", "start", first),
        ("undo", "--json"),
        ("killed at scheduler: after the change", "schedulers", "start", first),
        ("undo", "--json"),
        ("schedulers", "status", "--json"),
    )
    started, refused, switched, status, stopped, gone, *killed = results
    assert started[0] == 0, started
    assert f"{first} is in charge" in started[1]
    assert refused[0] == 3
    assert "switch NAME" in refused[1]
    cost = json.loads(switched[1])
    assert cost["disable_s"] > 0
    assert cost["enable_s"] > 0
    # Nobody was scheduled better than while nothing was swapped, and nobody stood still for the whole swap.
    assert 0 < cost["longest_stall_s"] < cost["disable_s"] + cost["enable_s"] + cost["usual_stall_s"]
    found = json.loads(status[1])
    assert (found["state"], found["started_by"], found["label"]) == ("enabled", "schedtuna", second)
    assert found["ops"].startswith(second.removeprefix("scx_"))
    assert f"{second} is stopped" in stopped[1]
    assert json.loads(gone[1])["state"] == "disabled"

    before, undone_before, after, undone_after, end = killed
    assert (before[0], after[0]) == (-9, -9), killed
    (never_ran,) = json.loads(undone_before[1])["changes"]
    assert never_ran["result"] == "gone"
    (was_starting,) = json.loads(undone_after[1])["changes"]
    assert was_starting["result"] in ("restored", "gone")
    assert json.loads(end[1])["state"] == "disabled"
    assert guest.read("/root/state/journal.jsonl") == ""


def test_an_object_is_started_with_its_settings_swapped_and_stopped(guest, programs):
    other, own = next(iter(programs)), "/share/own_fifo.bpf.o"
    results = run_in(
        guest,
        ("schedulers", "start", own, "slice_us=8000", *PATIENT),
        ("schedulers", "status", "--json"),
        ("schedulers", "switch", other, *PATIENT),
        ("schedulers", "switch", own, "slice_us=-1"),
        ("schedulers", "switch", own, *PATIENT),
        ("schedulers", "stop", "--json"),
        ("killed at scheduler: after the change", "schedulers", "start", own),
        ("undo", "--json"),
        ("schedulers", "status", "--json"),
    )
    started, status, _, refused, switched, stopped, killed, undone, end = results
    assert started == (0, "own_fifo:slice_us=8000 is in charge, as own_fifo\n")
    found = json.loads(status[1])
    assert (found["ops"], found["started_by"]) == ("own_fifo", "schedtuna")
    assert found["label"] == f"{own}:slice_us=8000"
    assert (refused[0], "out of bounds" in refused[1]) == (2, True)
    assert switched[0] == 0, switched
    assert json.loads(stopped[1]) == {"stopped": own}
    assert killed[0] == -9
    (was_starting,) = json.loads(undone[1])["changes"]
    assert was_starting["result"] in ("restored", "gone")
    assert json.loads(end[1])["state"] == "disabled"


def test_an_object_that_others_can_write_is_not_started(guest):
    own = "/share/own_fifo.bpf.o"
    guest.run(["chmod", "666", own], folder="/")
    ((code, said),) = run_in(guest, ("schedulers", "start", own))
    guest.run(["chmod", "644", own], folder="/")
    assert (code, "would run with privilege, but" in said) == (3, True), said


@pytest.mark.long
def test_trials_on_the_machine_itself_are_under_the_scheduler_or_ejected(lab, programs, tmp_path):
    name, program = next(iter(programs.items()))
    share = shared_package(lab, tmp_path / "share", numpy=True)
    (share / "lib/trials.py").write_text(TRIALS)
    guest, _ = boot(lab, GuestSpec(cpus=2, memory_mib=2048, programs=(program,), share=share))
    with guest:
        under_a_scheduler_or_ejected(guest, name)


def under_a_scheduler_or_ejected(guest, name):
    under, ejected, own = run_script(guest, "trials.py", name)
    assert (under["validity"], under["scheduler"]) == ("ok", name), under["reason"]
    assert under["metrics"]["wall_time_s"] > 0
    assert ejected["validity"] == "ejected"
    assert ejected["output_tail"]
    assert own["validity"] == "ok", own["reason"]
    assert guest.read("/sys/kernel/sched_ext/state") == "disabled\n"
    assert int(guest.read("/sys/kernel/sched_ext/enable_seq")) >= 2
