"""Several machines as one place, on each of which `schedtuna serve` runs. A block is whole on one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from schedtuna.backend.alike import alike_text, identity, require_alike
from schedtuna.backend.base import Backend
from schedtuna.backend.machines import MachinesBackend
from schedtuna.backend.places.base import Place
from schedtuna.backend.places.remote import Remote
from schedtuna.backend.remote import RemoteBackend
from schedtuna.errors import UsageError
from schedtuna.scheduler.parse import DEFAULT
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.wire import Capabilities
from schedtuna.workload.spec import MetricSpec, RunSpec, Workload


class Machines(Place):
    """Several machines.

    Attributes:
        members: Each by itself; the first is asked what all of them can do.
    """

    kind: Literal["machines"] = "machines"
    members: tuple[Remote, ...]
    is_several: ClassVar[bool] = True

    @classmethod
    def of(cls, url: str = "", token_file: Path | None = None, **_none: Any) -> Self:
        """Return the machines that URLs name, with commas between them.

        Raises:
            UsageError: One is no URL of a server, or is there twice.
        """
        members = tuple(Remote.of(url=text, token_file=token_file) for text in url.split(","))
        twice = {one.url for one in members if sum(one.url == other.url for other in members) > 1}
        if twice:
            raise UsageError(f"{' and '.join(sorted(twice))} is named twice", hint="name each machine once")
        return cls(members=members)

    @property
    def label(self) -> str:
        """Their addresses."""
        return " and ".join(one.label for one in self.members)

    @property
    def caveat(self) -> str:
        """Where its numbers come from."""
        names = ", ".join(one.there.host for one in self.members)
        return f"on {len(self.members)} machines that are alike ({names}), each block on one of them"

    def nr_cpus(self) -> int:
        """Return how many CPUs a command has on each of them."""
        return self._first.nr_cpus()

    def online_cpus(self) -> int:
        """Return how many CPUs each of them has."""
        return self._first.online_cpus()

    def named(self, host: str) -> str:  # noqa: ARG002 - those are these
        """Their own names."""
        return " and ".join(one.there.host for one in self.members)

    def each(self) -> Sequence[Place]:
        """Return them."""
        return self.members

    def options(self) -> tuple[str, ...]:
        """Return the command-line options that name them."""
        _, _, *token = self._first.options()
        return ("--backend", ",".join(one.url for one in self.members), *token)

    def named_workload(self, name: str) -> tuple[Workload, MetricSpec]:
        """Return a bundled workload as it is on each of them."""
        found, *others = [one.named_workload(name) for one in self.members]
        if any(other != found for other in others):
            raise UsageError(f"{name} is another command on some of {self.label}")
        return found

    def command(self, argv: Sequence[str], *, shell: bool = False) -> Workload:
        """Return a command as what runs there."""
        found, *_ = [one.command(argv, shell=shell) for one in self.members]  # each may refuse
        return found

    def words(self, workload: Workload) -> tuple[str, ...]:
        """Return how a command line ends that runs a workload there."""
        return self._first.words(workload)

    def identity(self, workload: Workload) -> dict[str, str]:
        """What the machines have in common."""
        for one in self.members:
            one.identity(workload)
        return {"target": f"machines: {alike_text(self._alike()[0])}"}

    def scheduler(self, text: str) -> SchedulerConfig:
        """Return the scheduler that a text means, with what can be set of it there."""
        return self._of_all([one.scheduler(text) for one in self.members], text)

    def tunable(
        self, text: str, include: Sequence[str] = (), *, defined: SchedulerConfig | None = None
    ) -> SchedulerConfig:
        """Return a scheduler with what a search varies of it there."""
        return self._of_all([one.tunable(text, include, defined=defined) for one in self.members], text)

    def left_out(self, text: str) -> list[str]:
        """Say what a search leaves out of a scheduler there, because it would do nothing: a line each."""
        return self._first.left_out(text)

    @contextmanager
    def open(
        self, spec: RunSpec, schedulers: Sequence[SchedulerConfig] = (), turned: Iterable[str] = ()
    ) -> Iterator[Backend]:
        """Return a backend of all of them; between runs they are as they were found.

        Raises:
            UsageError: They are not alike.
        """
        there = self._alike()
        turned = tuple(turned)
        with ExitStack() as stack:
            opened: dict[str, RemoteBackend] = {}
            for one, said in zip(self.members, there, strict=True):
                backend = stack.enter_context(one.open(spec, schedulers, turned))
                assert isinstance(backend, RemoteBackend)
                opened[identity(said)] = backend
            programs = {backend.identity.get("remote_schedulers", "") for backend in opened.values()}
            if len(programs) > 1:
                raise UsageError(
                    f"the machines differ: the schedulers' programs are {' and '.join(sorted(programs))}",
                    hint="install the same ones on all of them",
                )
            told = programs.pop()
            yield MachinesBackend(opened, {"remote_schedulers": told} if told else {})

    @property
    def _first(self) -> Remote:
        return self.members[0]

    def _alike(self) -> list[Capabilities]:
        there = [one.there for one in self.members]
        require_alike([(one.label, said) for one, said in zip(self.members, there, strict=True)])
        return there

    def _of_all(self, found: Sequence[SchedulerConfig], text: str) -> SchedulerConfig:
        first, *others = found
        if first.name != DEFAULT and any(other != first for other in others):
            raise UsageError(
                f"{text} has other parameters on some of {self.label}", hint="name machines that are alike"
            )
        return first
