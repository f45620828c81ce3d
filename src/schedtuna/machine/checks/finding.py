"""What a check is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from schedtuna.machine.probe import Probe


class Status(StrEnum):
    """Whether something is there and as it should be."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        status: The verdict.
        seen: What was seen.
        cost: What it costs the user; empty where all is well.
        get: How to get it, or how to change it.
        facts: What was seen, for programs.
    """

    status: Status
    seen: str
    cost: str = ""
    get: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One row of the doctor's table.

    Attributes:
        name: Identifier, stable for programs.
        title: For people, at most 22 characters.
        run: Looks, and judges.
    """

    name: str
    title: str
    run: Callable[[Probe], Finding]


def ok(seen: str, **facts: Any) -> Finding:
    """All is well."""
    return Finding(Status.OK, seen, facts=facts)


def warning(seen: str, cost: str, get: str = "", **facts: Any) -> Finding:
    """It is there, but it costs something."""
    return Finding(Status.WARNING, seen, cost, get, facts)


def missing(seen: str, cost: str, get: str = "", **facts: Any) -> Finding:
    """It is not there, or may not be used."""
    return Finding(Status.MISSING, seen, cost, get, facts)
