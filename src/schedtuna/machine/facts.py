"""What a machine is, as far as it can change a result: the part of a manifest that needs no workload.

Every fact is read here once; `checks` judge them and `compare` weighs their differences. None, or
a key that is absent, means that the fact could not be read, which unprivileged users meet often.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import os
import zlib

from pydantic import BaseModel, ConfigDict

from schedtuna.errors import UsageError
from schedtuna.kernel.text import lines_of
from schedtuna.machine.cgroups import CgroupLayout, read_cgroups
from schedtuna.machine.cpu_lists import format_cpu_list, parse_cpu_list
from schedtuna.machine.probe import Probe
from schedtuna.machine.topology import Topology, read_topology
from schedtuna.machine.virtualization import read_container, read_virtualization

# Parameters that name disks, networks and images: they tell machines apart, not their speed.
_PRIVATE_BOOT_PARAMETERS = (
    "BOOT_IMAGE=", "initrd=", "root=", "rootflags=", "resume=", "resume_offset=", "ip=", "nfsroot=",
    "cryptdevice=", "rd.luks", "rd.lvm", "rd.md", "rd.iscsi", "systemd.machine_id=", "systemd.hostname=",
)  # fmt: skip
_DEBUGFS_SCHEDULER = "sys/kernel/debug/sched"


class Gpu(BaseModel):
    """A graphics processor, as nvidia-smi tells it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    driver: str
    utilization_percent: float | None = None


class MachineFacts(BaseModel):
    """The facts of one machine at one moment, for comparisons between results.

    Attributes:
        machine_id_hash: Keyed hash of /etc/machine-id.
        hostname_hash: Hash of the host's name, keyed by the machine id: the name can't be guessed from it.
        boot_id: The kernel's random name of this boot.
        kernel_release: As `uname -r`.
        kernel_version: As `uname -v`: the build.
        kernel_cmdline: Boot parameters, without those that name disks, networks and images.
        kernel_config_hash: SHA-256 of the kernel's configuration.
        architecture: As `uname -m`.
        cpu_model: The processor's name.
        microcode: Its microcode's version.
        topology: The CPUs and what they share.
        isolated_cpus: CPUs that the scheduler does not balance (isolcpus).
        smt_control: The kernel's SMT switch: on, off, notsupported, ...
        governors: The frequency governors in use.
        turbo: Whether the processor may exceed its base frequency.
        cpuidle: Driver and governor of the idle states.
        clock_source: What the kernel reads the time from.
        virtualization: Kind of hypervisor; `none` on bare metal.
        container: Kind of container; `none` outside.
        mitigations: The kernel's answer per processor vulnerability.
        memory_bytes: MemTotal.
        transparent_hugepages: The policy in use.
        cgroups: Layout of the control groups, and this process's limits.
        scheduler_settings: Sysctls and debugfs files of the scheduler, by name.
        sched_ext_state: `disabled`, `enabled`, ...; None where the kernel has no sched_ext.
        sched_ext_ops: Name of the loaded sched_ext scheduler.
        gpus: Graphics processors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine_id_hash: str | None
    hostname_hash: str | None
    boot_id: str | None
    kernel_release: str | None
    kernel_version: str | None
    kernel_cmdline: str | None
    kernel_config_hash: str | None
    architecture: str
    cpu_model: str
    microcode: str | None
    topology: Topology
    isolated_cpus: tuple[int, ...]
    smt_control: str | None
    governors: tuple[str, ...]
    turbo: bool | None
    cpuidle: str | None
    clock_source: str | None
    virtualization: str
    container: str
    mitigations: dict[str, str]
    memory_bytes: int | None
    transparent_hugepages: str | None
    cgroups: CgroupLayout
    scheduler_settings: dict[str, str]
    sched_ext_state: str | None
    sched_ext_ops: str | None
    gpus: tuple[Gpu, ...]


def read_facts(probe: Probe) -> MachineFacts:
    """Read all facts; takes some milliseconds, and up to 5 s where nvidia-smi hangs."""
    config = read_kernel_config(probe)
    return MachineFacts(
        machine_id_hash=read_machine_id_hash(probe),
        hostname_hash=_keyed_hash(probe, "hostname", probe.read("proc/sys/kernel/hostname")),
        boot_id=probe.read("proc/sys/kernel/random/boot_id"),
        kernel_release=probe.read("proc/sys/kernel/osrelease"),
        kernel_version=probe.read("proc/sys/kernel/version"),
        kernel_cmdline=read_cmdline(probe),
        kernel_config_hash=hashlib.sha256(config.encode()).hexdigest() if config else None,
        architecture=read_architecture(probe),
        cpu_model=read_cpu_model(probe),
        microcode=_cpuinfo(probe).get("microcode"),
        topology=read_topology(probe.path("sys")),
        isolated_cpus=read_cpus(probe, "sys/devices/system/cpu/isolated"),
        smt_control=read_smt_control(probe),
        governors=read_governors(probe),
        turbo=read_turbo(probe),
        cpuidle=read_cpuidle(probe),
        clock_source=probe.read("sys/devices/system/clocksource/clocksource0/current_clocksource"),
        virtualization=read_virtualization(probe),
        container=read_container(probe),
        mitigations=_read_folder(probe, "sys/devices/system/cpu/vulnerabilities"),
        memory_bytes=read_memory_bytes(probe),
        transparent_hugepages=selected(probe.read("sys/kernel/mm/transparent_hugepage/enabled")),
        cgroups=read_cgroups(probe),
        scheduler_settings=read_scheduler_settings(probe),
        sched_ext_state=probe.read("sys/kernel/sched_ext/state"),
        sched_ext_ops=probe.read("sys/kernel/sched_ext/root/ops"),
        gpus=read_gpus(probe),
    )


def read_machine_id_hash(probe: Probe) -> str | None:
    """A hash that stays with this installation; None where it has no machine id."""
    return _keyed_hash(probe, "machine-id", probe.read("etc/machine-id"))


def _keyed_hash(probe: Probe, use: str, value: str | None) -> str | None:
    # machine-id(5) asks programs never to publish the id, and to hash it with a key of their own.
    if not value:
        return None
    key = f"schedtuna {use} {probe.read('etc/machine-id') or ''}"
    return hmac.new(key.encode(), value.encode(), hashlib.sha256).hexdigest()[:16]


def read_kernel_config(probe: Probe) -> str | None:
    """The running kernel's configuration, wherever the distribution keeps it."""
    packed = probe.read_bytes("proc/config.gz")
    if packed:
        try:
            return gzip.decompress(packed).decode(errors="replace").strip()
        except (OSError, EOFError, zlib.error):
            return None
    release = probe.read("proc/sys/kernel/osrelease") or ""
    return probe.read(f"boot/config-{release}") or probe.read(f"lib/modules/{release}/config")


def kernel_options(config: str) -> dict[str, str]:
    """The options that are set: ``{"CONFIG_PSI": "y", ...}``."""
    lines = (line.partition("=") for line in config.splitlines() if line.startswith("CONFIG_"))
    return {name: value for name, _, value in lines}


def read_cmdline(probe: Probe) -> str | None:
    """The boot parameters that may matter to the scheduler."""
    text = probe.read("proc/cmdline")
    if text is None:
        return None
    of_the_kernel = text.partition(" -- ")[0]  # what follows goes to init
    return " ".join(w for w in of_the_kernel.split() if not w.startswith(_PRIVATE_BOOT_PARAMETERS))


def read_architecture(probe: Probe) -> str:
    """As `uname -m` prints it."""
    return probe.read("proc/sys/kernel/arch") or os.uname().machine  # the file exists since 6.1


def _cpuinfo(probe: Probe) -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo; those that follow fill what it lacks."""
    fields: dict[str, str] = {}
    for line in (probe.read("proc/cpuinfo") or "").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    return fields


def read_cpu_model(probe: Probe) -> str:
    """The processor's name; on ARM, which has none, implementer and part of each kind of core."""
    fields = _cpuinfo(probe)
    for name in ("model name", "cpu", "uarch", "Model Name", "machine"):
        if fields.get(name):
            return fields[name]
    parts = [
        line.partition(":")[2].strip()
        for line in (probe.read("proc/cpuinfo") or "").splitlines()
        if line.startswith("CPU part")
    ]
    if parts:
        return f"ARM implementer {fields.get('CPU implementer')} parts {' '.join(sorted(set(parts)))}"
    return "unknown"


def read_cpus(probe: Probe, relative: str) -> tuple[int, ...]:
    """The CPUs that a file lists; none where it can't be read."""
    try:
        return parse_cpu_list(probe.read(relative) or "")
    except UsageError:
        return ()


def read_governors(probe: Probe) -> tuple[str, ...]:
    """The frequency governors in use; empty where the kernel does not scale frequencies."""
    base = "sys/devices/system/cpu/cpufreq"
    found = (probe.read(f"{base}/{policy}/scaling_governor") for policy in probe.names(base, "policy*"))
    return tuple(sorted({governor for governor in found if governor}))


def read_turbo(probe: Probe) -> bool | None:
    """Whether turbo or boost frequencies are allowed; None where the kernel has no switch."""
    no_turbo = probe.read_int("sys/devices/system/cpu/intel_pstate/no_turbo")
    if no_turbo is not None:
        return not no_turbo
    boost = probe.read_int("sys/devices/system/cpu/cpufreq/boost")
    return None if boost is None else bool(boost)


def read_cpuidle(probe: Probe) -> str | None:
    """``driver/governor`` of the idle states."""
    base = "sys/devices/system/cpu/cpuidle"
    driver = probe.read(f"{base}/current_driver")
    if not driver or driver == "none":
        return None
    governor = probe.read(f"{base}/current_governor") or probe.read(f"{base}/current_governor_ro")
    return f"{driver}/{governor}"


def read_memory_bytes(probe: Probe, kind: str = "MemTotal") -> int | None:
    """MemTotal, or another kind, of /proc/meminfo."""
    for line in (probe.read("proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name == kind and value.split():
            return int(value.split()[0]) * 1024
    return None


def read_smt_control(probe: Probe) -> str | None:
    """The kernel's SMT switch: on, off, forceoff, notsupported, notimplemented."""
    return probe.read("sys/devices/system/cpu/smt/control")


def mounted(probe: Probe, kind: str) -> bool:
    """Whether a file system of this kind is mounted anywhere."""
    lines = lines_of(probe.read("proc/self/mounts") or "")
    return any(line.split(" ")[2:3] == [kind] for line in lines)


def read_lockdown(probe: Probe) -> str | None:
    """`none`, `integrity` or `confidentiality`; None where nothing tells it.

    Without securityfs, the boot parameter and the configuration tell what is at least in force.
    """
    told = selected(probe.read("sys/kernel/security/lockdown"))
    if told:
        return told
    for word in (probe.read("proc/cmdline") or "").split():
        if word.startswith("lockdown="):
            return word.partition("=")[2]
    options = kernel_options(read_kernel_config(probe) or "")
    for mode in ("confidentiality", "integrity"):
        if f"CONFIG_LOCK_DOWN_KERNEL_FORCE_{mode.upper()}" in options:
            return mode
    return "none" if options and "CONFIG_SECURITY_LOCKDOWN_LSM" not in options else None


def selected(text: str | None) -> str | None:
    """The choice in brackets: ``always [madvise] never`` is madvise."""
    if not text or "[" not in text:
        return text
    return text.partition("[")[2].partition("]")[0]


def read_scheduler_settings(probe: Probe) -> dict[str, str]:
    """The scheduler's sysctls, and its debugfs files where they may be read."""
    sysctls = ["timer_migration", "numa_balancing", *probe.names("proc/sys/kernel", "sched_*")]
    found = {f"kernel.{name}": probe.read(f"proc/sys/kernel/{name}") for name in sysctls}
    for name in probe.names(_DEBUGFS_SCHEDULER):
        if name not in ("debug", "verbose"):  # a dump of all runqueues, and a switch for messages
            found[f"debugfs.sched.{name}"] = selected(probe.read(f"{_DEBUGFS_SCHEDULER}/{name}"))
    for name in probe.names(f"{_DEBUGFS_SCHEDULER}/llc_balancing"):
        found[f"debugfs.sched.llc_balancing.{name}"] = probe.read(
            f"{_DEBUGFS_SCHEDULER}/llc_balancing/{name}"
        )
    for server in ("fair_server", "ext_server"):
        for name in ("runtime", "period"):
            found[f"debugfs.sched.{server}.{name}"] = _read_per_cpu(probe, server, name)
    return {name: value for name, value in found.items() if value is not None}


def _read_per_cpu(probe: Probe, server: str, name: str) -> str | None:
    """``VALUE on CPUS`` for each value that the CPUs' files of one name have; None where none can be read."""
    cpus: dict[str, list[int]] = {}
    for folder in probe.names(f"{_DEBUGFS_SCHEDULER}/{server}", "cpu*"):
        value = probe.read(f"{_DEBUGFS_SCHEDULER}/{server}/{folder}/{name}")
        if value is not None:
            cpus.setdefault(value, []).append(int(folder.removeprefix("cpu")))
    return "; ".join(f"{value} on {format_cpu_list(on)}" for value, on in cpus.items()) or None


def _read_folder(probe: Probe, folder: str) -> dict[str, str]:
    found = {name: probe.read(f"{folder}/{name}") for name in probe.names(folder)}
    return {name: value for name, value in found.items() if value is not None}


def read_gpus(probe: Probe) -> tuple[Gpu, ...]:
    """The NVIDIA processors; empty where nvidia-smi is missing or fails."""
    tool = probe.which("nvidia-smi")
    query = "--query-gpu=name,driver_version,utilization.gpu"
    text = probe.output(tool, query, "--format=csv,noheader,nounits") if tool else None
    gpus = []
    for line in (text or "").splitlines():
        name, driver, percent = ([part.strip() for part in line.split(",")] + ["", "", ""])[:3]
        number = percent.replace(".", "", 1).isdecimal()
        gpus.append(Gpu(name=name, driver=driver, utilization_percent=float(percent) if number else None))
    return tuple(gpus)
