"""A guest that is up, in spite of the odd boot that fails, and one command in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schedtuna.lab.errors import BootError
from schedtuna.lab.store import Lab
from schedtuna.lab.vm import BootedGuest, GuestSpec
from schedtuna.workload.command import RawRun


@dataclass(frozen=True)
class GuestRun:
    """A command that ran in a guest of its own.

    Attributes:
        raw: What it did.
        kernel: Version of the guest's kernel.
        cpus: The guest's virtual CPUs.
        topology: How they are laid out.
        boot_s: Seconds that the guest took to boot.
        nr_failed_boots: Boots that failed before.
        files: What of the shared folder came back changed.
    """

    raw: RawRun
    kernel: str
    cpus: int
    topology: str
    boot_s: float
    nr_failed_boots: int
    files: Sequence[Path]

    @property
    def exit_code(self) -> int:
        """As a shell tells it: the command's own, 128 and the signal that ended it, or 1 after its time."""
        if self.raw.timed_out:
            return 1
        return self.raw.exit_code if self.raw.exit_code is not None else 128 + (self.raw.signal or 0)

    @property
    def remarks(self) -> list[str]:
        """What a reader of its output should know."""
        failed = [self.raw.failure] if self.raw.timed_out or self.raw.signal else []
        again = ["the first guest did not boot; this is the second"] if self.nr_failed_boots else []
        return [*self.raw.warnings, *failed, *again]

    def to_dict(self) -> dict[str, Any]:
        """All of it, for programs."""
        raw = self.raw
        return {
            "exit_code": raw.exit_code,
            "signal": raw.signal,
            "timed_out": raw.timed_out,
            "stdout": raw.stdout,
            "stderr": raw.stderr,
            "usage": raw.usage,
            "kernel": self.kernel,
            "cpus": self.cpus,
            "topology": self.topology,
            "boot_s": self.boot_s,
            "nr_failed_boots": self.nr_failed_boots,
            "files": [str(file) for file in self.files],
        }


def boot(lab: Lab, spec: GuestSpec) -> tuple[BootedGuest, int]:
    """Boot a guest, trying a second time where the first does not come up.

    Returns:
        The guest, and how many boots failed.

    Raises:
        BootError: Neither came up.
        UsageError: A program or the shared folder can't be had.
    """
    try:
        return BootedGuest(lab, spec), 0
    except BootError:
        return BootedGuest(lab, spec), 1


def run_in_guest(lab: Lab, spec: GuestSpec, command: Sequence[str], *, timeout_s: float) -> GuestRun:
    """Run a command in a guest of its own.

    Args:
        lab: What is installed.
        spec: The guest.
        command: The command; it is ended after `timeout_s` seconds.
        timeout_s: Seconds.

    Raises:
        BootError: The guest did not come up twice.
        GuestError: It died meanwhile.
        UsageError: A program or the shared folder can't be had.
    """
    guest, nr_failed = boot(lab, spec)
    with guest:
        raw = guest.run(command, timeout_s=timeout_s)
        files = guest.fetch_changes()
    return GuestRun(raw, guest.kernel.version, spec.cpus, str(spec.shape), guest.boot_s, nr_failed, files)
