"""Guests whose CPUs are laid out: their kernels see the caches, cores and nodes that were asked for."""

import pytest
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.lab.boot import boot
from schedtuna.lab.vm import GuestSpec

CPU = "/sys/devices/system/cpu"
NODES = "/sys/devices/system/node"


@pytest.mark.parametrize(
    ("topology", "caches", "siblings", "nodes"),
    [
        ("2x2x1", ["0-1", "2-3"], ["0", "1", "2", "3"], ["0-3"]),
        ("2x1x2", ["0-1", "2-3"], ["0-1", "2-3"], ["0-3"]),
        pytest.param("numa", ["0-1", "2-3"], ["0", "1", "2", "3"], ["0-1", "2-3"], marks=pytest.mark.long),
        pytest.param(
            "4x1x2:numa",
            ["0-1", "2-3", "4-5", "6-7"],
            ["0-1", "2-3", "4-5", "6-7"],
            ["0-3", "4-7"],
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_guests_kernel_sees_its_topology(topology, caches, siblings, nodes):
    spec = GuestSpec.of(None, topology)
    guest, _ = boot(lab_or_skip(), spec)
    with guest:

        def seen(path):
            return sorted({guest.read(f"{CPU}/cpu{cpu}/{path}").strip() for cpu in range(spec.cpus)})

        assert guest.read(f"{CPU}/cpu0/cache/index3/level") == "3\n"
        assert seen("cache/index3/shared_cpu_list") == caches
        assert seen("topology/thread_siblings_list") == siblings
        online = guest.read(f"{NODES}/online").strip()
        assert online == ("0" if len(nodes) == 1 else f"0-{len(nodes) - 1}")
        assert [guest.read(f"{NODES}/node{node}/cpulist").strip() for node in range(len(nodes))] == nodes
        total = [guest.read(f"{NODES}/node{node}/meminfo") for node in range(len(nodes))]
        sizes_kb = [int(text.split("MemTotal:")[1].split()[0]) for text in total]
        assert min(sizes_kb) > max(sizes_kb) / 2  # what the kernel itself takes is of one of them
