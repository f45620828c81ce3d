"""Which machine, programs and seed a result comes from, and whether a study may go on here."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from schedtuna import __version__
from schedtuna.configfile import first_fault, parse_json
from schedtuna.errors import ConfigFileError, UsageError
from schedtuna.files.versions import StoredFormat
from schedtuna.machine import facts
from schedtuna.machine.binaries import hash_programs
from schedtuna.machine.daemons import running_daemons
from schedtuna.machine.facts import MachineFacts
from schedtuna.machine.probe import Probe
from schedtuna.machine.topology import read_topology

STORED = StoredFormat(ConfigFileError, key="format_version")
FILE_NAME = "manifest.json"
_MAX_FILE_BYTES = 8 << 20  # a machine of 8192 CPUs needs 2 MB


class Manifest(BaseModel):
    """Where a result comes from.

    Attributes:
        format_version: Version of this format.
        schedtuna_version: The program that wrote it.
        created_at: Unix time in seconds.
        machine: The machine's facts.
        daemons: Running programs that change scheduling on their own.
        command: The workload's argument list; empty without a workload.
        binary_hashes: Path -> SHA-256 of the executable, of its interpreters and of files named
            in the command.
        seed: The study's seed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = STORED.newest
    schedtuna_version: str = __version__
    created_at: float
    machine: MachineFacts
    daemons: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    binary_hashes: dict[str, str] = {}
    seed: int | None = None

    def stable_hash(self) -> str:
        """A hash of everything but the moment: equal for equal conditions (16 hex digits)."""
        value = self.model_dump(mode="json", exclude={"created_at"})
        for gpu in value["machine"]["gpus"]:
            del gpu["utilization_percent"]
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def build_manifest(
    argv: Sequence[str] = (),
    seed: int | None = None,
    *,
    folder: Path | None = None,
    search_path: str | None = None,
    probe: Probe | None = None,
) -> Manifest:
    """Describe this machine and the workload as they are now.

    Args:
        argv: The workload's command.
        seed: The study's seed.
        folder: The workload's working directory, for relative paths in the command.
        search_path: The workload's PATH; default: this process's own.
        probe: Where to read from; default: the running machine.
    """
    probe = probe or Probe.live()
    return Manifest(
        created_at=time.time(),
        machine=facts.read_facts(probe),
        daemons=tuple(sorted({found.daemon.name for found in running_daemons(probe)})),
        command=tuple(argv),
        binary_hashes=hash_programs(argv, folder=folder, search_path=search_path),
        seed=seed,
    )


def load_manifest(path: Path) -> Manifest:
    """Read a manifest from a file, or from the folder of a result that contains one.

    Raises:
        UsageError: There is no such file.
        ConfigFileError: The file is not a manifest, or one of a newer version.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        # O_NONBLOCK: a named pipe must not hang the command.
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise ConfigFileError(
                    f"{file}: expected a manifest, found something that is not a regular file"
                )
            content = stream.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"can't read {file}: {error.strerror}",
            hint=f"give a {FILE_NAME}, or a results folder that contains one",
        ) from error
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigFileError(f"{file}: expected a manifest, found more than {_MAX_FILE_BYTES >> 20} MiB")
    return _parse(file, content)


def _parse(file: Path, content: bytes) -> Manifest:
    try:
        value = parse_json(content)
    except json.JSONDecodeError as error:
        raise ConfigFileError(f"{file}, line {error.lineno}: not JSON: {error.msg}") from error
    except ValueError as error:  # not UTF-8, a number of 5000 digits, 10^5 brackets
        raise ConfigFileError(f"{file}: not JSON: {error}") from error
    if not isinstance(value, dict) or STORED.key not in value:
        raise ConfigFileError(f"{file}: not a manifest: it has no {STORED.key}")
    try:
        return Manifest.model_validate_json(json.dumps(STORED.upgrade(value, file)))
    except ValidationError as error:
        raise ConfigFileError(f"{file}: not a manifest: {first_fault(error)}") from error


def machine_identity(probe: Probe | None = None) -> dict[str, Any]:
    """What must stay the same while a study goes on: another boot may, another kernel may not."""
    probe = probe or Probe.live()
    return {
        "machine_id_hash": facts.read_machine_id_hash(probe),
        "cpu_model": facts.read_cpu_model(probe),
        "kernel_release": probe.read("proc/sys/kernel/osrelease"),
        "cpus": list(read_topology(probe.path("sys")).online),
    }
