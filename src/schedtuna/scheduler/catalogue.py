"""Which schedulers can be named here, and what does a binary of one understand? As data, for any reader."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from schedtuna.errors import UsageError
from schedtuna.scheduler.entry import entries
from schedtuna.scheduler.fair import fair
from schedtuna.scheduler.lookup import registered
from schedtuna.scheduler.probe import Joined, ProbedProgram, configured, installed, join, probe
from schedtuna.scheduler.registry import names
from schedtuna.scheduler.spec import SchedulerConfig

_ITSELF = "the kernel"


@dataclass(frozen=True)
class KnownScheduler:
    """A scheduler that can be named.

    Attributes:
        name: Its name.
        nr_parameters: How many parameters it has.
        releases: The first and the last release that is known; empty where there is just one.
        installed: Its program, or `the kernel`; empty where it is not installed.
        summary: What it is, in a sentence.
    """

    name: str
    nr_parameters: int
    releases: str
    installed: str
    summary: str

    def to_dict(self) -> dict[str, Any]:
        """All of it, for programs."""
        row = asdict(self)
        return {"parameters" if key == "nr_parameters" else key: value for key, value in row.items()}


def catalogue() -> list[KnownScheduler]:
    """Return every scheduler that can be named, the kernel's own first."""
    programs = installed()
    own = fair()
    return [
        KnownScheduler(own.name, len(own.parameters), "", _ITSELF, own.description),
        *(
            KnownScheduler(
                entry.name,
                len(entry.config().parameters),
                f"{entry.releases[0]} to {entry.release()}" if len(entry.releases) > 1 else "",
                str(programs.get(entry.name, "")),
                entry.summary,
            )
            for entry in entries().values()
        ),
        *(_brought(name) for name in names() if name not in entries()),
    ]


def _brought(name: str) -> KnownScheduler:
    """One that a package brings, or that this program has registered."""
    try:
        own = registered(name)
    except UsageError as error:
        return KnownScheduler(name, 0, "", "", f"can't be used: {error}")
    program = own.binary_path or installed().get(own.name)
    return KnownScheduler(own.name, len(own.parameters), "", str(program or ""), own.description)


@dataclass(frozen=True)
class Examined:
    """What a binary says of itself, beside what is registered.

    Attributes:
        probed: What it says.
        joined: How that compares with the registry.
        scheduler: It, with the parameters that it has.
        registered: Whether it is known.
    """

    probed: ProbedProgram
    joined: Joined
    scheduler: SchedulerConfig
    registered: bool

    def to_dict(self) -> dict[str, Any]:
        """All of it, for programs."""
        parameters = self.scheduler.parameters
        return {
            "binary": str(self.probed.binary),
            "name": self.probed.name,
            "version": self.probed.version,
            "registered": self.registered,
            **asdict(self.joined),
            "parameters": {name: spec.model_dump(mode="json") for name, spec in parameters.items()},
        }


def find_binary(binary: str | Path) -> Path:
    """Return a binary by its path, or by its name among the installed ones, then in this folder."""
    path = Path(binary).absolute()
    if "/" in str(binary):
        return path
    return installed().get(str(binary), path if path.is_file() else Path(binary))


def examine(binary: Path) -> Examined:
    """Ask a binary what it understands.

    Raises:
        UsageError: It can't be asked, or is no scheduler.
    """
    probed = probe(binary)
    entry = entries().get(probed.name)
    scheduler = configured(probed, entry)
    if entry is None and not scheduler.parameters:
        raise UsageError(
            f"{probed.binary} prints no scheduling options",
            hint="if it is a scheduler, describe it in a file: `schedtuna schedulers check FILE`",
        )
    return Examined(probed, join(probed, entry), scheduler, entry is not None)
