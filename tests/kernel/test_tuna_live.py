"""scx_tuna's parameters, set by name: at the start, while it is in charge, and what is refused."""

import pytest
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.backend.places.guest import Guest
from schedtuna.errors import SpaceError, UnavailableError, UsageError
from schedtuna.lab.boot import boot
from schedtuna.lab.layers import guest_program
from schedtuna.lab.vm import GuestSpec
from schedtuna.scheduler import tuna
from schedtuna.scheduler.live import ask, change, read_live
from schedtuna.scheduler.objects import own_objects
from schedtuna.scheduler.scx import ScxProcess
from schedtuna.scheduler.watch import Watch

PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def program():
    if not own_objects():
        pytest.skip("built without clang 17 or newer")
    return own_objects()["scx_tuna"]


@pytest.fixture(scope="module")
def guest(program):
    booted, _ = boot(lab_or_skip(), GuestSpec(cpus=2, programs=(program,)))
    with booted:
        yield booted


def test_parameters_are_set_at_the_start_and_while_it_is_in_charge(guest, program):
    place = Guest(cpus=2)
    chosen = place.scheduler("scx_tuna:slice_us=8000,sticky_cpu=true,cpu_util_threshold=0.5,sticky_wait_ns=7")
    with ScxProcess(guest, chosen, guest_program(program), cpu_s=guest.cpu_s) as running:
        assert running.started.ops == "scx_tuna"
        at_first = read_live(guest, PYTHON)
        set_then = {"slice_us": 8000, "sticky_cpu": True, "cpu_util_threshold": 0.5}
        assert at_first.changed == set_then
        assert (at_first.version, at_first.refused, at_first.values["sticky_wait_ns"]) == (2, False, 7)
        with Watch(running, "scx_tuna", {}) as watch:
            assert guest.run(["hackbench", "-g", "1", "-l", "20"], folder="/").exit_code == 0
            watch.look()
        assert watch.covariates["scx.nr_enqueue"] > 100

        later = read_live(guest, PYTHON)
        assert later.nr_decisions > at_first.nr_decisions
        assert later.since_s > (at_first.since_s or 0)
        # What is named is set, also to its default; the rest stays.
        wanted = place.scheduler(
            "scx_tuna:slice_us=2000,sticky_cpu=false,aggressive_gpu_tasks=true", stated=True
        )
        now, idle = change(guest, PYTHON, wanted)
        assert now.changed == {"slice_us": 2000, "cpu_util_threshold": 0.5, "aggressive_gpu_tasks": True}
        assert (now.version, now.since_s is None or now.since_s < later.since_s) == (3, True)
        assert idle["aggressive_gpu_tasks"].startswith("all CPUs are equally fast")
        assert idle["slice_us"].startswith("slices end at ticks of")

        refused(guest, place)
        assert read_live(guest, PYTHON).changed == now.changed
        assert running.ejected() == ""


def refused(guest, place):
    """What can't be set is said, by whoever is asked first, and sets nothing."""
    change(guest, PYTHON, place.scheduler("scx_tuna:rr_sched=true"))
    with pytest.raises(SpaceError, match="rr_sched looks at no weights"):
        change(guest, PYTHON, place.scheduler("scx_tuna:native_priority=true"))
    change(guest, PYTHON, place.scheduler("scx_tuna:rr_sched=false", stated=True))
    with pytest.raises(UnavailableError, match="scx_tuna is in charge, not scx_flashyspark"):
        change(guest, PYTHON, place.scheduler("scx_flashyspark:slice_us=5000"))
    for values, words in (
        ({"slice_us": "500"}, "slice_us=500: out of bounds"),
        ({"slice_us": "5000", "cpu_util_threshold": "2"}, "cpu_util_threshold=2.0: out of bounds"),
        ({"scheduling_policy": "fast"}, "expected one of default"),
        ({"rr_sched": "perhaps"}, "rr_sched=perhaps"),
        ({"leave_after_ms": "1"}, "is a constant of the loaded object"),
    ):
        with pytest.raises(UsageError, match=words):
            ask(guest, PYTHON, "set", values)


def test_by_its_other_name_it_has_the_same_parameters(guest, program):
    chosen = Guest(cpus=2).scheduler("scx_flashyspark:rr_sched=true")
    with ScxProcess(guest, chosen, guest_program(program), cpu_s=guest.cpu_s) as running:
        assert running.started.ops == "scx_flashyspark"
        found = read_live(guest, PYTHON)
        assert found.changed == {"rr_sched": True}
        assert found.values.keys() >= tuna.DEFAULTS.keys()
