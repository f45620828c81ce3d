"""The machine-wide knobs of a kernel newer than this one, in a guest that has two last-level caches."""

import pytest
from tests.kernel.guest_python import run_script, shared_package
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.knobs.settings import FILE_KNOBS
from schedtuna.lab.boot import boot
from schedtuna.lab.qemu import program
from schedtuna.lab.vm import GuestSpec

# The contract of each, what is there, and whether undo finds each CPU's own value after a kill between two.
SCRIPT = """
import json, os, signal
from pathlib import Path
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.conformance import check_knob
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.registry import knob_named
from schedtuna.knobs.session import Changes
from schedtuna.knobs.settings import FILE_KNOBS
from schedtuna.knobs.undo import undo
from schedtuna.machine.checks.realtime import check_rt_throttling
from schedtuna.machine.probe import Probe
from schedtuna.machine.topology import topology_now

machine, found = Target(Scope.MACHINE), {}
for knob in FILE_KNOBS:
    try:
        found[knob.name] = [check_knob(knob, machine, Journal()), knob.probe(machine).reason]
    except Exception as error:
        found[knob.name] = [False, repr(error)]
killed = {}
server = knob_named("fair_server_runtime_us")
if found[server.name][0]:
    server.files()[0].write_text("20000000")
    before = [path.read_text() for path in server.files()]
    if (child := os.fork()) == 0:
        def on_step(name):
            if name.endswith("between two files"):
                os.kill(os.getpid(), signal.SIGKILL)
        Changes(machine, Journal(on_step=on_step)).apply({server.name: 100_000})
        os._exit(0)
    os.waitpid(child, 0)
    left = [path.read_text() for path in server.files()]
    results = sorted({str(outcome.result) for outcome in undo(Journal())})
    killed = {"before": before, "left": left, "results": results,
              "after": [path.read_text() for path in server.files()]}
    server.files()[0].write_text("50000000")
sched = Path("/sys/kernel/debug/sched")
print(json.dumps({
    "knobs": found, "killed": killed, "llcs": len(topology_now().llcs),
    "there": [str(path.relative_to(sched)) for path in sched.rglob("*")],
    "features": (sched / "features").read_text().split(),
    "real_time": check_rt_throttling(Probe.live()).seen,
}))
"""
IN_DEBUGFS = {
    "cgroup_mode": "cgroup_mode",
    "llc_balancing": "llc_balancing/enabled",
    "llc_aggr_tolerance": "llc_balancing/aggr_tolerance",
    "llc_overaggr_pct": "llc_balancing/overaggr_pct",
    "llc_imb_pct": "llc_balancing/imb_pct",
    "llc_epoch_period_ticks": "llc_balancing/epoch_period",
    "llc_epoch_affinity_timeout": "llc_balancing/epoch_affinity_timeout",
    "fair_server_runtime_us": "fair_server/cpu0/runtime",
    "ext_server_runtime_us": "ext_server/cpu0/runtime",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    lab = lab_or_skip()
    share = shared_package(lab, tmp_path_factory.mktemp("share"))
    (share / "lib/knobs.py").write_text(SCRIPT)
    options = program.bare_options
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            program,
            "bare_options",
            lambda **asked: ["-smp", "sockets=2", *options(**asked)],  # QEMU merges the two -smp
        )
        booted, _ = boot(lab, GuestSpec(cpus=2, memory_mib=1536, share=share))
    with booted:
        return run_script(booted, "knobs.py")


def test_every_knob_that_the_kernel_has_keeps_the_contract(found):
    assert set(found["knobs"]) == {knob.name for knob in FILE_KNOBS}
    for name, path in IN_DEBUGFS.items():
        assert found["knobs"][name][0] == (path in found["there"]), found["knobs"][name]
    for name, (ok, reason) in found["knobs"].items():
        assert ok or reason.startswith(("this kernel", "energy_aware", "it does nothing")), (name, reason)


def test_features_are_offered_where_the_kernel_has_them(found):
    for name in ("NEXT_BUDDY", "HRTICK"):
        there = bool({name, f"NO_{name}"} & set(found["features"]))
        assert found["knobs"][f"feature_{name.lower()}"][0] == there


def test_each_cpu_gets_its_own_value_back_after_a_kill_between_two(found):
    killed = found["killed"]
    if not killed:
        pytest.skip("the lab's kernel has no fair server")
    assert sorted(killed["before"]) == ["20000000\n", "50000000\n"]
    assert killed["left"] != killed["before"]
    assert (killed["results"], killed["after"]) == (["restored"], killed["before"])


def test_the_doctor_tells_what_bounds_real_time_tasks_there(found):
    if "fair_server" in found["there"]:
        assert "normal tasks keep 5% of each CPU" in found["real_time"]
