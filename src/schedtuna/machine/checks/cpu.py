"""The processor, and what disturbs measurements on it."""

from __future__ import annotations

from schedtuna.errors import SchedtunaError
from schedtuna.machine import facts
from schedtuna.machine.checks.finding import Check, Finding, ok, warning
from schedtuna.machine.cpu_lists import format_cpu_list
from schedtuna.machine.daemons import running_daemons
from schedtuna.machine.probe import Probe
from schedtuna.machine.procstat import parse_proc_stat
from schedtuna.machine.topology import read_topology
from schedtuna.machine.virtualization import read_container, read_virtualization

_STEAL_WORTH_SAYING = 0.005  # of all time since boot: bursts of tens of percent hide in it
_LOAD_WORTH_SAYING = 0.25  # runnable tasks per CPU, over the last minute


def check_model(probe: Probe) -> Finding:
    """Which processor."""
    return ok(facts.read_cpu_model(probe))


def check_topology(probe: Probe) -> Finding:
    """What the CPUs share."""
    topology = read_topology(probe.path("sys"))
    seen = topology.summary() + (", of unequal speed" if topology.asymmetric else "")
    given = topology.model_dump(mode="json") | {"llcs": topology.llcs, "cores": topology.cores}
    if topology.offline:
        return warning(
            f"{seen}; offline: {format_cpu_list(topology.offline)}",
            "fewer CPUs than the machine has",
            "echo 1 > /sys/devices/system/cpu/cpuN/online",
            **given,
        )
    if not topology.caches_known:
        return warning(
            f"{seen}; caches unknown",
            "a socket counts as one last-level cache, which may be wrong",
            "let the hypervisor pass the cache topology on",
            **given,
        )
    return ok(seen, **given)


def check_smt(probe: Probe) -> Finding:
    """Whether hardware threads share cores."""
    if read_topology(probe.path("sys")).smt:
        return ok("on: affinity `one per core` is worth a trial", smt=True)
    return ok(f"off ({facts.read_smt_control(probe) or 'no control'})", smt=False)


def check_governor(probe: Probe) -> Finding:
    """Whether the frequency follows the load."""
    governors = facts.read_governors(probe)
    if not governors:
        return ok("none: the kernel does not set the frequency", governors=[])
    if governors == ("performance",):
        return ok("performance", governors=governors)
    return warning(
        ", ".join(governors),
        "the frequency follows the load: noisier runs, slow first milliseconds",
        "cpupower frequency-set -g performance, while measuring",
        governors=governors,
    )


def check_turbo(probe: Probe) -> Finding:
    """Whether the frequency depends on heat and neighbours."""
    turbo = facts.read_turbo(probe)
    if turbo is None:
        return ok("no switch", turbo=None)
    if not turbo:
        return ok("off", turbo=False)
    intel = probe.exists("sys/devices/system/cpu/intel_pstate/no_turbo")
    return warning(
        "on",
        "speed depends on heat and on busy neighbours; interleaving averages it out",
        "echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo"
        if intel
        else "echo 0 > /sys/devices/system/cpu/cpufreq/boost",
        turbo=True,
    )


def check_cpuidle(probe: Probe) -> Finding:
    """Which idle states there are."""
    used = facts.read_cpuidle(probe)
    if used is None:
        return ok("none: idling is left to the hardware or hypervisor")
    base = "sys/devices/system/cpu/cpu0/cpuidle"
    latencies = [probe.read_int(f"{base}/{state}/latency") or 0 for state in probe.names(base, "state*")]
    deepest_us = max(latencies, default=0)
    return ok(f"{used}, deepest state wakes in {deepest_us} us", cpuidle=used, deepest_us=deepest_us)


def check_isolated(probe: Probe) -> Finding:
    """Whether the scheduler leaves CPUs alone."""
    isolated = facts.read_cpus(probe, "sys/devices/system/cpu/isolated")
    if not isolated:
        return ok("none")
    return warning(
        format_cpu_list(isolated),
        "tasks are not balanced onto these CPUs",
        "boot without isolcpus=, or name the CPUs in the workload",
        isolated=isolated,
    )


def check_virtualization(probe: Probe) -> Finding:
    """Whether a hypervisor is in between."""
    kind = read_virtualization(probe)
    if kind == "none":
        return ok("none: bare metal", kind=kind)
    return warning(
        kind,
        "time is stolen, frequency is out of sight, and results hold for this VM",
        "measure on bare metal, or keep to interleaved runs (as compare and tune do)",
        kind=kind,
    )


def check_container(probe: Probe) -> Finding:
    """Whether this is a container."""
    kind = read_container(probe)
    if kind == "none":
        return ok("none", kind=kind)
    return warning(
        kind,
        "its limits and seccomp filter may refuse knobs; others share the CPUs",
        "run on the host to reach every knob",
        kind=kind,
    )


def check_steal(probe: Probe) -> Finding:
    """How much time the hypervisor gave to others since boot."""
    try:
        total = parse_proc_stat(probe.read("proc/stat") or "").total
    except SchedtunaError as error:
        return warning(str(error), "steal can't be used as a validity gate")
    seen = f"{total.steal_fraction:.2%} since boot"
    given = {"steal_fraction": total.steal_fraction, "irq_fraction": total.irq_fraction}
    if total.steal_fraction < _STEAL_WORTH_SAYING:
        return ok(seen, **given)
    return warning(
        seen,
        "runs that met a burst are too slow; they are marked, and more are needed",
        "ask for dedicated CPUs, or measure at quiet hours",
        **given,
    )


def check_load(probe: Probe) -> Finding:
    """Whether something else runs now."""
    words = (probe.read("proc/loadavg") or "").split()
    cpus = len(read_topology(probe.path("sys")).cpus)
    try:
        load = float(words[0])
    except (IndexError, ValueError):
        return warning("unknown", "something else may be running")
    seen = f"{load:.2f} over the last minute, on {cpus} CPU{'s' if cpus > 1 else ''}"
    if load < _LOAD_WORTH_SAYING * cpus:
        return ok(seen, load=load)
    return warning(seen, "something else runs: noisier results", "stop it, or let it finish", load=load)


def check_daemons(probe: Probe) -> Finding:
    """Whether somebody else changes scheduling."""
    running = running_daemons(probe)
    interfering = sorted({found.daemon for found in running if found.daemon.interferes}, key=lambda d: d.name)
    harmless = sorted({found.daemon.name for found in running if not found.daemon.interferes})
    names = [daemon.name for daemon in interfering]
    if not interfering:
        return ok(f"none ({', '.join(harmless)} runs)" if harmless else "none", running=harmless)
    return warning(
        ", ".join(names),
        "; ".join(f"{daemon.name} {daemon.does}" for daemon in interfering),
        " && ".join(daemon.stop for daemon in interfering) + ", while measuring",
        running=names + harmless,
    )


CPU_CHECKS = (
    Check("cpu_model", "processor", check_model),
    Check("topology", "topology", check_topology),
    Check("smt", "SMT", check_smt),
    Check("governor", "frequency governor", check_governor),
    Check("turbo", "turbo", check_turbo),
    Check("cpuidle", "idle states", check_cpuidle),
    Check("isolated_cpus", "isolated CPUs", check_isolated),
)
NOISE_CHECKS = (
    Check("virtualization", "virtualization", check_virtualization),
    Check("container", "container", check_container),
    Check("steal", "stolen time", check_steal),
    Check("load", "other load", check_load),
    Check("daemons", "interfering daemons", check_daemons),
)
