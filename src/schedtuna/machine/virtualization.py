"""Whether this is bare metal, a virtual machine or a container, from files alone."""

from __future__ import annotations

from schedtuna.machine.namespaces import INITIAL
from schedtuna.machine.probe import Probe

# What DMI says -> the hypervisor, in the words of systemd-detect-virt(1).
_DMI = {
    "kvm": "kvm", "qemu": "kvm", "amazon ec2": "amazon", "google compute engine": "google",
    "openstack": "kvm", "vmware": "vmware", "virtualbox": "oracle", "innotek": "oracle", "xen": "xen",
    "bochs": "bochs", "parallels": "parallels", "bhyve": "bhyve", "hyper-v": "microsoft",
    "virtual machine": "microsoft", "apple virtualization": "apple", "digitalocean": "kvm",
    "alibaba cloud ecs": "kvm",
}  # fmt: skip
# Clocks that only guests have.
_CLOCKS = {"kvm-clock": "kvm", "hyperv_clocksource": "microsoft", "xen": "xen"}


def read_virtualization(probe: Probe) -> str:
    """The kind of hypervisor: kvm, vmware, xen, ..., `unknown-vm`, or `none` on bare metal."""
    release = (probe.read("proc/sys/kernel/osrelease") or "").lower()
    if "microsoft" in release:
        return "wsl"
    dmi = " ".join(
        probe.read(f"sys/class/dmi/id/{name}") or ""
        for name in ("product_name", "sys_vendor", "board_vendor", "bios_vendor")
    ).lower()
    guest = "hypervisor" in _cpu_flags(probe)
    if guest or not _is_x86(probe):  # a bare-metal server of a cloud has its vendor's DMI too
        for text, kind in _DMI.items():
            if text in dmi:
                return kind
    clocks = probe.read("sys/devices/system/clocksource/clocksource0/available_clocksource") or ""
    for text, kind in _CLOCKS.items():
        if text in clocks:
            return kind
    kind = probe.read("sys/hypervisor/type") or ""
    if kind:
        return kind
    if probe.exists("proc/device-tree/hypervisor"):
        compatible = probe.read("proc/device-tree/hypervisor/compatible") or ""
        return "kvm" if "kvm" in compatible else "unknown-vm"
    return "unknown-vm" if guest else "none"


def read_container(probe: Probe) -> str:
    """The kind of container: docker, podman, lxc, systemd-nspawn, ..., or `none`."""
    if all(probe.link(f"proc/self/ns/{kind}") == f"{kind}:[{inode}]" for kind, inode in INITIAL.items()):
        return "none"  # the marks below outlive the container in images that boot as VMs
    told = probe.read("run/systemd/container")
    if told:
        return told
    for item in (probe.read("proc/1/environ") or "").split("\0"):  # readable for root only
        name, _, value = item.partition("=")
        if name == "container" and value:
            return value
    if probe.exists("run/.containerenv"):
        return "podman"
    if probe.exists(".dockerenv"):
        return "docker"
    return "none"


def _cpu_flags(probe: Probe) -> list[str]:
    for line in (probe.read("proc/cpuinfo") or "").splitlines():
        if line.startswith("flags"):
            return line.partition(":")[2].split()
    return []


def _is_x86(probe: Probe) -> bool:
    return bool(_cpu_flags(probe))
