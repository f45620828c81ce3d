import shutil
import subprocess

import pytest

from schedtuna.machine.probe import Probe
from schedtuna.machine.virtualization import read_container, read_virtualization

GUEST = "flags\t\t: fpu hypervisor sse"
CLOCKS = "sys/devices/system/clocksource/clocksource0/available_clocksource"


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"proc/cpuinfo": "flags : fpu sse"}, "none"),
        ({"proc/cpuinfo": GUEST}, "unknown-vm"),
        ({"proc/cpuinfo": GUEST, CLOCKS: "tsc kvm-clock acpi_pm"}, "kvm"),
        ({"proc/cpuinfo": GUEST, "sys/class/dmi/id/sys_vendor": "QEMU"}, "kvm"),
        ({"proc/cpuinfo": GUEST, "sys/class/dmi/id/sys_vendor": "VMware, Inc."}, "vmware"),
        ({"proc/cpuinfo": GUEST, "sys/class/dmi/id/product_name": "Virtual Machine"}, "microsoft"),
        ({"proc/cpuinfo": GUEST, CLOCKS: "hyperv_clocksource_tsc_page"}, "microsoft"),
        ({"proc/cpuinfo": GUEST, "sys/hypervisor/type": "xen"}, "xen"),
        # bare metal of a cloud: its DMI names the vendor, the processor sees no hypervisor
        ({"proc/cpuinfo": "flags : fpu", "sys/class/dmi/id/sys_vendor": "Amazon EC2"}, "none"),
        ({"proc/sys/kernel/osrelease": "6.6.1-microsoft-standard-WSL2"}, "wsl"),
        ({"proc/cpuinfo": "CPU part : 0xd0c", "proc/device-tree/hypervisor/compatible": "linux,kvm"}, "kvm"),
        ({"proc/cpuinfo": "CPU part : 0xd0c", "sys/class/dmi/id/sys_vendor": "QEMU"}, "kvm"),
        ({}, "none"),
    ],
)
def test_hypervisors(machine, files, kind):
    assert read_virtualization(machine(files)) == kind


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({}, "none"),
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": ""}, "podman"),
        ({"run/systemd/container": "systemd-nspawn"}, "systemd-nspawn"),
        ({"proc/1/environ": "PATH=/bin\0container=lxc\0"}, "lxc"),
        # an image of a container that was booted as a machine keeps its marks
        (
            {
                ".dockerenv": "",
                "proc/self/ns/cgroup": "-> cgroup:[4026531835]",
                "proc/self/ns/ipc": "-> ipc:[4026531839]",
                "proc/self/ns/pid": "-> pid:[4026531836]",
                "proc/self/ns/uts": "-> uts:[4026531838]",
            },
            "none",
        ),
        ({".dockerenv": "", "proc/self/ns/pid": "-> pid:[4026532262]"}, "docker"),
    ],
)
def test_containers(machine, files, kind):
    assert read_container(machine(files)) == kind


@pytest.mark.skipif(not shutil.which("lscpu"), reason="lscpu is the oracle")
def test_this_machine_agrees_with_lscpu():
    text = subprocess.run(["lscpu"], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}).stdout
    vendors = [
        line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("Hypervisor vendor")
    ]
    kind = read_virtualization(Probe.live())
    assert (kind != "none") == bool(vendors)
    if vendors == ["KVM"]:
        assert kind in ("kvm", "amazon", "google", "apple", "unknown-vm")
