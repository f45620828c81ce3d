"""The machine that is simulated, as recordings have moved it: its constants, and where each is from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from schedtuna import __version__
from schedtuna.configfile import first_fault, parse_json
from schedtuna.errors import ConfigFileError, UsageError
from schedtuna.files import make_folder, write_text
from schedtuna.files.versions import StoredFormat
from schedtuna.knobs.state import state_directory

STORED = StoredFormat(ConfigFileError, key="format_version")
HERE = "here"  # what a user calls the file in the state folder
FILE_NAME = "simulated-machine.json"


class Constant(BaseModel):
    """One of the machine's constants.

    Attributes:
        value: In its own unit.
        is_fitted: Whether recordings have moved it.
        source: From what, or why it is the default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: int
    is_fitted: bool
    source: str


class SimulatedMachine(BaseModel):
    """What `sim calibrate` writes.

    Attributes:
        format_version: Of this format.
        schedtuna_version: The program that wrote it.
        kernel_release, hz, preemption, topology: Of the machine that was recorded; None: not known.
        constants: By name: every one that the simulator has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = STORED.newest
    schedtuna_version: str = __version__
    kernel_release: str | None = None
    hz: int | None = None
    preemption: str | None = None
    topology: str | None = None
    constants: dict[str, Constant]

    @property
    def costs(self) -> dict[str, int]:
        """The constants as simulations take them."""
        return {name: constant.value for name, constant in self.constants.items()}


def default_path() -> Path:
    """Where the file of this machine is."""
    return state_directory() / FILE_NAME


def machine_text(machine: SimulatedMachine) -> str:
    """Return what a machine file holds."""
    return json.dumps(machine.model_dump(mode="json"), indent=2) + "\n"


def write_machine(machine: SimulatedMachine, path: Path) -> None:
    """Write a machine file into a folder of ours, whole or not at all."""
    make_folder(path.parent)
    write_text(path, machine_text(machine))


def read_machine(name: str) -> SimulatedMachine:
    """Read a machine file; ``here`` is this machine's.

    Raises:
        UsageError: There is no such file.
        ConfigFileError: It is none, or of a newer version.
    """
    path = default_path() if name == HERE else Path(name)
    try:
        value: Any = parse_json(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"can't read the machine file {path}: {error.strerror}",
            hint="`schedtuna sim calibrate` writes one",
        ) from error
    except ValueError as error:
        raise ConfigFileError(f"{path} is no machine file: {error}") from error
    try:
        return SimulatedMachine.model_validate(STORED.upgrade(value, path))
    except ValidationError as error:
        raise ConfigFileError(f"{path} is no machine file: {first_fault(error)}") from error
