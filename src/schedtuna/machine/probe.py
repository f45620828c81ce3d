"""How facts are read: from files below one root, and from a few calls to the running kernel.

A root other than `/` holds recorded or made-up `proc` and `sys` trees; the running kernel is
then never asked. Nothing here raises for a file that is missing or may not be read.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from schedtuna.kernel.perf_events import open_cycle_counter
from schedtuna.kernel.slices import read_back_slice


def run_tool(argv: Sequence[str], timeout_s: float = 5.0) -> str | None:
    """Return a tool's standard output, or None where it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            list(argv), capture_output=True, text=True, errors="replace", timeout=timeout_s, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


@dataclass(frozen=True)
class Calls:
    """What has to be asked of the running kernel.

    Attributes:
        read_back_slice: Sets an EEVDF slice on a thread and reads it back: the default in
            nanoseconds and whether it was kept.
        open_cycle_counter: Opens a hardware counter; returns the errno, 0 for success.
        run_tool: Runs a tool and returns its output.
    """

    read_back_slice: Callable[[], tuple[int, bool]] = read_back_slice
    open_cycle_counter: Callable[[], int] = open_cycle_counter
    run_tool: Callable[[Sequence[str]], str | None] = run_tool


@dataclass(frozen=True)
class Probe:
    """A machine as seen below `root`; paths are given relative to it, without a leading slash."""

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    calls: Calls | None = None

    @classmethod
    def live(cls) -> Probe:
        """The running machine."""
        return cls(calls=Calls())

    def path(self, relative: str) -> Path:
        """The path of a file below the root."""
        return self.root / relative.lstrip("/")

    def read_bytes(self, relative: str) -> bytes | None:
        """A file's content; None where it is missing or may not be read."""
        try:
            return self.path(relative).read_bytes()
        except OSError:
            return None

    def read(self, relative: str) -> str | None:
        """A file's text without the white space around it; None where it can't be read."""
        content = self.read_bytes(relative)
        return None if content is None else content.decode(errors="replace").strip("\0 \t\r\n")

    def read_int(self, relative: str) -> int | None:
        """The integer that a file holds; None where it holds none."""
        with contextlib.suppress(ValueError):
            return int(self.read(relative) or "")
        return None

    def link(self, relative: str) -> str | None:
        """What a symbolic link holds; None where there is none."""
        try:
            return str(self.path(relative).readlink())
        except OSError:
            return None

    def exists(self, relative: str) -> bool:
        """Whether a path exists as far as this user may see."""
        try:
            self.path(relative).stat()
        except (OSError, ValueError):
            return False
        return True

    def writable(self, relative: str) -> bool:
        """Whether this process may write to a path.

        A file is opened, and left as it is: a locked-down kernel refuses what its mode allows.
        """
        path = self.path(relative)
        if path.is_dir():
            return os.access(path, os.W_OK, effective_ids=True)
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:
            return False
        return True

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        """The sorted names in a folder that match; empty where it can't be listed."""
        try:
            return sorted(path.name for path in self.path(folder).glob(pattern))
        except OSError:
            return []

    def which(self, command: str) -> str | None:
        """Where a command is on the environment's PATH."""
        return shutil.which(command, path=self.environment.get("PATH", os.defpath))

    def output(self, *argv: str) -> str | None:
        """What a tool prints; None without a running machine, or where it fails."""
        return self.calls.run_tool(argv) if self.calls else None
