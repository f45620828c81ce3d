"""The kernel's way to write sets of CPUs: ``0-3,8``."""

from __future__ import annotations

from collections.abc import Iterable

from schedtuna.errors import UsageError

_MAX_CPUS = 1 << 16  # the kernel's limit is 8192; a list beyond this is a mistake


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """Read the kernel's list format: ``0-3,8`` is 0, 1, 2, 3, 8.

    Raises:
        UsageError: The text is not such a list.
    """
    cpus: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal()):
            raise UsageError(f"{text!r} is not a list of CPUs: expected something like 0-3,8")
        low, high = int(first), int(last)
        if not low <= high < _MAX_CPUS:
            raise UsageError(f"{text!r} is not a list of CPUs: {part} is not a range below {_MAX_CPUS}")
        cpus.update(range(low, high + 1))
    return tuple(sorted(cpus))


def format_cpu_list(cpus: Iterable[int]) -> str:
    """Write CPUs in the kernel's list format: 0, 1, 2, 8 becomes ``0-2,8``."""
    ranges: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if ranges and ranges[-1][1] == cpu - 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
