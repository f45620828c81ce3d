"""The agent's unit under a real systemd: process 1 of namespaces of its own, with an /etc of its own."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

SYSTEMD = Path("/usr/lib/systemd/systemd")
PROGRAM = Path(sys.executable).parent / "schedtuna"
UNIT = "schedtuna-agent.service"
SOURCE = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not SYSTEMD.exists() or not shutil.which("unshare"), reason="needs systemd"),
]
# What a container needs of the machine's own units is next to nothing.
BOOT = f"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
for name in etc var; do
    mkdir "$1/$name" "$1/$name-work"
    mount -t overlay -o "lowerdir=/$name,upperdir=$1/$name,workdir=$1/$name-work" overlay "/$name"
done
mount -t tmpfs tmpfs /run
umount -l /sys/fs/cgroup/* 2>/dev/null || true
umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
rm -rf /etc/systemd/system/*
printf '[Unit]\\nRequires=sysinit.target\\nAfter=sysinit.target\\n' > /etc/systemd/system/basic.target
for unit in sysinit.target.wants local-fs.target.wants sockets.target.wants timers.target.wants; do
    for path in /usr/lib/systemd/system/$unit/* /lib/systemd/system/$unit/*; do
        ln -sf /dev/null "/etc/systemd/system/$(basename "$path")"
    done
done
mkdir -p /etc/systemd/system/{UNIT}.d /etc/schedtuna
printf '[Service]\\nWatchdogSec=20\\nRestartSec=1\\n' > /etc/systemd/system/{UNIT}.d/test.conf
echo 'BindReadOnlyPaths={SOURCE}' >> /etc/systemd/system/{UNIT}.d/test.conf  # the unit has a /tmp of its own
cp "$2" /etc/schedtuna/rules.toml
printf 'policy = "rules:/etc/schedtuna/rules.toml"\\ninterval_s = 0.5\\n' > /etc/schedtuna/agent.toml
export container=lxc
exec {SYSTEMD} --system --unit=basic.target --log-target=null
"""
RULES = """
[[rule]]
name = "test"
intervals = 1
match = { comm = "sd-hog" }
set = { nice = 5 }
reason = "the test wants it"
"""
HOG = "import ctypes; ctypes.CDLL(None).prctl(15, b'sd-hog', 0, 0, 0)\nwhile True: pass"


def unified():
    """Where control groups of version 2 are mounted."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return next((Path(words[1]) for words in mounts if words[2] == "cgroup2"), None)


@pytest.fixture
def booted(tmp_path):
    """A systemd that runs; a function that runs a command beside it."""
    mount = unified()
    if mount is None:
        pytest.skip("no control groups of version 2")
    group, rules, scratch = mount / f"agent-systemd-{os.getpid()}", tmp_path / "rules.toml", tmp_path / "own"
    rules.write_text(RULES)
    scratch.mkdir()
    group.mkdir()
    apart = "unshare --mount --pid --fork --cgroup --uts --ipc --mount-proc"
    argv = [
        "sh",
        "-c",
        f'echo $$ > {group}/cgroup.procs; exec {apart} bash -c "$@"',
        "sh",
        BOOT,
        "bash",
        str(scratch),
        str(rules),
    ]
    outer = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    first = 0
    try:
        first = wait_for(lambda: child_of(outer), "process 1")

        def run(*command, check=True):
            inside = ["nsenter", "-t", str(first), "-a", "--", *command]
            return subprocess.run(inside, capture_output=True, text=True, check=check, timeout=120).stdout

        wait_for(lambda: "running" in run("systemctl", "is-system-running", check=False), "systemd")
        yield run
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(first or outer.pid, 9)  # process 1 takes all of its namespace along
        outer.communicate()
        for folder in sorted(group.rglob("*/"), key=lambda one: -len(one.parts)):
            folder.rmdir()
        group.rmdir()


def child_of(process):
    words = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(words[0]) if words else 0


def wait_for(condition, what, within_s=120):
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {within_s} s"
        time.sleep(0.2)
    return found


def test_it_starts_reloads_is_put_back_after_a_kill_and_by_the_watchdog_and_stops(booted):
    environment = ["env", "SCHEDTUNA_STATE_DIR=/var/lib/schedtuna"]
    booted("sh", "-c", f'nohup {sys.executable} -c "{HOG}" > /dev/null 2>&1 & echo $! > /run/hog')
    hog = booted("cat", "/run/hog").strip()

    def nice():
        return int(booted("cat", f"/proc/{hog}/stat").rpartition(")")[2].split()[16])

    def shown(name):
        return booted("systemctl", "show", UNIT, "-p", name, "--value").strip()

    assert UNIT in booted(*environment, str(PROGRAM), "agent", "install")
    assert shown("ActiveState") == "active"  # it has said that it is ready
    wait_for(lambda: nice() == 5, "the change")
    assert "nice of sd-hog" in booted(*environment, str(PROGRAM), "agent", "log")
    before = shown("MainPID")
    booted("systemctl", "reload", UNIT)
    assert (shown("MainPID"), shown("ActiveState")) == (before, "active")
    booted("kill", "-KILL", before)
    wait_for(lambda: nice() == 0, "the end of the change")
    wait_for(lambda: nice() == 5 and shown("MainPID") not in ("0", before), "the restart")
    booted("kill", "-STOP", shown("MainPID"))
    wait_for(lambda: nice() == 0, "the watchdog")
    assert shown("NRestarts") in ("1", "2")
    wait_for(lambda: nice() == 5, "the second restart")
    booted("systemctl", "stop", UNIT)
    assert (nice(), shown("Result"), shown("ActiveState")) == (0, "success", "inactive")
    booted(*environment, str(PROGRAM), "undo")
    assert not shown("FragmentPath")
