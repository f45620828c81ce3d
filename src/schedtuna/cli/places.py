"""Where is a command run, and what is tuned there? The options that name places, and what they name."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from schedtuna.backend.places.registry import HOST, PLACES, kind_of, make_place
from schedtuna.cli.options import (
    BackendOption,
    CgroupOption,
    CostOption,
    CpusOption,
    EachKernelOption,
    EachPlaceOption,
    ForceOption,
    KernelListOption,
    KernelOption,
    KernelsOption,
    MachineOption,
    PidOption,
    PlacesOption,
    ScopeOption,
    TokenFileOption,
    TopologyOption,
    UnitOption,
)
from schedtuna.cli.output import print_remark
from schedtuna.errors import UsageError

if TYPE_CHECKING:
    from schedtuna.backend.places.base import Place


@dataclass(frozen=True)
class WhereOptions:
    """Where a command is run, for commands that tune nothing."""

    backend: BackendOption = HOST
    kernel: KernelOption = None
    cpus: CpusOption = None
    topology: TopologyOption = None
    cost: CostOption = None
    machine: MachineOption = None
    token_file: TokenFileOption = None

    def place(self) -> Place:
        """Return where runs are made.

        Raises:
            UsageError: The options contradict each other.
        """
        said = _said(self)
        return make_place(said.pop("backend"), said)


@dataclass(frozen=True)
class PlaceOptions(WhereOptions):
    """Where a command is run, and what is tuned there."""

    scope: ScopeOption = None
    pid: PidOption = None
    cgroup: CgroupOption = None
    unit: UnitOption = None
    force: ForceOption = None

    def ready_place(self) -> Place:
        """Return where runs are made, once this machine's settings can be read as the default's.

        Raises:
            UsageError: The options contradict each other, or there is no such process or control group.
            TargetBusyError: Another run is turning its knobs.
            StaleChangesError: What a killed run has left can't be put back.
        """
        return made_ready(self.place())


@dataclass(frozen=True)
class SidesOptions:
    """Where each side of a comparison is run; given once, both are run there."""

    backend: PlacesOption = None
    kernel: KernelsOption = None
    cpus: CpusOption = None
    topology: TopologyOption = None
    cost: CostOption = None
    machine: MachineOption = None
    token_file: TokenFileOption = None
    scope: ScopeOption = None
    pid: PidOption = None
    cgroup: CgroupOption = None
    unit: UnitOption = None
    force: ForceOption = None

    def ready_places(self) -> list[Place]:
        """Return the default's place and the candidate's; see `PlaceOptions.ready_place`.

        Raises:
            UsageError: They are three or more, or two that are the same.
        """
        if max(len(self.backend or ()), len(self.kernel or ())) > 2:
            raise UsageError("a comparison has two sides", hint="give --backend or --kernel twice at most")
        places = self._named_places()
        return [made_ready(places[0])] * 2 if len(places) == 1 else _all_ready(places)

    def _named_places(self) -> list[Place]:
        """The places: one, or as many as there are backends, or kernels."""
        kinds = list(self.backend or (HOST,))
        kernels: list[str | None] = list(self.kernel or ()) or [None]
        if min(len(kinds), len(kernels)) > 1:
            raise UsageError(
                "several backends and several kernels contradict each other", hint="repeat one of them"
            )
        nr_places = max(len(kinds), len(kernels))
        pairs = zip(kinds * nr_places, kernels * nr_places, strict=False)
        said = {name: value for name, value in _said(self).items() if name not in ("backend", "kernel")}
        return [
            make_place(kind, _of_kind(kind, kinds, said | {"kernel": kernel}))
            for kind, kernel in list(pairs)[:nr_places]
        ]


@dataclass(frozen=True)
class EachPlaceOptions(SidesOptions):
    """Where a command is run, on each of several places by itself."""

    backend: EachPlaceOption = None
    kernel: EachKernelOption = None

    def ready_places(self) -> list[Place]:
        """Return the places, at least one; several machines of one backend are as many.

        Raises:
            UsageError: Two are the same.
        """
        places = [one for place in self._named_places() for one in place.each()]
        return [made_ready(places[0])] if len(places) == 1 else _all_ready(places)


@dataclass(frozen=True)
class ListOptions:
    """Where what is in a list is run; given several kernels, they are the list."""

    backend: BackendOption = HOST
    kernel: KernelListOption = None
    cpus: CpusOption = None
    topology: TopologyOption = None
    cost: CostOption = None
    machine: MachineOption = None
    token_file: TokenFileOption = None
    scope: ScopeOption = None
    pid: PidOption = None
    cgroup: CgroupOption = None
    unit: UnitOption = None
    force: ForceOption = None

    def ready_places(self) -> list[Place]:
        """Return one place, or one for each of several kernels, in the order given.

        Raises:
            UsageError: A kernel twice.
        """
        said = {name: value for name, value in _said(self).items() if name != "backend"}
        places = [make_place(self.backend, said | {"kernel": kernel}) for kernel in self.kernel or (None,)]
        return [made_ready(places[0])] if len(places) == 1 else _all_ready(places)


def parse_costs(texts: Sequence[str]) -> dict[str, int]:
    """Return the constants of a simulated machine that texts such as ``context_switch_ns=2000`` set.

    Raises:
        UsageError: One sets nothing, or what another one has set.
    """
    costs: dict[str, int] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if not (number.isascii() and number.isdecimal() and len(number) < 20):
            raise UsageError(f"--cost {text}: expected NAME=NUMBER", hint="--cost context_switch_ns=2000")
        if name in costs:
            raise UsageError(f"--cost sets {name} twice", hint="leave one of them out")
        costs[name] = int(number)
    return costs


def _said(options: WhereOptions | SidesOptions | ListOptions) -> dict[str, Any]:
    """What options say of a place, by their names; None for what was not said."""
    said = asdict(options)
    return said | {"cost": parse_costs(said["cost"]) if said["cost"] else None}


def _of_kind(kind: str, kinds: Sequence[str], said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said of one kind of place, and what is said of none, which it refuses."""
    there = {text: PLACES[kind_of(text)].options for text in kinds if kind_of(text) in PLACES}
    others = {name for text, options in there.items() if text != kind for name in options}
    own = there.get(kind, ())
    return {name: value for name, value in said.items() if name in own or name not in others}


def made_ready(place: Place) -> Place:
    """Return a place whose settings can be read as the default's."""
    from schedtuna.knobs.journal import Journal
    from schedtuna.knobs.undo import put_back_stale

    place.require_free()
    for remark in put_back_stale(Journal()):
        print_remark("note", remark, file=sys.stderr)
    return place


def _all_ready(places: Iterable[Place]) -> list[Place]:
    """Return several places, ready, and exact enough to be told apart.

    Raises:
        UsageError: Two are the same.
    """
    exact = [made_ready(place).exact() for place in places]
    if len(set(exact)) < len(exact):
        raise UsageError(f"expected different places, not {', '.join(place.label for place in exact)}")
    return exact
