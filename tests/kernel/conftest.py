import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.kernel.knob_target import Program
from tests.kernel.recording import cgroup_folder

from schedtuna.errors import UnavailableError
from schedtuna.kernel.libbpf import libbpf
from schedtuna.kernel.objects import VMLINUX_BTF
from schedtuna.kernel.privilege import require_bpf
from schedtuna.knobs.journal import Journal


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "state")


@pytest.fixture
def program():
    started = Program()
    yield started
    started.close()


@pytest.fixture
def machine_settings():
    """Keep the tests of other checkouts on this machine away from its settings meanwhile."""
    with open("/tmp/schedtuna-tests.lock", "w") as file:  # noqa: PTH123 - one for all checkouts
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def root():
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def bpf():
    """Skips where BPF programs can't be loaded."""
    try:
        require_bpf()
        libbpf()
    except UnavailableError as error:
        pytest.skip(str(error))
    if not VMLINUX_BTF.exists():
        pytest.skip("the kernel has no BTF")


@pytest.fixture(scope="session")
def tracefs():
    """Have tracefs where it belongs; systemd mounts it, small images don't."""
    folder = Path("/sys/kernel/tracing")
    if (folder / "events").exists():
        yield folder
        return
    if os.geteuid() or subprocess.run(["mount", "-t", "tracefs", "tracefs", folder], check=False).returncode:
        pytest.skip("tracefs is not mounted, and can't be")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=False)


@pytest.fixture
def cgroup():
    """A cgroup of the cpu controller; what runs in it is ended."""
    folder = cgroup_folder()
    if folder is None:
        pytest.skip("may not make a cgroup")
    yield folder
    for pid in (folder / "cgroup.procs").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    while (folder / "cgroup.procs").read_text():
        time.sleep(0.01)
    folder.rmdir()
