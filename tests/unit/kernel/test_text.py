"""Names with anything in them, in the kernel's text files: no line and no field of their own making."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.kernel.text import lines_of, read_lines
from schedtuna.knobs.base import is_control_group
from schedtuna.knobs.hierarchies import Hierarchy, find_hierarchy
from schedtuna.machine.cgroups import read_cgroups
from schedtuna.machine.facts import mounted
from schedtuna.machine.probe import Probe
from schedtuna.machine.tasks import thread_group
from schedtuna.record.processes import _cgroup

ENDS = ["\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]  # as splitlines() has it
# What one may call a folder: bytes but NUL, newline (in a control group) and slash.
NAMES = (
    st.one_of(
        st.binary(min_size=1, max_size=12),
        st.tuples(st.sampled_from(ENDS), st.sampled_from(["0::", "3:cpu:", "1 1 0:9 "])).map(
            lambda pair: "".join(pair).encode()
        ),
    )
    .map(lambda name: re.sub(rb"[\n\0/]", b"_", name))
    .filter(lambda name: name not in (b".", b".."))
)
PATHS = st.lists(NAMES, min_size=1, max_size=5).map(lambda names: b"/" + b"/".join(names))


@given(PATHS, PATHS, st.sampled_from([1, 2]))
def test_a_process_is_in_the_group_that_its_line_names(v1, v2, version):
    content = b"4:memory:/x\n3:cpuacct,cpu:" + v1 + b"\n0::" + v2 + b"\n"
    lines = lines_of(os.fsdecode(content))
    assert len(lines) == 3
    found = Hierarchy(version, "cpu", Path("/cg")).group_in(lines)
    assert os.fsencode(str(found)) == b"/cg" + (v1 if version == 1 else v2)
    assert _cgroup(content.decode(errors="replace")) == v1.decode(errors="replace")


def escaped(path: bytes) -> bytes:
    """As the kernel spells a path in mountinfo (seq_path(), fs/proc_namespace.c)."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\" else bytes([byte]) for byte in path)


@given(PATHS, st.sampled_from(ENDS))
def test_a_mount_point_of_somebody_adds_no_mount(path, end):
    forged = f"{end}9 1 0:9 / /evil rw - cgroup cgroup rw,cpu{end}".encode().replace(b"/", b"_")
    lines = [
        b"30 1 0:30 / " + escaped(path + b"/" + forged) + b" rw - fuse.x x rw",
        b"31 1 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu",
    ]
    with os.fdopen(os.memfd_create("mountinfo"), "w+b") as file:
        file.write(b"\n".join(lines) + b"\n")
        file.flush()
        mountinfo = Path(f"/proc/self/fd/{file.fileno()}")
        assert read_lines(mountinfo) == [os.fsdecode(line) for line in lines]
        assert find_hierarchy("cpu", mountinfo) == Hierarchy(1, "cpu", Path("/sys/fs/cgroup/cpu"))
        assert find_hierarchy("cpuset", mountinfo) is None


@pytest.mark.parametrize("end", [*ENDS, "\udcff"])
def test_a_folder_with_the_files_of_a_control_group_is_not_made_one(tmp_path, end):
    (tmp_path / "cgroup.procs").touch()
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    line = f"30 1 0:30 / /a{end}1\\0401\\040{number}\\040/\\040/x rw - fuse.x x rw\n"
    raw = f"30 1 0:30 / /a{end}1 1 {number} / /x rw - cgroup cgroup rw - fuse.x x rw\n"
    for text in (line, raw):
        (tmp_path / "mountinfo").write_bytes(text.encode(errors="surrogateescape"))
        assert not is_control_group(tmp_path, tmp_path / "mountinfo")


@pytest.mark.parametrize("end", ENDS)
def test_the_machine_is_not_told_of_mounts_and_groups_that_are_names(tmp_path, end):
    files = {
        "proc/self/mounts": f"x /a{end}evil\u2003/evil\u2003cgroup2 fuse.x rw 0 0\ny /b ext4 rw 0 0",
        "proc/self/cgroup": f"0::/a{end}0::/b",
    }
    (tmp_path / "proc/self").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode())
    probe = Probe(root=tmp_path, environment={})
    assert not mounted(probe, "cgroup2")
    assert mounted(probe, "ext4")
    assert read_cgroups(probe).version == "none"
    assert read_cgroups(probe).own_v2 == f"/a{end}0::/b"


@pytest.mark.parametrize(
    "name", ["\x0cTgid:\t1", "\rTgid:\t1", "\x1cTgid:\t1", "\nTgid:\t1", "Tgid:\t1", "\udcff"]
)
def test_a_tasks_name_does_not_say_whose_thread_it_is(name):
    code = (
        "import os, sys\nopen('/proc/self/comm', 'wb').write(os.fsencode(sys.argv[1]))\n"
        "print(flush=True)\ninput()"
    )
    command = [sys.executable, "-c", code, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        assert thread_group(process.pid) == process.pid
        process.communicate(b"\n")


def test_lines():
    assert lines_of("") == []
    assert lines_of("a\n\nb\n") == ["a", "", "b"]
    assert lines_of("a\rb\x85c") == ["a\rb\x85c"]
