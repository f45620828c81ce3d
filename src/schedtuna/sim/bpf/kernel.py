"""Which kernel is a scheduler translated for? Its types and configuration say what exists."""

from __future__ import annotations

import gzip
import hashlib
import mmap
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.sim.bpf.elf import Elf
from schedtuna.sim.bpf.types import STRUCT, Types

RUNNING: Final = Path("/sys/kernel/btf/vmlinux")
_GIVE = "give a vmlinux, or a file with BTF, of a kernel with CONFIG_DEBUG_INFO_BTF=y"
_OPERATIONS: Final = "sched_ext_ops"
_BANNER = re.compile(rb"Linux version (\d+\.\d+\S*)")
_OPTION = re.compile(r"^(CONFIG_\w+)=(.*)$", re.MULTILINE)


@dataclass
class KernelTypes:
    """A kernel, as far as a BPF object asks for it.

    Attributes:
        source: Where it is from: a path.
        release: As `uname -r` says; empty where it is not known.
        data: Its BTF, raw.
        options: Its configuration: CONFIG_NAME -> value as in the file; empty where it is not known.
    """

    source: str
    release: str
    data: bytes = field(repr=False)
    options: dict[str, str] = field(default_factory=dict, repr=False)

    @cached_property
    def types(self) -> Types:
        """Its types."""
        return Types(self.data, self.source)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that translations take from it."""
        rest = repr((self.release, sorted(self.options.items()))).encode()
        return hashlib.sha256(hashlib.sha256(self.data).digest() + rest).hexdigest()

    @property
    def label(self) -> str:
        """What to call it in results."""
        return f"{self.release or self.source} (BTF {hashlib.sha256(self.data).hexdigest()[:12]})"

    @property
    def version_code(self) -> int | None:
        """LINUX_KERNEL_VERSION; None where the release is not known."""
        found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", self.release)
        if not found:
            return None
        major, minor, patch = int(found[1]), int(found[2]), int(found[3] or 0)
        return major << 16 | minor << 8 | min(patch, 255)

    @property
    def has_sched_ext(self) -> bool:
        """Whether it was built with sched_ext."""
        return bool(self.types.named(_OPERATIONS, frozenset({STRUCT})))


def read_kernel(path: Path = RUNNING) -> KernelTypes:
    """Read a kernel's types: the running one's, a vmlinux, or a file with BTF.

    A file `config` beside a vmlinux is taken as its configuration.

    Raises:
        UnavailableError: It can't be read.
        UsageError: It has no types.
    """
    try:
        if not path.is_file():
            raise UsageError(f"{path} is no file", hint=_GIVE)
        if path == RUNNING:
            release = os.uname().release
            return KernelTypes(str(path), release, path.read_bytes(), _running_options(release))
        return _read_file(path)
    except OSError as error:
        raise UnavailableError(
            f"can't read a kernel's types from {path}: {error.strerror}",
            hint=_GIVE,
        ) from error


def _read_file(path: Path) -> KernelTypes:
    if not path.stat().st_size:
        raise UsageError(f"{path} is empty", hint=_GIVE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:2] == b"\x9f\xeb":
            return KernelTypes(str(path), "", data[:])
        with memoryview(data) as view:
            elf = Elf(view, str(path), "a kernel")
            section = elf.index(".BTF")
            if section is None:
                raise UsageError(f"{path} has no types (BTF)", hint=_GIVE)
            banner = _BANNER.search(data)
            release = banner[1].decode() if banner else ""
            return KernelTypes(str(path), release, elf.content(section), _options_beside(path))


def _options_beside(path: Path) -> dict[str, str]:
    config = path.with_name("config")
    return parse_options(config.read_text(encoding="utf-8")) if config.is_file() else {}


def _running_options(release: str) -> dict[str, str]:
    own, boot = Path("/proc/config.gz"), Path(f"/boot/config-{release}")
    if own.exists():
        return parse_options(gzip.decompress(own.read_bytes()).decode())
    return parse_options(boot.read_text(encoding="utf-8")) if boot.is_file() else {}


def parse_options(text: str) -> dict[str, str]:
    """Read a kernel's configuration: CONFIG_NAME -> value, without the options that are not set."""
    return dict(_OPTION.findall(text))
