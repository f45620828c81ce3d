"""Attributes on the lab's kernel, where programs may be attached to the kernel's functions."""

import shutil

from tests.kernel.guest_python import run_script, shared_package
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.lab.boot import boot
from schedtuna.lab.vm import GuestSpec
from schedtuna.resources import resource_path

# Another process changes it, then the kernel by itself does.
SCRIPT = """
import json, os, subprocess
from pathlib import Path
from schedtuna.record.filters import TaskFilter
from schedtuna.record.stream import EventStream

class Memory:
    def __init__(self):
        self.rows, self.sets, self.groups = [], {}, []
    def write_events(self, events): pass
    def write_tasks(self, rows): pass
    def write_attributes(self, rows):
        self.rows += rows[["nice", "policy", "cpu_set", "reason", "group_id"]].tolist()
    def write_cpu_sets(self, sets):
        self.sets |= sets
    def write_groups(self, rows):
        self.groups += rows[["id", "parent_id", "shares"]].tolist()

root = Path("/sys/fs/cgroup")
(root / "cgroup.subtree_control").write_text("+cpuset +cpu")
(root / "one").mkdir()
(root / "one/cpuset.cpus").write_text("1")
program, sink = subprocess.Popen(["sleep", "1000"]), Memory()
with EventStream(TaskFilter(tgid=program.pid), waking=True) as stream:
    stream.write_attributes(sink)
    for nice in (3, 3, 5):
        os.setpriority(os.PRIO_PROCESS, program.pid, nice)
    os.sched_setscheduler(program.pid, os.SCHED_BATCH, os.sched_param(0))
    os.sched_setaffinity(program.pid, [0])
    (root / "one/cgroup.procs").write_text(str(program.pid))
    (root / "one/cpu.weight").write_text("300")
    stream.drain(sink)
    told = stream.attributes_told
program.kill()
rows = [[nice, policy, sink.sets[cpus], reason] for nice, policy, cpus, reason, _ in sink.rows]
ids = [path.stat().st_ino for path in (root, root / "one")]
print(json.dumps([told, rows, ids, [row[-1] for row in sink.rows], sink.groups]))
"""


def test_every_change_is_seen_where_the_kernel_makes_it(tmp_path):
    lab = lab_or_skip()
    share = shared_package(lab, tmp_path / "share", numpy=True)
    for name in ("sched_stream.bpf.o", "libbpf.so", "libelf.so.1"):
        shutil.copy(resource_path(f"native/{name}"), share / "lib/schedtuna/native")
    (share / "lib/attributes.py").write_text(SCRIPT)
    booted, _ = boot(lab, GuestSpec(cpus=2, memory_mib=1024, share=share))
    with booted:
        told, rows, ids, seen_in, groups = run_script(booted, "attributes.py")
    assert told == {"nr_lost": 0}
    changes = [row for before, row in zip([None, *rows], rows, strict=False) if row != before]
    assert changes == [
        [0, 0, "0-1", 0],
        [3, 0, "0-1", 2],
        [5, 0, "0-1", 2],
        [5, 3, "0-1", 2],
        [5, 3, "0", 2],
        [5, 3, "1", 2],
    ]
    root, one = ids
    assert seen_in[-1] == one
    assert set(seen_in[:5]) == {seen_in[0]} != {one}
    assert [group for group in groups if group[0] == one] == [[one, root, 1024], [one, root, 3072]]
    assert [root, 0, 1024] in groups
