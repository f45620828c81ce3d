import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.errors import UsageError
from schedtuna.machine.cpu_lists import format_cpu_list, parse_cpu_list
from schedtuna.machine.topology import _topology_with, read_topology, topology_now


class Sysfs:
    """Writes a sysfs tree, CPU by CPU."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: object) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def cpu(self, cpu, *, siblings=None, socket=0, caches=(), **files):
        base = f"devices/system/cpu/cpu{cpu}"
        self.write(f"{base}/topology/core_cpus_list", siblings or cpu)
        self.write(f"{base}/topology/physical_package_id", socket)
        for index, (level, kind, shared) in enumerate(caches):
            self.write(f"{base}/cache/index{index}/level", level)
            self.write(f"{base}/cache/index{index}/type", kind)
            self.write(f"{base}/cache/index{index}/shared_cpu_list", shared)
        for name, value in files.items():
            self.write(f"{base}/{name}", value)

    def range(self, online, present=None):
        self.write("devices/system/cpu/online", online)
        self.write("devices/system/cpu/present", present or online)


@pytest.fixture
def sysfs(tmp_path):
    return Sysfs(tmp_path / "sys")


def test_smt_siblings_share_a_core(sysfs):
    sysfs.range("0-3")
    for cpu in range(4):  # cores {0, 2} and {1, 3}, as most x86 firmware numbers them
        sysfs.cpu(cpu, siblings=f"{cpu % 2},{cpu % 2 + 2}", caches=[(3, "Unified", "0-3")])
    topology = read_topology(sysfs.root)
    assert topology.smt
    assert topology.cores == ((0, 2), (1, 3))
    assert topology.one_per_core() == (0, 1)
    assert topology.llcs == ((0, 1, 2, 3),)
    assert topology.cpus[3].siblings == (1, 3)
    assert topology.summary() == "4 CPUs on 2 cores, 1 last-level cache, 1 socket, 1 memory node"


def test_two_sockets_with_two_cache_complexes_each(sysfs):
    sysfs.range("0-7")
    for cpu in range(8):
        socket, ccx = cpu // 4, cpu // 2 * 2
        sysfs.cpu(
            cpu,
            socket=socket,
            caches=[
                (1, "Data", cpu),
                (1, "Instruction", cpu),
                (2, "Unified", cpu),
                (3, "Unified", f"{ccx}-{ccx + 1}"),
            ],
        )
    sysfs.write("devices/system/node/node0/cpulist", "0-3")
    sysfs.write("devices/system/node/node1/cpulist", "4-7")
    sysfs.write("devices/system/node/node2/cpulist", "")  # memory without CPUs
    topology = read_topology(sysfs.root)
    assert topology.llcs == ((0, 1), (2, 3), (4, 5), (6, 7))
    assert topology.sockets == topology.numa_nodes == ((0, 1, 2, 3), (4, 5, 6, 7))
    assert not topology.smt
    assert topology.one_per_core() == tuple(range(8))


def test_big_little_clusters_share_their_l2(sysfs):
    sysfs.range("0-5")
    for cpu in range(6):
        big = cpu >= 4
        shared = "4-5" if big else "0-3"
        sysfs.cpu(
            cpu,
            socket=-1,
            caches=[(1, "Data", cpu), (2, "Unified", shared)],
            cpu_capacity=1024 if big else 446,
        )
    topology = read_topology(sysfs.root)
    assert topology.llcs == ((0, 1, 2, 3), (4, 5))
    assert topology.asymmetric
    assert [cpu.capacity for cpu in topology.cpus] == [446] * 4 + [1024] * 2
    assert topology.sockets == ((0, 1, 2, 3, 4, 5),)


def test_hybrid_x86_tells_the_kinds_of_its_cores(sysfs):
    sysfs.range("0-5")
    for cpu in range(6):
        siblings = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}" if cpu < 4 else cpu
        sysfs.cpu(cpu, siblings=siblings, caches=[(3, "Unified", "0-5")])
    sysfs.write("devices/cpu_core/cpus", "0-3")
    sysfs.write("devices/cpu_atom/cpus", "4-5")
    topology = read_topology(sysfs.root)
    assert [cpu.core_type for cpu in topology.cpus] == ["core"] * 4 + ["atom"] * 2
    assert topology.asymmetric
    assert topology.one_per_core() == (0, 2, 4, 5)


def test_without_caches_a_socket_counts_as_one(sysfs):
    sysfs.range("0-3")
    for cpu in range(4):
        sysfs.cpu(cpu, socket=cpu // 2)
    topology = read_topology(sysfs.root)
    assert not topology.caches_known
    assert topology.llcs == ((0, 1), (2, 3))


def test_offline_cpus_are_left_out_everywhere(sysfs):
    sysfs.range("0,2-3", present="0-3")
    for cpu in (0, 2, 3):  # the kernel hides the topology of offline CPUs
        sysfs.cpu(cpu, siblings="2-3" if cpu >= 2 else "0-1", caches=[(3, "Unified", "0-3")])
    topology = read_topology(sysfs.root)
    assert topology.online == (0, 2, 3)
    assert topology.offline == (1,)
    assert topology.cores == ((0,), (2, 3))
    assert topology.llcs == ((0, 2, 3),)


def test_single_online_files_tell_too(sysfs):
    for cpu in range(3):
        sysfs.cpu(cpu, online=int(cpu != 1))
    assert read_topology(sysfs.root).online == (0, 2)
    assert read_topology(sysfs.root).offline == (1,)


def test_no_sysfs_at_all_still_has_cpus(tmp_path):
    topology = read_topology(tmp_path / "nothing")
    assert topology.online == tuple(range(os.cpu_count() or 1))
    assert not topology.smt


def test_garbage_in_sysfs_is_as_good_as_nothing(sysfs):
    sysfs.range("0-1")
    sysfs.cpu(0, siblings="x-y", socket="?", caches=[("deep", "Unified", "0-")], cpu_capacity="")
    sysfs.cpu(1)
    assert read_topology(sysfs.root).cores == ((0,), (1,))


@pytest.mark.skipif(not shutil.which("lscpu"), reason="lscpu is the oracle")
def test_this_machine_agrees_with_lscpu():
    text = subprocess.run(
        ["lscpu", "-p=CPU,CORE,SOCKET,NODE,CACHE"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")]

    def groups(key):
        members: dict[str, set[int]] = {}
        for row in rows:
            members.setdefault(key(row), set()).add(int(row[0]))
        return sorted(tuple(sorted(group)) for group in members.values())

    topology = read_topology()
    assert topology.online == tuple(int(row[0]) for row in rows)
    assert sorted(topology.cores) == groups(lambda row: row[1])
    assert sorted(topology.sockets) == groups(lambda row: row[2])
    assert sorted(topology.numa_nodes) == groups(lambda row: row[3])
    if topology.caches_known:
        assert sorted(topology.llcs) == groups(lambda row: row[4].rpartition(":")[2])


@given(st.sets(st.integers(0, 5000)))
def test_cpu_lists_survive_the_round_trip(cpus):
    assert parse_cpu_list(format_cpu_list(cpus)) == tuple(sorted(cpus))


def test_cpu_lists_as_the_kernel_writes_them():
    assert parse_cpu_list("0-3,8,10-11\n") == (0, 1, 2, 3, 8, 10, 11)
    assert format_cpu_list([8, 1, 0, 2]) == "0-2,8"
    assert parse_cpu_list("") == ()


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "0-4000000000", "0x1", "1;2", "²"])
def test_what_is_not_a_cpu_list_is_refused(text):
    with pytest.raises(UsageError, match="not a list of CPUs"):
        parse_cpu_list(text)


def test_it_is_read_anew_where_cpus_come_or_go(tmp_path, monkeypatch):
    online, reading = tmp_path / "online", itertools.count()
    monkeypatch.setattr("schedtuna.machine.topology._ONLINE", online)
    monkeypatch.setattr("schedtuna.machine.topology.read_topology", lambda: next(reading))
    _topology_with.cache_clear()
    online.write_text("0-1\n")
    first = topology_now()
    assert topology_now() == first
    online.write_text("0\n")
    assert topology_now() != first
    _topology_with.cache_clear()
