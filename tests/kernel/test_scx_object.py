"""Schedulers that are bare BPF objects: named, put in charge of a guest, and refused with the reason."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.backend.base import Validity
from schedtuna.backend.places.guest import Guest
from schedtuna.backend.vm import VmBackend
from schedtuna.errors import UsageError
from schedtuna.kernel.sched_ext import scheduler_name
from schedtuna.lab.boot import boot
from schedtuna.lab.deterministic.trials import Deterministic, DeterministicSpec
from schedtuna.lab.layers import guest_program
from schedtuna.lab.vm import GuestSpec
from schedtuna.scheduler.scx import SchedulerError, ScxProcess, exit_reason, read_state
from schedtuna.workload.spec import Workload

SOURCE = Path(__file__).with_name("bpf") / "fifo.bpf.c"


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Compiles the scheduler with a name, and other definitions."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("no clang")
    folder = tmp_path_factory.mktemp("objects")

    def compile_as(name, *definitions):
        file = folder / f"{name}.bpf.o"
        options = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Wno-unused-parameter"]
        defined = [f"-D{text}" for text in (f'NAME="{name}"', *definitions)]
        subprocess.run([clang, *options, *defined, "-c", SOURCE, "-o", file], check=True)
        return file

    return compile_as


@pytest.fixture(scope="module")
def fifo(build):
    return build("own_fifo")


@pytest.fixture(scope="module")
def strange(build):
    return build("own_strange", "STRANGE")


@pytest.fixture(scope="module")
def guest(fifo, strange):
    booted, _ = boot(lab_or_skip(), GuestSpec(cpus=2, programs=(fifo, strange)))
    with booted:
        yield booted


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


def start(guest, file):
    scheduler = Guest().scheduler(str(file))
    return ScxProcess(guest, scheduler, guest_program(file), cpu_s=guest.cpu_s)


def test_an_object_is_named_as_the_kernel_names_its_scheduler(fifo, tmp_path):
    renamed = tmp_path / "anything.bpf.o"
    shutil.copy(fifo, renamed)
    assert scheduler_name(renamed) == "own_fifo"
    assert Guest().scheduler(str(renamed)).label() == "own_fifo"


def test_what_is_not_a_scheduler_is_refused_before_anything_runs(build, tmp_path):
    with pytest.raises(UsageError, match="no sched_ext scheduler"):
        scheduler_name(build("none", "NO_SCHEDULER"))
    with pytest.raises(UsageError, match="is named 'a b'"):
        scheduler_name(build("a b"))
    (tmp_path / "noise.bpf.o").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(UsageError, match="is not a BPF object"):
        scheduler_name(tmp_path / "noise.bpf.o")
    with pytest.raises(UsageError, match="can't be read"):
        scheduler_name(tmp_path / "absent.bpf.o")


def test_it_is_in_charge_with_the_kernels_constants_and_goes_again(guest, fifo):
    with start(guest, fifo) as running:
        assert running.started.ops == "own_fifo"
        assert guest.run(["hackbench", "-g", "1", "-l", "30"], folder="/").exit_code == 0
        assert running.ejected() == ""  # with a DSQ and a slice of 0 the kernel throws it out
    assert read_state(guest).state == "disabled"
    wait_until(lambda: guest.status(running.pid) is not None)  # only then has it written its last line
    assert guest.status(running.pid) == 0
    assert "EXIT: unregistered" in guest.log(running.pid)


def test_an_ejection_is_told_with_the_kernels_reason(guest, fifo):
    with start(guest, fifo) as running:
        guest.run(["sh", "-c", "echo S > /proc/sysrq-trigger"], folder="/")
        wait_until(lambda: guest.status(running.pid) is not None)
        assert "exited with code 1" in running.ejected()
        assert "disabled by sysrq-S" in exit_reason(running.log())
    assert read_state(guest).state == "disabled"


def test_the_scheduler_goes_with_what_loaded_it(guest, fifo):
    with start(guest, fifo) as running:
        guest.signal(running.pid, signal.SIGKILL)
        wait_until(lambda: read_state(guest).state == "disabled" and guest.status(running.pid) is not None)
        assert running.ejected() == "sched_ext is disabled, its program was ended by SIGKILL"


def test_an_object_for_another_kernel_says_what_is_missing(guest, strange):
    with pytest.raises(SchedulerError, match=r"did not start(?s:.*)Cannot find member foresee"):
        start(guest, strange)
    assert read_state(guest).state == "disabled"


def test_trials_run_under_it(fifo):
    scheduler = Guest().scheduler(str(fifo))
    with VmBackend(lab=lab_or_skip()) as backend:
        trial = backend.run(Workload(argv=("hackbench", "-g", "1", "-l", "20")), scheduler, seed=1)
    assert (trial.validity, trial.scheduler) == (Validity.OK, "own_fifo"), trial.reason


@pytest.mark.long
def test_deterministic_runs_are_under_it(fifo, tmp_path):
    scheduler = Guest().scheduler(str(fifo))
    argv = ("cat", "/sys/kernel/sched_ext/root/ops")
    spec = DeterministicSpec(argv, scheduler=scheduler, scheduler_program=fifo)
    machine = Deterministic(lab_or_skip(), spec, cache=tmp_path)
    first, second = machine.run(1), machine.run(1)
    assert (first.raw.stdout, first.ejected) == ("own_fifo\n", "")
    assert first.hash == second.hash
    shutil.rmtree(tmp_path)
