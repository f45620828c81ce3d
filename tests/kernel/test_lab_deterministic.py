"""Guests that do the same every time, and what a seed changes."""

import shutil
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.kernel.lab_guest import lab_or_skip, light_schedulers, schedulers_or_skip

from schedtuna.errors import UsageError
from schedtuna.lab.deterministic.orders import perturbation
from schedtuna.lab.deterministic.snapshot import MachineSpec, snapshot
from schedtuna.lab.deterministic.trials import Deterministic, DeterministicRun, DeterministicSpec, settle
from schedtuna.lab.errors import BootError, GuestError
from schedtuna.scheduler.scx import SchedulerError
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec, ParameterType
from schedtuna.workload.command import RawRun

# One machine for all commands of these tests: what a shell's text mentions decides what is in it.
MENTIONED = "# hackbench"
NOISY = "hackbench -g 1 -l 20; head -c 16 /dev/urandom | od -An -tx1; cat /proc/self/maps; date +%s"


@pytest.fixture(scope="module")
def lab():
    return lab_or_skip()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("snapshots")
    yield folder
    shutil.rmtree(folder)  # a hundred megabytes each


@pytest.fixture(scope="module")
def sh(lab, cache):
    programs = tuple(light_schedulers(lab).values())[:1]  # for all, so that one machine serves all

    def machine(text, **options):
        spec = DeterministicSpec(("sh", "-c", f"{text} {MENTIONED}"), programs=programs, **options)
        return Deterministic(lab, spec, cache=cache)

    return machine


def test_every_run_is_the_same_bits_and_another_seed_is_another_sample(sh):
    noisy = sh(NOISY)
    first, second, other = noisy.run(1), noisy.run(1), noisy.run(2)
    assert first.raw.exit_code == 0, first.raw.tail()
    assert (first.raw.stdout, first.guest_ns, first.nr_switches) == (
        second.raw.stdout,
        second.guest_ns,
        second.nr_switches,
    )
    assert first.hash == second.hash
    assert first.hash != other.hash
    assert first.guest_ns != other.guest_ns
    assert first.raw.stdout.splitlines()[3] != other.raw.stdout.splitlines()[3]  # random bytes
    assert first.hashes == (first.hash,)
    assert first.reproduced


def test_the_machine_is_booted_once(sh, cache):
    sh("true")
    before = set(cache.iterdir())
    assert sh("echo anything").saved.boot_s is None
    assert set(cache.iterdir()) == before
    assert {file.suffix for file in before} == {".mig"}


def test_exit_codes_signals_and_both_outputs_come_back(sh):
    raw = sh("echo out; echo err >&2; exit 7").run(1).raw
    assert (raw.exit_code, raw.stdout, raw.stderr) == (7, "out\n", "err\n")
    raw = sh("kill -SEGV $$").run(1).raw
    assert (raw.exit_code, raw.signal) == (None, signal.SIGSEGV)


def test_long_outputs_come_back_whole(sh):
    raw = sh("seq 20000; seq 5 >&2").run(1).raw
    assert raw.stdout == "".join(f"{number}\n" for number in range(1, 20001))
    assert raw.stderr == "1\n2\n3\n4\n5\n"


def test_time_is_the_guests_own(sh):
    run = sh("date +%F; sleep 300").run(1, timeout_s=400)
    assert run.raw.stdout == "2026-01-01\n"
    assert 300e9 <= run.guest_ns < 301e9
    assert run.raw.usage["wall_time_s"] == pytest.approx(run.guest_ns / 1e9, abs=0.01)
    busy = sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").run(1)
    assert busy.raw.usage["cpu_time_s"] == pytest.approx(busy.guest_ns / 1e9, rel=0.05)


def test_a_command_that_takes_too_long_is_ended_in_its_own_time(sh):
    raw = sh("while :; do :; done").run(1, timeout_s=0.3).raw
    assert raw.timed_out
    assert 0.3 <= raw.usage["wall_time_s"] < 1.0


def test_the_seed_reaches_the_command_and_starts_it_later(sh):
    machine = sh("echo {seed} $SCHEDTUNA_SEED $A; nproc; pwd; ls -A")
    assert machine.run(5, environment={"A": "b"}).raw.stdout == "5 5 b\n1\n/share\n"
    pids = {seed: int(sh("echo $PPID").run(seed).raw.stdout) for seed in (3, 4)}
    forks = {seed: perturbation(seed, 1).nr_forks for seed in pids}
    assert abs(forks[4] - forks[3]) > 10
    # Threads of the kernel that start meanwhile take ids, too.
    assert pids[4] - pids[3] == pytest.approx(forks[4] - forks[3], abs=5)


def test_a_guest_that_dies_is_told_apart_with_its_console(sh):
    with pytest.raises(GuestError, match=r"the guest died(?s:.*)sysrq_handle_crash"):
        sh("echo c > /proc/sysrq-trigger").run(1)


def test_a_command_that_is_not_there_is_the_users_error(sh):
    machine = sh("true")
    machine._closure = replace(machine._closure, program="/absent")
    with pytest.raises(UsageError, match="the guest has no command sh"):
        machine.run(1)


def test_a_snapshot_that_is_broken_is_removed(sh, tmp_path):
    machine = sh("true")
    broken = tmp_path / "broken.mig"
    broken.write_bytes(machine.saved.file.read_bytes()[: 1 << 20])
    machine.saved = replace(machine.saved, file=broken)
    with pytest.raises(GuestError, match="can't be restored, and was removed"):
        machine.run(1)
    assert not broken.exists()


def test_a_kernel_that_finds_no_init_is_a_failed_boot_with_its_console(lab, tmp_path):
    with pytest.raises(BootError, match=r"did not come up(?s:.*)Kernel panic"):
        snapshot(lab, MachineSpec(lab.kernel()), {}, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"cpus": 5}, {"cpus": 0}, {"memory_mib": 16}, {"shift": 11}])
def test_machines_that_can_not_be_are_refused(sh, options):
    with pytest.raises(UsageError, match="1 to 4 CPUs"):
        sh("true", **options)


def test_it_dies_with_its_parent_however_that_ends(sh, cache):
    sh("true")  # so that there is a snapshot
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        from schedtuna.lab.deterministic.trials import Deterministic, DeterministicSpec
        from schedtuna.lab.store import read_lab
        argv = ("sh", "-c", "while :; do :; done # hackbench")
        Deterministic(read_lab(), DeterministicSpec(argv), cache=Path(sys.argv[1])).run(1)
    """)
    with subprocess.Popen([sys.executable, "-c", code, str(cache)]) as parent:
        try:
            child = _await_child(parent.pid)
        finally:
            parent.kill()  # SIGKILL: it can't end the guest itself
    _await_end(child)


def _await_child(pid):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):  # one that only asked QEMU its version
                if "qemu" in Path(f"/proc/{child}/cmdline").read_text():
                    return int(child)
        time.sleep(0.1)
    pytest.fail("it started no guest")


def _await_end(pid):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":  # whoever adopted it has not looked yet
            return
        time.sleep(0.1)
    pytest.fail("the guest outlived its parent")


# ---- several CPUs --------------------------------------------------------------------------------


def trial(number):
    raw = RawRun(exit_code=0, signal=None, timed_out=False, started_at=0.0, usage={})
    return DeterministicRun(
        seed=0,
        perturbation=perturbation(0, 1),
        raw=raw,
        console="",
        guest_ns=number,
        nr_switches=0,
        hash=f"hash {number}",
        ejected="",
        restore_s=0.0,
        restore_cpu_s=0.0,
        wall_s=0.0,
    )


@pytest.mark.parametrize(
    ("cpus", "numbers", "chosen", "mismatches", "reproduced"),
    [
        (1, [1], 1, 0, True),
        (2, [1, 1], 1, 0, True),
        (4, [1, 2, 2], 2, 1, True),
        (4, [1, 2, 1], 1, 1, True),
        (4, [1, 2, 3], 1, 2, False),
    ],
)
def test_a_mismatch_is_found_and_a_third_run_decides(cpus, numbers, chosen, mismatches, reproduced):
    runs = iter([trial(number) for number in numbers])
    settled = settle(lambda: next(runs), cpus=cpus)
    assert list(runs) == []
    assert settled.guest_ns == chosen
    assert len(settled.hashes) == len(numbers)
    assert (settled.nr_mismatches, settled.reproduced) == (mismatches, reproduced)


@pytest.mark.long
def test_four_cpus_are_up_and_run_twice(sh):
    run = sh("nproc; hackbench -g 1 -l 10 > /dev/null", cpus=4).run(1)
    assert run.raw.stdout == "4\n"
    assert len(run.hashes) in {2, 3}


# ---- schedulers ----------------------------------------------------------------------------------


def test_a_scheduler_is_in_charge_of_the_command(sh, lab):
    ((name, program),) = schedulers_or_skip(lab, 1).items()
    scheduler = SchedulerConfig(name=name)
    options = {"scheduler": scheduler, "scheduler_program": program}
    machine = sh("cat /sys/kernel/sched_ext/root/ops; hackbench -g 1 -l 20 > /dev/null", **options)
    first, second = machine.run(1), machine.run(1)
    assert first.raw.stdout.startswith(scheduler.name.removeprefix("scx_"))
    assert (first.ejected, first.hash) == ("", second.hash)
    ejected = sh("echo S > /proc/sysrq-trigger; sleep 1", **options).run(1)
    assert "sched_ext is" in ejected.ejected or "exited" in ejected.ejected
    flag = ParameterSpec(name="x", type=ParameterType.BOOLEAN, default=False, command_arg="--no-such-flag")
    broken = scheduler.model_copy(update={"parameters": {"x": flag}}).with_values({"x": True})
    with pytest.raises(SchedulerError, match=r"did not start: it exited with code(?s:.*)printed"):
        sh("true", **{**options, "scheduler": broken}).run(1)
