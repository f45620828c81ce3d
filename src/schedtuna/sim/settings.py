"""What had a scheduler's loader prepared when it would have started it? Read in a guest, kept as a file.

A loader computes values before the kernel gets its object: the machine's layout, options, masks. These are
kept by the object's hash, the layout and the kernel, and hold for no other.
"""

from __future__ import annotations

import binascii
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from schedtuna.configfile import first_fault, parse_json
from schedtuna.errors import UnavailableError, UsageError, naming
from schedtuna.files import make_folder, require_trusted, write_text
from schedtuna.files.versions import StoredFormat
from schedtuna.sim.bpf.compiled import cache_folder
from schedtuna.sim.topology import MachineShape

STORED = StoredFormat(UsageError)
SUFFIX: Final = ".settings.json"
_LARGEST = 1 << 26  # bytes of one value
_ANEW = "read them anew: schedtuna sim settings NAME --topology LLCSxCORESxTHREADS"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MapEntries(_Part):
    """Entries of a map: (key, value), packed."""

    name: str
    type: int
    key_size: int
    value_size: int
    entries: tuple[tuple[str, str], ...]


class LoaderCall(_Part):
    """A program of the object that the loader ran.

    Attributes:
        function: The number of its type in the object's BTF, and its name as far as the kernel keeps it.
        context, left: What it was given, and what that was afterwards; packed.
        pointers, left_pointers: Addresses of the guest's arena therein, in hexadecimal.
        written: What the loader had written since the program before: section or empty, address or empty,
            offset, and the bytes, packed.
        returned: By the program.
    """

    function: tuple[int, str]
    context: str
    left: str
    pointers: tuple[str, ...]
    left_pointers: tuple[str, ...]
    written: tuple[tuple[str, str, int, str], ...]
    returned: int


class LoaderSettings(_Part):
    """What a loader had prepared.

    Attributes:
        version: Of this format.
        program, arguments: The loader, and what it was given.
        sha256: Of its object.
        topology: Of the guest: LLCSxCORESxTHREADS.
        release: The guest's kernel.
        sections: Global variables, by the kernel's name of the section; packed.
        maps: What is in maps.
        unread: Maps with something in them that can't be read from outside.
        operations: struct bpf_struct_ops_sched_ext_ops as the kernel has it; packed.
        calls: The programs that it ran, in order.
        written: What it wrote after the last of them, as in `LoaderCall`.
    """

    version: int = STORED.newest
    program: str
    arguments: tuple[str, ...] = ()
    sha256: str
    topology: str
    release: str
    sections: dict[str, str]
    maps: tuple[MapEntries, ...]
    unread: tuple[str, ...]
    operations: str
    calls: tuple[LoaderCall, ...]
    written: tuple[tuple[str, str, int, str], ...]

    @staticmethod
    def of_guest(found: Mapping[str, Any], **more: Any) -> LoaderSettings:
        """Return what a guest told (`lab.loader`), with the attributes that it does not know.

        Raises:
            UsageError: It is not what a guest tells.
        """
        return _validated({**found, **more}, "what the guest told")

    @property
    def key(self) -> str:
        """What tells it from others in results."""
        return format(zlib.crc32(self.model_dump_json().encode()), "08x")


def _validated(content: object, where: Path | str) -> LoaderSettings:
    try:
        return LoaderSettings.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{where} is no settings of a loader: {first_fault(error)}", hint=_ANEW) from None


def unpacked(text: str) -> bytes:
    """Bytes that were packed into text.

    Raises:
        UsageError: They were not.
    """
    try:
        engine = zlib.decompressobj()
        data = engine.decompress(binascii.a2b_base64(text), _LARGEST)
    except (ValueError, zlib.error) as error:
        raise UsageError(f"a loader's settings are damaged: {error}", hint=_ANEW) from None
    if engine.unconsumed_tail or not engine.eof:
        raise UsageError("a loader's settings are damaged: a value is too large, or cut off", hint=_ANEW)
    return data


def read_settings(path: Path) -> LoaderSettings:
    """Read a file of settings.

    Raises:
        UsageError: It is none.
        UnavailableError: It can't be read.
    """
    try:
        content = parse_json(path.read_bytes(), any_text=True)
    except OSError as error:
        raise UnavailableError(f"can't read {path}: {error.strerror}", hint=_ANEW) from error
    except ValueError as error:
        raise UsageError(f"{path} is no settings of a loader: {error}", hint=_ANEW) from None
    return _validated(STORED.upgrade(content, path), path)


def write_settings(path: Path, settings: LoaderSettings) -> None:
    """Write a file of settings."""
    with naming(path):
        write_text(path, json.dumps(settings.model_dump(mode="json"), indent=1) + "\n")


def kept_path(sha256: str, shape: MachineShape, release: str) -> Path:
    """Where the settings of an object for a layout and a kernel are kept, and looked for."""
    return cache_folder() / f"{sha256[:32]}-{shape}-{release.replace('/', '_')}{SUFFIX}"


def keep_settings(settings: LoaderSettings, shape: MachineShape) -> Path:
    """Keep settings where they are found by themselves; returns the file."""
    path = kept_path(settings.sha256, shape, settings.release)
    with naming(path.parent):
        make_folder(path.parent)
    write_settings(path, settings)
    return path


def find_settings(sha256: str, shape: MachineShape, release: str) -> LoaderSettings | None:
    """Return what is kept of an object; None: nothing is.

    Raises:
        UntrustedError: This process has privilege, and somebody else could have changed it.
    """
    path = kept_path(sha256, shape, release)
    if not path.is_file():
        return None
    return read_settings(require_trusted(path, "as what a loader computes", hint="remove it"))


def require_fitting(settings: LoaderSettings, sha256: str, shape: MachineShape, release: str) -> None:
    """Refuse settings of another object, layout or kernel.

    Raises:
        UsageError: They are.
    """
    wanted = {
        "object": (settings.sha256[:16], sha256[:16]),
        "topology": (settings.topology, str(shape)),
        "kernel": (settings.release or "unknown", release or "unknown"),
    }
    others = [
        f"{what} {found}, and this is {here}" for what, (found, here) in wanted.items() if found != here
    ]
    if others:
        raise UsageError(f"the settings of {settings.program} are of {'; of '.join(others)}", hint=_ANEW)
