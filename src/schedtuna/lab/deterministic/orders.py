"""What do the host and a deterministic guest tell each other? Pure: bytes in, bytes out.

`native/launch/lab_trial.c` is the other side. An order is NUL-terminated strings in a blob of fixed size; a
report is sections, each a line ``NAME SIZE`` and that many bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from schedtuna.errors import UsageError
from schedtuna.lab.errors import GuestError
from schedtuna.scheduler.scx import ScxState

ORDER_BYTES = 1 << 16  # fixed: a snapshot is restored with a blob of the size that it was saved with
ORDER_NAME = "opt/schedtuna/order"
_VERSION = "1"
_LONGEST_DELAY_NS = 8_000_000  # two ticks of a kernel with HZ=250
_MOST_FORKS = 64
_ENTROPY_BYTES = 32


@dataclass(frozen=True)
class Perturbation:
    """What a seed changes on purpose, so that runs with different seeds are a sample.

    Attributes:
        delay_ns: The command starts this much later, within two ticks of the kernel's clock.
        nr_forks: Processes that come and go before it: they move ids and recycled memory.
        first_cpu: The CPU that it is started on.
        entropy: Given to the kernel's random number generator: addresses, hash seeds.
    """

    delay_ns: int
    nr_forks: int
    first_cpu: int
    entropy: bytes


def perturbation(seed: int, cpus: int) -> Perturbation:
    """Return what this seed changes."""
    generator = np.random.default_rng(seed)
    return Perturbation(
        delay_ns=int(generator.integers(_LONGEST_DELAY_NS)),
        nr_forks=int(generator.integers(_MOST_FORKS)),
        first_cpu=int(generator.integers(cpus)),
        entropy=generator.bytes(_ENTROPY_BYTES),
    )


@dataclass(frozen=True)
class Order:
    """One trial.

    Attributes:
        cpus: How many CPUs are up during it.
        perturbation: What the seed changes.
        argv: The command; its first word is looked up in the guest.
        options: Of the launcher that runs it.
        environment: Added to the guest's.
        scheduler: Command line of a sched_ext scheduler; empty: the kernel's own is in charge.
    """

    cpus: int
    perturbation: Perturbation
    argv: Sequence[str]
    options: Sequence[str]
    environment: Mapping[str, str]
    scheduler: Sequence[str] = ()

    def pack(self) -> bytes:
        """Return the blob.

        Raises:
            UsageError: A NUL in a text, or more than the blob holds.
        """
        p = self.perturbation
        texts = [_VERSION, str(self.cpus), p.entropy.hex(), *map(str, (p.nr_forks, p.first_cpu, p.delay_ns))]
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        for each in (self.scheduler, environment, self.options, self.argv):
            texts += [str(len(each)), *each]
        if any("\0" in text for text in texts):
            raise UsageError("a command can't have NUL in its arguments")
        blob = b"".join(os.fsencode(text) + b"\0" for text in texts)
        if len(blob) > ORDER_BYTES:
            raise UsageError(f"the command is too long: {len(blob)} bytes of {ORDER_BYTES}")
        return blob.ljust(ORDER_BYTES, b"\0")


@dataclass(frozen=True)
class Report:
    """What a guest answered.

    Attributes:
        sections: By name.
        complete: Whether it came to its end.
    """

    sections: dict[str, bytes]
    complete: bool

    @classmethod
    def parse(cls, data: bytes) -> Report:
        """Read a report, or as much of it as there is."""
        sections: dict[str, bytes] = {}
        at = 0
        while (end := data.find(b"\n", at)) >= 0:
            name, _, size = data[at:end].partition(b" ")
            if not size.isdigit() or len(size) > 9 or end + 1 + int(size) > len(data):
                break
            at = end + 1 + int(size)
            sections[name.decode(errors="replace")] = data[end + 1 : at]
        return cls(sections, complete="end" in sections)

    def text(self, name: str) -> str:
        """A section as text; empty where there is none."""
        return self.sections.get(name, b"").decode(errors="replace")

    def numbers(self, name: str) -> list[int]:
        """A section of numbers.

        Raises:
            GuestError: It is none.
        """
        try:
            return [int(word) for word in self.sections[name].split()]
        except (KeyError, ValueError):
            raise GuestError(f"the guest did not report its {name}") from None

    def scx(self, name: str) -> tuple[ScxState, int | None]:
        """A section about sched_ext: its state, and the exit code of the scheduler's program or None.

        Raises:
            GuestError: It is none.
        """
        lines = self.text(name).split("\n")
        if len(lines) < 5 or not lines[0]:
            raise GuestError("the guest's kernel has no sched_ext")
        try:
            state = ScxState(lines[0], lines[1], int(lines[2] or 0), int(lines[3] or 0))
            return state, os.waitstatus_to_exitcode(int(lines[4])) if lines[4] else None
        except (ValueError, OverflowError):
            raise GuestError(f"the guest did not report its {name}") from None


def digest(parts: Mapping[str, bytes]) -> str:
    """Return a hash over named bytes: 128 bits, in hexadecimal."""
    state = hashlib.blake2b(digest_size=16)
    for name, data in sorted(parts.items()):
        state.update(f"{name} {len(data)}\n".encode() + data)
    return state.hexdigest()
