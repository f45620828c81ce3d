"""Which programs are installed: schedulers, loads, tools."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from schedtuna.configfile import parse_json
from schedtuna.errors import UnavailableError
from schedtuna.machine import facts
from schedtuna.machine.checks.finding import Check, Finding, missing, ok, warning
from schedtuna.machine.checks.packages import Package, distribution, install_hint
from schedtuna.machine.labfolder import STATE_NAME, lab_directory
from schedtuna.machine.probe import Probe
from schedtuna.resources import resource_path

SCX_PATH_VARIABLE = "SCHEDTUNA_SCX_PATH"
_TUNA = "native/scx_tuna.bpf.o"


@dataclass(frozen=True)
class Tool:
    """A program that something needs.

    Attributes:
        commands: Names that it may have; the first is its own.
        cost: What its absence costs.
        package: Where it comes from.
    """

    commands: tuple[str, ...]
    cost: str
    package: Package


TOOLS = (
    Tool(("stress-ng",), "most loads of the bundled suite don't run", Package("stress-ng", "stress-ng")),
    Tool(("sysbench",), "the suite's sysbench loads don't run", Package("sysbench", "sysbench")),
    Tool(("hackbench",), "the suite's hackbench loads don't run", Package("rt-tests", "realtime-tests")),
    Tool(
        ("cyclictest",), "the suite's wakeup-latency loads don't run", Package("rt-tests", "realtime-tests")
    ),
    Tool(
        ("schbench",),
        "no schbench (request latency) as a load",
        Package(otherwise="build it: https://github.com/masoncl/schbench"),
    ),
    Tool(
        ("perf",),
        "no `perf bench` as a load, no import of `perf sched` records",
        Package("linux-perf", "perf", ubuntu="linux-tools-generic"),
    ),
    Tool(
        ("pgbench",),
        "no pgbench (PostgreSQL) as a load",
        Package("postgresql", "postgresql-contrib", ubuntu="postgresql-contrib"),
    ),
    Tool(("wrk",), "no wrk (HTTP) as a load", Package("wrk", "wrk")),
    Tool(
        ("llama-bench",),
        "no llama-bench (language models) as a load",
        Package(fedora="llama-cpp", otherwise="build it: https://github.com/ggml-org/llama.cpp"),
    ),
    Tool(
        ("clang",),
        "BPF programs can't be built from source; installed wheels bring them built",
        Package("clang", "clang"),
    ),
)


def _check_tool(probe: Probe, tool: Tool) -> Finding:
    found = next(filter(None, map(probe.which, tool.commands)), None)
    return (
        ok(found, path=found)
        if found
        else missing("not on PATH", tool.cost, install_hint(probe, tool.package))
    )


def scx_binaries(probe: Probe) -> dict[str, str]:
    """Name -> path of the installed sched_ext schedulers; SCHEDTUNA_SCX_PATH goes before PATH."""
    folders = ":".join(
        filter(None, (probe.environment.get(SCX_PATH_VARIABLE), probe.environment.get("PATH", os.defpath)))
    )
    found: dict[str, str] = {}
    for folder in filter(None, folders.split(":")):
        try:
            paths = sorted(Path(folder).absolute().glob("scx_*"))
        except OSError:
            continue
        for path in paths:
            if path.name != "scx_loader" and os.access(path, os.X_OK) and path.is_file():
                found.setdefault(path.name, str(path))
    return found


def check_scx(probe: Probe) -> Finding:
    """Which sched_ext schedulers are installed."""
    found = scx_binaries(probe)
    if found:
        return ok(", ".join(sorted(found)), paths=found)
    if "fedora" in distribution(probe):
        get = "dnf copr enable bieszczaders/kernel-cachyos-addons && dnf install scx-scheds"
    elif "arch" in distribution(probe):
        get = "pacman -S scx-scheds"
    else:
        get = f"build https://github.com/sched-ext/scx, and name its folder in {SCX_PATH_VARIABLE}"
    return missing("none on PATH", "no scheduler but `fair` can be tuned on this machine", get)


def check_lab(probe: Probe) -> Finding:
    """Whether guests can be booted: what `schedtuna lab setup` has fetched."""
    folder = lab_directory(probe.environment)
    if probe.exists(str(folder / STATE_NAME)):
        accelerator = _accelerator(probe)
        how = f", its guests run with {accelerator.upper()}" if accelerator in ("kvm", "tcg") else ""
        return ok(f"set up in {folder}{how}", path=str(folder), accelerator=accelerator)
    can_be = facts.read_architecture(probe) == "x86_64" and probe.which("apt-get")
    return missing(
        "not set up",
        "no guests with other kernels and their schedulers (`--backend vm`)",
        "schedtuna lab setup" if can_be else "an x86-64 machine with Debian's apt, for `schedtuna lab setup`",
    )


def check_kvm(probe: Probe) -> Finding:
    """Whether virtual machines run at full speed."""
    cost = "the VM lab emulates the processor: no timing means anything there"
    if not probe.exists("dev/kvm"):
        return missing("no /dev/kvm", cost, "load kvm_intel or kvm_amd; in a VM, allow nesting")
    if not probe.writable("dev/kvm"):
        return missing("/dev/kvm is not for this user", cost, "usermod -aG kvm USER, and log in again")
    match _accelerator(probe):  # the device says little: software KVM, too, has one
        case "kvm":
            return ok("/dev/kvm, and guests boot with it")
        case "tcg":
            return warning(
                "/dev/kvm is there, but guests of the lab did not boot with it: they are emulated (TCG)",
                cost,
                "in a VM, allow nesting; `schedtuna lab clean` and `schedtuna lab setup` try it anew",
            )
    return ok("/dev/kvm; `schedtuna lab setup` finds out whether guests boot with it")


def _accelerator(probe: Probe) -> str | None:
    """How the lab's guests run, by what `lab setup` saw; None where there is no lab that can be read."""
    text = probe.read(str(lab_directory(probe.environment) / STATE_NAME))
    with suppress(ValueError):
        lab = parse_json(text or "")
        return lab.get("accelerator") if isinstance(lab, dict) else None
    return None


def check_gpu(probe: Probe) -> Finding:
    """Whether GPUs can be described."""
    gpus = facts.read_gpus(probe)
    if gpus:
        used = (
            f"{gpu.name}"
            + (f", {gpu.utilization_percent:g}% busy" if gpu.utilization_percent is not None else "")
            for gpu in gpus
        )
        return ok("; ".join(used), gpus=[gpu.model_dump() for gpu in gpus])
    if probe.which("nvidia-smi"):
        return warning("nvidia-smi lists none", "GPUs are not in the manifest", "see `nvidia-smi`")
    if probe.exists("proc/driver/nvidia/version"):
        return missing(
            "NVIDIA's driver is loaded, nvidia-smi is missing",
            "GPUs are not in the manifest",
            install_hint(probe, Package("nvidia-smi", "xorg-x11-drv-nvidia-cuda", ubuntu="nvidia-utils-550")),
        )
    return ok("no NVIDIA driver")


def check_simulator(probe: Probe) -> Finding:  # noqa: ARG001 - it is this installation's
    """Whether the simulator's native module was built, and has what it needs."""
    lacking = [name for name in ("schedtuna.sim._native", "nanobind_backend") if find_spec(name) is None]
    if not lacking:
        return ok("installed")
    return missing(f"lacks {', '.join(lacking)}", "nothing can be simulated", "pip install 'schedtuna[sim]'")


def check_tuna(probe: Probe) -> Finding:
    """Whether this installation has our own sched_ext scheduler."""
    try:
        return ok("built, for kernels with sched_ext from 6.16 on", path=str(resource_path(_TUNA)))
    except UnavailableError:
        return missing(
            "not built: there was no clang 17 or newer",
            "`schedtuna schedulers start scx_tuna` does not work; recording does",
            f"{install_hint(probe, Package('clang-19', 'clang'))}, and reinstall schedtuna",
        )


def _row(tool: Tool) -> Check:
    name = tool.commands[0]
    return Check(name.replace("-", "_"), name, lambda probe: _check_tool(probe, tool))


CHECKS = (
    Check("scx_schedulers", "scx_* schedulers", check_scx),
    Check("scx_tuna", "scx_tuna", check_tuna),
    *(_row(tool) for tool in TOOLS),
    Check("lab", "VM lab", check_lab),
    Check("kvm", "KVM", check_kvm),
    Check("gpu", "GPU", check_gpu),
    Check("simulator", "simulator", check_simulator),
)
