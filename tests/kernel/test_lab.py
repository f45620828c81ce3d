"""Guests that really boot."""

import os
import signal
import subprocess
import time

import pytest
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.errors import UsageError
from schedtuna.lab.boot import boot
from schedtuna.lab.errors import BootError, GuestError
from schedtuna.lab.layers import share_layer
from schedtuna.lab.vm import BootedGuest, GuestSpec


@pytest.fixture(scope="module")
def lab():
    return lab_or_skip()


@pytest.fixture(scope="module")
def share(tmp_path_factory):
    folder = tmp_path_factory.mktemp("share")
    (folder / "input").write_text("from the host\n")
    return folder


@pytest.fixture(scope="module")
def guest(lab, share):
    booted, _ = boot(lab, GuestSpec(cpus=2, share=share))
    with booted:
        yield booted


def test_the_kernel_is_the_one_that_was_asked_for_and_has_sched_ext(guest, lab):
    assert guest.hello["release"] == lab.default_kernel
    assert guest.read("/sys/kernel/sched_ext/state") == "disabled\n"
    assert guest.read(f"/boot/config-{lab.default_kernel}").count("CONFIG_SCHED_CLASS_EXT=y\n") == 1


def test_it_has_its_cpus_and_no_network_but_its_own(guest):
    assert guest.run(["nproc"]).stdout == "2\n"
    assert guest.run(["ls", "/sys/class/net"]).stdout == "lo\n"


def test_exit_codes_signals_and_both_outputs_come_back(guest):
    raw = guest.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (raw.exit_code, raw.stdout, raw.stderr) == (7, "out\n", "err\n")
    raw = guest.run(["sh", "-c", "kill -SEGV $$"])
    assert (raw.exit_code, raw.signal) == (None, signal.SIGSEGV)


def test_a_command_that_takes_too_long_is_ended_and_the_guest_lives(guest):
    assert guest.run(["sleep", "1000"], timeout_s=0.5).timed_out
    assert guest.run(["true"]).exit_code == 0


@pytest.mark.parametrize(
    "argv",
    [
        ["hackbench", "-g", "1", "-l", "10"],
        ["stress-ng", "--cpu", "1", "--cpu-ops", "1"],
        ["python3", "-c", "import json, ctypes, math"],
        ["bash", "-c", "true"],
        ["cyclictest", "-q", "-l", "5"],
    ],
    ids=lambda argv: argv[0],
)
def test_its_programs_run(guest, argv):
    raw = guest.run(argv)
    assert raw.exit_code == 0, raw.tail()


def test_what_it_measures_is_what_the_command_did(guest):
    usage = guest.run(["python3", "-c", "import time; time.sleep(0.5)"]).usage
    assert usage["wall_time_s"] >= 0.5
    assert 0 < usage["cpu_time_s"] < usage["wall_time_s"]


def test_a_command_that_is_not_there_is_the_users_error(guest):
    with pytest.raises(UsageError, match="no command no-such-program"):
        guest.run(["no-such-program"])


def test_files_go_in_and_come_back_whole(guest, share):
    guest.run(["sh", "-c", "cat input; mkdir -p a; seq 200000 > a/numbers; chmod 700 a/numbers"])
    assert guest.fetch_changes() == [share / "a/numbers"]
    assert (share / "a/numbers").read_text() == "".join(f"{number}\n" for number in range(1, 200001))
    assert guest.fetch_changes() == []


def test_a_library_that_lacks_another_is_shared_all_the_same(lab, tmp_path):
    absent, library = tmp_path / "libabsent.so", tmp_path / "library.so"
    compiler = ["gcc", "-shared", "-fPIC", "-x", "c", "/dev/null", "-nostdlib", "-Wl,--no-as-needed"]
    subprocess.run([*compiler, "-Wl,-soname,libabsent.so", "-o", absent], check=True)
    subprocess.run([*compiler, "-o", library, "-L", tmp_path, "-labsent"], check=True)
    absent.unlink()
    assert "share/library.so" in share_layer(tmp_path, lab.guest_root)


def test_nothing_else_of_the_host_is_there(guest, tmp_path):
    (tmp_path / "secret").write_text("x")
    assert guest.read(str(tmp_path / "secret")) is None
    assert guest.run(["ls", "/share"]).stdout.split()[-1:] == ["input"]


def test_a_kernel_that_finds_no_init_is_a_failed_boot_with_its_console(lab, tmp_path):
    (tmp_path / "empty").touch()
    with pytest.raises(BootError, match=r"did not come up(?s:.*)Kernel panic"):
        boot(lab.model_copy(update={"image": tmp_path / "empty"}), GuestSpec(cpus=1))


def test_a_guest_that_dies_is_told_apart_and_leaves_nothing(lab):
    booted = BootedGuest(lab, GuestSpec(cpus=1))
    pid = booted._process.pid
    with booted, pytest.raises(GuestError, match="died"):
        booted.run(["sh", "-c", "echo b > /proc/sysrq-trigger; sleep 100"])
    time.sleep(0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
