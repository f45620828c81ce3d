"""Which places are there, what does each need, and how does a command line name one?

One row per place; nothing of a place is imported before it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schedtuna.errors import MissingExtraError, UsageError, nearest

if TYPE_CHECKING:  # the command line takes its choices from here, and should start fast
    from schedtuna.backend.places.base import Place


@dataclass(frozen=True)
class PlaceEntry:
    """One kind of place that can be named.

    Attributes:
        path: ``module:Class`` of its `Place`.
        summary: What it is, for tables and help texts.
        ability: What the doctor calls it if this machine can have it: see `machine.checks.ABILITIES`.
        options: What a command line may say of it: names of options, and of `Place.of`'s arguments.
        extra: The optional dependency group that it needs; None for the base install.
        modules: The packages that this group must have brought.
    """

    path: str
    summary: str
    ability: str
    options: tuple[str, ...] = ()
    extra: str | None = None
    modules: tuple[str, ...] = ()


HOST = "host"
PLACES: dict[str, PlaceEntry] = {
    HOST: PlaceEntry(
        "schedtuna.backend.places.host:Host",
        "this machine, under its own kernel",
        ability="tune",
        options=("scope", "pid", "cgroup", "unit", "force"),
    ),
    "vm": PlaceEntry(
        "schedtuna.backend.places.guest:Guest",
        "guests of the lab, whose kernels can run sched_ext schedulers (`schedtuna lab setup`)",
        ability="lab",
        options=("scope", "kernel", "cpus", "topology"),
    ),
    "sim": PlaceEntry(
        "schedtuna.backend.places.simulated:Simulated",
        "a simulated machine, which runs a load (`--workload`) in place of a command",
        ability="simulate",
        options=("cpus", "topology", "cost", "machine"),
        extra="sim",
        modules=("nanobind_backend",),
    ),
    "http": PlaceEntry(
        "schedtuna.backend.places.remote:Remote",
        "another machine, on which `schedtuna serve` runs; named by its URL, such as http://HOST:8787; "
        "several that are alike, with commas between them",
        ability="remote",
        options=("token_file",),
    ),
}
URLS = "http"  # the kind of place that is named by a URL
_SEVERAL = "schedtuna.backend.places.machines:Machines"  # URLs with commas between them
_SCHEMES = ("http://", "https://")


def kind_of(text: str) -> str:
    """Return the kind of place that a name on the command line means: a URL is of the kind `URLS`."""
    return URLS if text.startswith(_SCHEMES) else text


def place_class(kind: str) -> type[Place]:
    """Return the class of a kind of place.

    Raises:
        UsageError: There is no such kind.
        MissingExtraError: Its packages are not installed.
    """
    if kind not in PLACES:
        raise UsageError(
            f"unknown place {kind!r}: {nearest(kind, PLACES)}",
            hint="`schedtuna doctor` says where runs can be made; another machine is named by its URL",
        )
    entry = PLACES[kind]
    if entry.extra and not all(importlib.util.find_spec(name) for name in entry.modules):
        raise MissingExtraError(f"place {kind}", entry.extra)
    return _loaded(entry.path)


def _loaded(path: str) -> type[Place]:
    module, _, name = path.partition(":")
    found: type[Place] = getattr(importlib.import_module(module), name)
    return found


def make_place(text: str, options: Mapping[str, Any]) -> Place:
    """Return the place that a command line names.

    Args:
        text: Its kind, or its URL; of several machines their URLs, with commas between them.
        options: What was said of it, by option; None for what was not said.

    Raises:
        UsageError: There is no such kind, an option is another kind's, or the options contradict each other.
        MissingExtraError: Its packages are not installed.
    """
    kind = kind_of(text)
    found = _loaded(_SEVERAL) if kind == URLS and "," in text else place_class(kind)
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in PLACES[kind].options:
            others = " or ".join(other for other, entry in PLACES.items() if name in entry.options)
            raise UsageError(f"--{name.replace('_', '-')} needs --backend {others}")
    if kind == URLS:
        given["url"] = text
    return found.of(**given)
