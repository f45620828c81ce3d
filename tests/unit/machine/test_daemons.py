import shutil
import subprocess

import pytest

from schedtuna.machine.daemons import DAEMONS, running_daemons
from schedtuna.machine.probe import Probe


@pytest.mark.parametrize("name", [daemon.name for daemon in DAEMONS])
def test_a_real_process_of_that_name_is_found(name, tmp_path):
    program = tmp_path / name
    shutil.copy("/bin/cat", program)
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdin and process.stdout
            process.stdin.write(b"x\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"x\n"  # exec is over, and with it the old name
            found = running_daemons(Probe.live())
            assert name in [f.daemon.name for f in found if f.tgid == process.pid]
        finally:
            process.kill()


def test_others_are_not(machine):
    probe = machine({"proc/1/comm": "systemd", "proc/77/comm": "tuned-adm", "proc/self/comm": "tuned"})
    assert running_daemons(probe) == ()
