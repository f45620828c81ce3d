"""Another machine as a place: `schedtuna serve` runs there, and makes the runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from schedtuna.backend.agent_client import AgentClient, read_token
from schedtuna.backend.base import Backend
from schedtuna.backend.places.base import Place
from schedtuna.backend.remote import RemoteBackend, machine_text, submission_of
from schedtuna.errors import UnavailableError, UsageError, nearest
from schedtuna.scheduler.parse import DEFAULT, parse_scheduler
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.wire import Capabilities, SchedulerAnswer
from schedtuna.workload.metrics import parse_metric
from schedtuna.workload.spec import MetricSpec, RunSpec, Workload

PORT = 8787
_QUESTION_S = 200.0  # a worker answers it there, which has to import and probe: see `server.turns`


class Remote(Place):
    """Another machine.

    Attributes:
        url: ``http(s)://HOST:PORT`` of its server.
        token_file: Where a token for it is; None: in the environment. The token itself is never kept.
    """

    kind: Literal["http"] = "http"
    url: str
    token_file: Path | None = None

    @classmethod
    def of(cls, url: str = "", token_file: Path | None = None, **_none: Any) -> Self:
        """Return the machine that a URL names.

        Raises:
            UsageError: It is no URL of a server.
        """
        return cls(url=plain_url(url), token_file=token_file and token_file.absolute())

    @property
    def label(self) -> str:
        """Its address."""
        return urlsplit(self.url).netloc

    @property
    def caveat(self) -> str:
        """Where its numbers come from."""
        return f"on {self.there.host} ({self.url})"

    def nr_cpus(self) -> int:
        """Return how many CPUs a command has there."""
        return self.there.nr_cpus

    def online_cpus(self) -> int:
        """Return how many CPUs it has."""
        return self.there.online_cpus

    def named(self, host: str) -> str:  # noqa: ARG002 - that is this one
        """Its own name."""
        return self.there.host

    def options(self) -> tuple[str, ...]:
        """Return the command-line options that name it."""
        token = ("--token-file", str(self.token_file)) if self.token_file else ()
        return ("--backend", self.url, *token)

    def named_workload(self, name: str) -> tuple[Workload, MetricSpec]:
        """Return a bundled workload as it is there, and what it is optimised for."""
        found = {one.name: one for one in self.there.workloads}
        if name not in found:
            raise UsageError(f"{self.there.host} does not run {name!r}: {nearest(name, found)}")
        row = found[name]
        if row.missing:
            raise UnavailableError(
                f"{name} needs {' and '.join(row.missing)}, which {self.there.host} lacks",
                hint="install it there, and start `schedtuna serve` again",
            )
        workload = Workload(
            argv=row.argv, shell=row.shell, parser=row.parser, name=name, timeout_s=row.timeout_s
        )
        return workload, parse_metric(row.metric, workload)

    def command(self, argv: Sequence[str], *, shell: bool = False) -> Workload:
        """Return a command as what runs there."""
        if not self.there.allows_commands:
            raise UnavailableError(
                f"{self.there.host} runs named workloads only",
                hint="--workload NAME, or start `schedtuna serve` there with --allow-commands",
            )
        return super().command(argv, shell=shell)

    def words(self, workload: Workload) -> tuple[str, ...]:
        """Return how a command line ends that runs a workload there."""
        is_named = any(
            one.name == workload.name and one.argv == workload.argv for one in self.there.workloads
        )
        return ("--workload", workload.name) if is_named else super().words(workload)

    def identity(self, workload: Workload) -> dict[str, str]:
        """The machine."""
        submission_of(RunSpec(workload=workload), workload, SchedulerConfig(name=DEFAULT), self.there, seed=0)
        return {"target": f"{self.url} {machine_text(self.there)}"}

    def scheduler(self, text: str) -> SchedulerConfig:
        """Return the scheduler that a text means, with what can be set of it there."""
        found = parse_scheduler(text, self._named)
        if found.binary_path is not None:
            raise UsageError(
                f"{text} is a program of this machine, and not of {self.there.host}",
                hint=f"installed there: {', '.join(self.there.schedulers) or 'none beside fair'}",
            )
        return found

    def tunable(
        self, text: str, include: Sequence[str] = (), *, defined: SchedulerConfig | None = None
    ) -> SchedulerConfig:
        """Return a scheduler with what a search varies of it there."""
        found = self._asked(text, tunable=True, include=include)[0]
        if defined is not None:
            unknown = defined.parameters.keys() - found.parameters.keys()
            if unknown:
                raise UsageError(f"{text} on {self.there.host} has no {', '.join(sorted(unknown))}")
            return found.model_copy(
                update={"parameters": defined.parameters, "constraints": defined.constraints}
            )
        return found

    def left_out(self, text: str) -> list[str]:
        """Say what a search leaves out of a scheduler there, because it would do nothing: a line each."""
        return list(self._asked(text, tunable=True)[1].left_out)

    @contextmanager
    def open(
        self,
        spec: RunSpec,
        schedulers: Sequence[SchedulerConfig] = (),
        turned: Iterable[str] = (),  # noqa: ARG002 - each run's worker claims what it turns
    ) -> Iterator[Backend]:
        """Return a backend that submits each run; between them the machine is as it was found."""
        with RemoteBackend(self._client(), spec) as backend:
            programs = {
                one.name: self._asked(one.name)[1].program for one in schedulers if one.name != DEFAULT
            }
            told = "; ".join(f"{name} {program[:16]}" for name, program in programs.items() if program)
            backend.identity = {**backend.identity, **({"remote_schedulers": told} if told else {})}
            yield backend

    def _named(self, name: str) -> SchedulerConfig:
        return self._asked(name)[0]

    def _asked(
        self, name: str, *, tunable: bool = False, include: Sequence[str] = ()
    ) -> tuple[SchedulerConfig, SchedulerAnswer]:
        return _asked(self, name, tunable, tuple(include))

    @property
    def there(self) -> Capabilities:
        """What it says of itself."""
        return _capabilities(self)

    def _client(self) -> AgentClient:
        return AgentClient(self.url, read_token(self.token_file))


# Asked once per process: a run that finds another machine ends the study.
@lru_cache(maxsize=64)
def _capabilities(place: Remote) -> Capabilities:
    with place._client() as client:
        return client.capabilities()


@lru_cache(maxsize=256)
def _asked(
    place: Remote, name: str, tunable: bool, include: tuple[str, ...]
) -> tuple[SchedulerConfig, SchedulerAnswer]:
    from urllib.parse import quote

    asked: dict[str, Any] = {"tunable": str(tunable).lower()} if tunable else {}
    if include:
        asked["include"] = list(include)
    with place._client() as client:
        told = client.ask("GET", f"/schedulers/{quote(name, safe='')}", slow_s=_QUESTION_S, **asked)
    found = SchedulerAnswer.model_validate(told)
    return SchedulerConfig.model_validate(found.scheduler), found


def plain_url(text: str) -> str:
    """Return a URL of a server as it is kept: with a port, and nothing else.

    Raises:
        UsageError: It is none.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port or PORT
    except ValueError as error:
        raise UsageError(f"{text!r} is no address: {error}") from None
    if parts.username or parts.password:
        raise UsageError(
            "a token or password does not belong into a URL, which everybody on this machine can read",
            hint="--token-file FILE, or the variable SCHEDTUNA_TOKEN",
        )
    if not host or parts.scheme not in ("http", "https") or parts.path not in ("", "/") or parts.query:
        raise UsageError(f"{text!r} is no address of a server", hint=f"http://HOST:{PORT}")
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"
