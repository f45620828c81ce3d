"""Schedulers that are bare BPF objects: named, put in charge of a guest, and refused with the reason."""

import json
import shutil
import signal

import pytest
from tests.kernel.lab_guest import await_that, build_fifo, lab_or_skip, whole_log

from schedtuna.backend.base import Validity
from schedtuna.backend.places.guest import Guest
from schedtuna.backend.vm import VmBackend
from schedtuna.errors import UsageError
from schedtuna.kernel.sched_ext import scheduler_name
from schedtuna.lab.boot import boot
from schedtuna.lab.deterministic.trials import Deterministic, DeterministicSpec
from schedtuna.lab.layers import guest_program
from schedtuna.lab.vm import GuestSpec
from schedtuna.scheduler.arguments import command_line
from schedtuna.scheduler.scx import SchedulerError, ScxProcess, exit_reason, read_state
from schedtuna.scheduler.stats import SOCKET
from schedtuna.scheduler.watch import Watch
from schedtuna.workload.spec import Workload


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Compiles the scheduler with a name, and other definitions."""
    folder = tmp_path_factory.mktemp("objects")
    return lambda name, *definitions: build_fifo(folder, name, *definitions)


@pytest.fixture(scope="module")
def fifo(build):
    return build("own_fifo")


@pytest.fixture(scope="module")
def foreseeing(build):
    return build("own_seer", "FORESEES")


@pytest.fixture(scope="module")
def strange(build):
    return build("own_strange", "STRANGE")


@pytest.fixture(scope="module")
def guest(fifo, foreseeing, strange):
    booted, _ = boot(lab_or_skip(), GuestSpec(cpus=2, programs=(fifo, foreseeing, strange)))
    with booted:
        yield booted


def start(guest, file, settings=""):
    scheduler = Guest().scheduler(f"{file}{settings}")
    return ScxProcess(guest, scheduler, guest_program(file), cpu_s=guest.cpu_s)


def ask(guest, request, **arguments):
    """Ask the loader on its socket; returns the error number, and what it says."""
    script = (
        "import json, socket, sys\nline = socket.socket(socket.AF_UNIX)\nline.connect(sys.argv[1])\n"
        "line.sendall(sys.argv[2].encode() + b'\\n')\nprint(line.makefile().readline())"
    )
    text = json.dumps({"req": request, "args": arguments})
    raw = guest.run(["python3", "-I", "-S", "-c", script, SOCKET, text], folder="/")
    assert raw.exit_code == 0, raw.stderr
    answer = json.loads(raw.stdout)
    return answer["errno"], answer["args"]["resp"]


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


def test_its_variables_are_its_settings(fifo):
    parameters = Guest().scheduler(str(fifo)).parameters
    assert set(parameters) == {"does_exit", "exit_code", "slice_us"}
    assert (parameters["does_exit"].default, parameters["exit_code"].default) == (False, 5)
    assert (parameters["slice_us"].min_value, parameters["slice_us"].max_value) == (0, 2**32 - 1)
    chosen = Guest().scheduler(f"{fifo}:does_exit=true,slice_us=20000")
    assert chosen.label() == "own_fifo:does_exit=true,slice_us=20000"
    assert command_line(chosen) == ["--ops-name=own_fifo", "--does_exit=true", "--slice_us=20000"]
    with pytest.raises(UsageError, match="unknown parameter 'slice_ns'"):
        Guest().scheduler(f"{fifo}:slice_ns=1")
    with pytest.raises(UsageError, match="slice_us=-1: out of bounds"):
        Guest().scheduler(f"{fifo}:slice_us=-1")


def test_it_is_in_charge_with_the_kernels_constants_and_goes_again(guest, fifo):
    with start(guest, fifo) as running:
        assert running.started.ops == "own_fifo"
        with Watch(running, "own_fifo", {}) as watch:
            assert guest.run(["hackbench", "-g", "1", "-l", "30"], folder="/").exit_code == 0
            watch.look()
        assert watch.ejected() == ""  # with a DSQ and a slice of 0 the kernel throws it out
        assert watch.covariates["scx.nr_enqueued"] > 100
    assert read_state(guest).state == "disabled"
    assert "EXIT: unregistered from user space" in whole_log(guest, running.pid)
    assert guest.status(running.pid) == 0


def test_its_variables_are_set_while_it_is_in_charge_and_its_constants_are_not(guest, fifo):
    with start(guest, fifo, ":slice_us=8000,exit_code=7") as running:
        values = {"does_exit": 0, "exit_code": 7, "slice_us": 8000}
        assert ask(guest, "settings") == (0, {"values": values})
        assert ask(guest, "set", slice_us="20000") == (0, {"slice_us": 20000})
        for asked, words in (
            ({"exit_code": "1"}, "exit_code is a constant of the loaded object"),
            ({"slice_us": "1", "exit_code": "1"}, "exit_code is a constant of the loaded object"),
            ({"slice_us": "x"}, "slice_us=x: expected a whole number"),
            ({"slice_us": str(2**32)}, "out of bounds, expected 0 to 4294967295"),
            ({"slice_ns": "1"}, "has no setting 'slice_ns'"),
        ):
            number, said = ask(guest, "set", **asked)
            assert (number, words in said) == (22, True), said
        assert ask(guest, "reset")[0] == 22
        assert ask(guest, "settings")[1]["values"]["slice_us"] == 20000
        assert guest.run(["stat", "-c", "%a", SOCKET], folder="/").stdout == "600\n"
        assert running.ejected() == ""
    assert guest.run(["test", "-e", SOCKET], folder="/").exit_code == 1


def test_an_ejection_is_told_with_the_kernels_reason_whenever_it_is_looked_for(guest, fifo):
    with start(guest, fifo) as running:
        guest.run(["sh", "-c", "echo S > /proc/sysrq-trigger"], folder="/")
        await_that(guest, lambda: read_state(guest).state == "disabled", "the ejection")
    # It was told to end at once, and still says what the kernel told it before.
    assert "disabled by sysrq-S" in exit_reason(whole_log(guest, running.pid))
    assert guest.status(running.pid) == 1
    assert "exited with code 1" in running.ejected()


@pytest.mark.parametrize(
    ("code", "words"), [(18, ["EXIT CODE: 0x12"]), (0, ["DEBUG DUMP", "CPU states", "scx_bpf_error"])]
)
def test_an_exit_of_its_own_is_told_with_its_code_and_an_error_with_the_kernels_dump(
    guest, fifo, code, words
):
    scheduler = Guest().scheduler(f"{fifo}:does_exit=true,exit_code={code}")
    pid = guest.spawn([guest_program(fifo), *command_line(scheduler)])
    log = whole_log(guest, pid)
    assert f"told to with {code}" in exit_reason(log)
    assert all(word in log for word in words), log
    assert ("DEBUG DUMP" in log) == (code == 0)
    assert guest.status(pid) == 1


def test_the_scheduler_goes_with_what_loaded_it(guest, fifo):
    with start(guest, fifo) as running:
        guest.signal(running.pid, signal.SIGKILL)
        await_that(guest, lambda: guest.status(running.pid) is not None, "the end of the loader")
        await_that(guest, lambda: read_state(guest).state == "disabled", "the kernel's own scheduler")
        assert running.ejected() == "sched_ext is disabled, its program was ended by SIGKILL"
    with start(guest, fifo) as running:  # the socket that it left behind is in nobody's way
        assert ask(guest, "settings")[0] == 0


def test_what_this_kernel_does_not_call_is_left_out_and_said(guest, foreseeing):
    with start(guest, foreseeing) as running:
        assert running.started.ops == "own_seer"
        assert guest.log(running.pid).startswith("this kernel does not call foresee: left out\n")


def test_it_is_called_as_it_is_told_to(guest, fifo):
    renamed = Guest().scheduler(str(fifo)).model_copy(update={"name": "scx_renamed"})
    with ScxProcess(guest, renamed, guest_program(fifo), cpu_s=guest.cpu_s) as running:
        assert running.started.ops == "scx_renamed"
    pid = guest.spawn([guest_program(fifo), "--ops-name=scx renamed"])
    assert "can't be called 'scx renamed'" in whole_log(guest, pid)


def test_an_object_that_others_can_write_is_not_loaded(guest, fifo):
    place = f"/usr/lib/schedtuna/objects/{fifo.name}"
    guest.run(["chmod", "666", place], folder="/")
    try:
        with pytest.raises(SchedulerError, match="would be loaded with privilege, but others can write it"):
            start(guest, fifo)
    finally:
        guest.run(["chmod", "644", place], folder="/")


def test_an_object_for_another_kernel_says_what_is_missing(guest, strange):
    with pytest.raises(
        SchedulerError, match=r"did not start(?s:.*)scx_bpf_foresee(?s:.*)not found in kernel"
    ):
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
