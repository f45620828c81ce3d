"""For which machine does the certificate hold, and does it hold for an answer of the simulator's?

`certification` is what commands call; it reads one small file, and imports next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from schedtuna.knobs.state import state_directory

CERTIFICATE_NAME = "simulator-certificate.json"
NOISE = ("irq_per_s", "irq_ns", "kthread_per_s", "kthread_ns")  # no part of the model: of an hour
_PREEMPTION = {
    "CONFIG_PREEMPT_NONE": "none",
    "CONFIG_PREEMPT_VOLUNTARY": "voluntary",
    "CONFIG_PREEMPT": "full",
    "CONFIG_PREEMPT_LAZY": "lazy",
    "CONFIG_PREEMPT_RT": "rt",
}


@dataclass(frozen=True)
class Envelope:
    """What a machine must be for the certificate to hold; None: it can't be told.

    Attributes:
        kernel_release: As `uname -r`.
        hz: Ticks a second.
        preemption: none, voluntary, full, lazy or rt.
        topology: LLCSxCORESxTHREADS.
        cpu_model: The processor's name.
    """

    kernel_release: str | None
    hz: int | None
    preemption: str | None
    topology: str
    cpu_model: str | None

    def rows(self) -> list[tuple[str, str]]:
        """Names and values, for people."""
        named = zip(("kernel", "HZ", "preemption", "CPUs", "processor"), asdict(self).values(), strict=True)
        return [(name, "unknown" if value is None else str(value)) for name, value in named]


def envelope_here(topology: str) -> Envelope:
    """Return this machine's envelope.

    Args:
        topology: Its CPUs, as the simulator writes them.
    """
    from schedtuna.machine.facts import kernel_options, read_cmdline, read_cpu_model, read_kernel_config
    from schedtuna.machine.probe import Probe

    probe = Probe.live()
    options = kernel_options(read_kernel_config(probe) or "")
    hz = options.get("CONFIG_HZ", "")
    chosen = next((mode for name, mode in _PREEMPTION.items() if options.get(name) == "y"), None)
    for word in (read_cmdline(probe) or "").split():
        if word.startswith("preempt="):
            chosen = word.removeprefix("preempt=")
    return Envelope(
        kernel_release=probe.read("proc/sys/kernel/osrelease"),
        hz=int(hz) if hz.isdecimal() else None,
        preemption=chosen,
        topology=topology,
        cpu_model=read_cpu_model(probe),
    )


@dataclass(frozen=True)
class Certification:
    """Whether an answer is covered by the certificate.

    Attributes:
        is_certified: Whether it is.
        text: A sentence for people: for what, or why not.
    """

    is_certified: bool
    text: str


def default_certificate() -> Path:
    """Where this machine's certificate is kept."""
    return state_directory() / CERTIFICATE_NAME


def certification(
    topology: str, scheduler: Mapping[str, Any], costs: Mapping[str, int], *, path: Path | None = None
) -> Certification:
    """Say whether this machine's certificate covers an answer of the simulator's.

    Args:
        topology: The simulated machine's, as LLCSxCORESxTHREADS.
        scheduler: Which was simulated: its `name`, and all its `parameters`.
        costs: Constants of the simulated machine.
        path: The certificate; default: this machine's, in the state folder.
    """
    found = _read(path or default_certificate())
    if isinstance(found, str):
        return Certification(False, f"not certified for this machine: {found}")
    problem = _problem(found, topology, scheduler, costs)
    if problem:
        return Certification(False, f"not certified for this machine: {problem}")
    envelope = found["envelope"]
    return Certification(
        True,
        f"certified for {topology} CPUs under Linux {envelope['kernel_release']}, HZ {envelope['hz']},"
        f" preemption {envelope['preemption']}",
    )


def _read(path: Path) -> dict[str, Any] | str:
    from schedtuna.configfile import parse_json

    try:
        found = parse_json(path.read_bytes())
    except FileNotFoundError:
        return "`schedtuna sim fidelity` has not been run"
    except (OSError, ValueError):
        return f"{path} can't be read"
    needed = {"envelope", "is_certified", "reason", "costs", "parameters"}
    if (
        not isinstance(found, dict)
        or not needed <= set(found)
        or not all(isinstance(found[name], dict) for name in ("envelope", "costs", "parameters"))
    ):
        return f"{path} is no certificate"
    return found


def _problem(
    found: Mapping[str, Any], topology: str, scheduler: Mapping[str, Any], costs: Mapping[str, int]
) -> str:
    envelope = found["envelope"]
    if not found["is_certified"]:
        return f"the certificate was refused: {found['reason']}"
    if scheduler["name"] != "fair":
        return f"the certificate is of `fair`, not of {scheduler['name']}"
    if topology != envelope.get("topology"):
        return f"the certificate is of {envelope.get('topology')} CPUs, not of {topology}"
    certified = found["costs"]
    if not costs.keys() <= certified.keys():  # of before there were some, which then were as by default
        from schedtuna.sim.simulation import complete_costs

        certified = complete_costs({}) | certified
    moved = [name for name, value in costs.items() if name not in NOISE and certified.get(name) != value]
    if moved:
        more = f" and {len(moved) - 1} more differ" if len(moved) > 1 else " differs"
        return f"{moved[0]}{more} from the certificate's machine: simulate it with `--machine here`"
    for name, value in scheduler["parameters"].items():
        held = found["parameters"].get(name)
        if held != value:
            return f"`fair` was held against this machine with {name}={held}, not {value:d}"
    here = envelope_here(topology)
    for (name, value), (key, is_now) in zip(here.rows(), asdict(here).items(), strict=True):
        if envelope.get(key) != is_now:
            return f"the certificate is of {name} {envelope.get(key)}, and here it is {value}"
    return ""
