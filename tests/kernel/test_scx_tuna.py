"""scx_tuna in guests: it loads, its parameters come and go, its bounds hold, and it leaves with a reason."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.backend.places.guest import Guest
from schedtuna.errors import UnavailableError
from schedtuna.lab.boot import boot
from schedtuna.lab.build.compiler import host_clang
from schedtuna.lab.build.kernels import version_key
from schedtuna.lab.layers import guest_program
from schedtuna.lab.vm import GuestSpec
from schedtuna.resources import resource_path
from schedtuna.scheduler import tuna
from schedtuna.scheduler.scx import SchedulerError, ScxProcess, read_state

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "bpf/sched/scx_tuna.bpf.c"
LOADS = Path(__file__).with_name("tuna_loads.py")
CPUS = 2
PARAMETERS = [name.upper() for name in tuna.DEFAULTS]
BUGS = {  # what is built wrong -> the load that shows it, and the words that it leaves with
    "BUG_NEVER_CONSUMED": ("sleep 8", "ms in queue"),
    "BUG_STUCK_LOCAL": (
        "/tmp/hog & /tmp/hog & sleep 8",
        "in the local queue of CPU 1",
    ),
    "BUG_TIMER_DEAD": ("sleep 10", "the watch stands still"),
    "BUG_NEVER_INSERTED": ("cp /tmp/hog /tmp/lost; /tmp/lost & sleep 30", "stall"),
}


def kernels():
    """The lab's newest kernel for every change, its oldest for the long tests."""
    try:
        found = sorted(lab_or_skip().kernels, key=version_key)
    except pytest.skip.Exception:
        return [None]
    older = [pytest.param(one, marks=pytest.mark.long) for one in found[:-1]]
    return [*older, found[-1]]


@pytest.fixture(scope="module")
def bpf_object():
    try:
        return resource_path("native/scx_tuna.bpf.o")
    except UnavailableError:
        pytest.skip("built without clang 17 or newer")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Compiles it with other definitions."""
    clang = host_clang()
    if clang is None:
        pytest.skip("no clang 17 or newer")
    folder = tmp_path_factory.mktemp("objects")
    (folder / "bpf").symlink_to(ROOT / "third_party/libbpf/src")

    def compile_with(definition):
        file = folder / f"{definition.lower()}.bpf.o"
        options = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", f"-D{definition}", "-D__TARGET_ARCH_x86"]
        includes = [f"-I{folder}", f"-I{ROOT / 'include'}"]
        subprocess.run([clang, *options, *includes, "-c", SOURCE, "-o", file], check=True)
        return file

    return compile_with


@pytest.fixture(scope="module", params=kernels())
def running(request, bpf_object, tmp_path_factory):
    """Start it in a guest; gives what carries out orders of tuna_loads.py there."""
    share = tmp_path_factory.mktemp("share")
    shutil.copy(LOADS, share)
    spec = GuestSpec(cpus=CPUS, programs=(bpf_object,), share=share, kernel=request.param)
    guest, _ = boot(lab_or_skip(), spec)
    scheduler = Guest().scheduler(str(bpf_object))

    def order(*orders):
        words = json.dumps([list(one) for one in orders])
        done = guest.run(["sh", "-c", f"python3 /share/{LOADS.name} <<'E'\n{words}\nE"], folder="/")
        assert done.exit_code == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    with guest, ScxProcess(guest, scheduler, guest_program(bpf_object), cpu_s=guest.cpu_s) as process:
        yield order
        assert process.ejected() == ""


def test_parameters_come_back_and_count_their_decisions(running):
    before, version, _, after = running(
        ("in_force",),
        ("set", {"slice_us": 8000, "sticky_cpu": True}),
        ("hogs", 2, 0.3, [0], [1]),
        ("in_force",),
    )
    assert before["values"] == tuna.DEFAULTS
    assert version == before["version"] + 1 == after["version"]
    assert after["values"] == {**tuna.DEFAULTS, "slice_us": 8000, "sticky_cpu": True}
    assert after["decisions"] > 0


def test_the_kernels_side_refuses_what_is_out_of_bounds_and_goes_on_with_what_held(running):
    values = {"slice_us": 5}
    _, version, _, seen, good, last = running(
        ("set", {"slice_us": 20000, "sticky_cpu": False}),
        ("set_raw", values),
        ("hogs", 2, 0.3, [0], [1]),
        ("in_force",),
        ("set", {"slice_us": 20000}),
        ("in_force",),
    )
    assert (seen["version"], seen["refused"]) == (version, True)
    assert (last["version"], last["refused"]) == (good, False)


def test_weights_are_the_kernels_or_compressed_or_none(running):
    def share(values):
        _, (first, second) = running(("set", values), ("hogs", 2, 3, [0, 10], [1]))
        return first["cpu_s"] / second["cpu_s"]

    native, compressed = share({"native_priority": True}), share({"native_priority": False})
    equal = share({"native_priority": True, "rr_sched": True})
    running(("set", {"slice_us": 20000, "native_priority": False, "rr_sched": False}))
    assert 6 < native < 12
    assert 1.3 < compressed < 2.2
    assert 0.8 < equal < 1.25


def test_weights_of_cgroups_hold_for_the_groups_not_for_their_tasks(running):
    groups = {"a": (300, 1), "b": (100, 3), "c": (200, 0), "c/d": (100, 1), "c/e": (300, 1)}
    _, found, _ = running(
        ("set", {"slice_us": 4000}), ("groups", groups, 3, [1]), ("set", {"slice_us": 20000})
    )
    total = sum(found.values())
    expected = {"a": 3 / 6, "b": 1 / 6, "c": 0, "c/d": 2 / 6 / 4, "c/e": 2 / 6 * 3 / 4}
    assert {path: share / total for path, share in found.items()} == pytest.approx(expected, abs=0.1)


def test_flips_of_the_order_leave_nobody_behind(running):
    _, state = running(("flip", 40), ("state",))
    assert state == "enabled"


def test_a_cpu_may_go_and_come_back(running):
    *_, found, state = running(("hotplug", 1), ("hogs", 2, 0.5, [0], [1]), ("state",))
    assert state == "enabled"
    assert all(one["cpu_s"] > 0 for one in found)


def test_free_tasks_leave_a_cpu_that_a_real_time_task_takes(running):
    found, stats, state = running(("rt", 1, 1.5), ("stats",), ("state",))
    assert state == "enabled"
    assert all(one["longest_s"] < 1 for one in found)
    assert stats["nr_no_storage"] == 0


@pytest.mark.long
def test_nobody_waits_for_a_second_at_64_tasks_per_cpu(running):
    found, stats = running(("hogs", 64 * CPUS, 6, [0, 19, -20], None), ("stats",))
    assert max(one["longest_s"] for one in found) < 1
    assert stats["nr_overdue"] > 0


@pytest.mark.long
@pytest.mark.parametrize("slice_ms", [8, 20, 100])
def test_two_hogs_are_switched_once_per_slice(running, slice_ms):
    _, found = running(("set", {"slice_us": slice_ms * 1000}), ("hogs", 2, 6, [0], [1]))
    per_s = sum(one["switches"] for one in found) / sum(one["cpu_s"] for one in found)
    assert per_s == pytest.approx(1000 / slice_ms, rel=0.15)


@pytest.mark.long
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_ends_it_by_the_named_path(build, bug):
    file = build(bug)
    load, words = BUGS[bug]
    guest, _ = boot(lab_or_skip(), GuestSpec(cpus=CPUS, programs=(file,)))
    spin = "printf '#!/bin/sh\\nwhile :; do :; done\\n' > /tmp/hog; chmod +x /tmp/hog"
    with guest:
        guest.run(["sh", "-c", spin], folder="/")
        try:
            with ScxProcess(
                guest, Guest().scheduler(str(file)), guest_program(file), cpu_s=guest.cpu_s
            ) as process:
                guest.run(["sh", "-c", load], folder="/")
                deadline = time.monotonic() + 60
                while not process.ejected() and time.monotonic() < deadline:
                    time.sleep(0.5)
                said = process.log()
        except SchedulerError as error:  # it may be gone before its start is over
            said = str(error)
        assert words in said
        assert read_state(guest).state == "disabled"


@pytest.mark.long
@pytest.mark.parametrize("parameter", PARAMETERS)
def test_it_can_be_built_without_a_parameter(build, parameter):
    assert build(f"NO_{parameter}").is_file()
