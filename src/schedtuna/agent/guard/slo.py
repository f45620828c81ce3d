"""What has to hold while the agent acts? Objectives, as `--slo` takes them."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from schedtuna.agent.contract import Sensed, SloReading
from schedtuna.errors import UsageError, nearest
from schedtuna.features.table import SYSTEM_FEATURES

STALE_S = 30.0
_DELAYS = ("wakeup_latency", "preempt_delay", "first_run_delay")
# What `Sensed.kernel` and `Sensed.machine` have.
OWN_METRICS = (
    *(f"{delay}_{figure}_us" for delay in _DELAYS for figure in ("p99", "mean")),
    "turnaround_mean_us",
    "fairness_cv",
    "run_delay_ms_per_s",
    "switches_per_s",
    *SYSTEM_FEATURES,
)
_OBJECTIVE = re.compile(
    r"(?P<name>[A-Za-z_][\w.]*)\s*(?P<operator><=|>=)\s*(?P<limit>[^=@\s]+)"
    r"(?:@(?P<stale>[\d.]+)s)?(?:=(?P<kind>[a-z]+):(?P<rest>.+))?",
    re.DOTALL,
)
_HINT = (
    "write METRIC<=NUMBER of a metric of this machine, 'NAME<=NUMBER=cmd:COMMAND' whose last word is a"
    " number, or 'NAME<=NUMBER=prom:URL QUERY'; NUMBER@60s lets a value be up to a minute old"
)


@dataclass(frozen=True)
class ServiceObjective:
    """A service-level objective.

    Attributes:
        name: Of the metric, with its unit where the caller gave one.
        limit: What it is held against.
        at_most: Whether the limit is an upper one.
        stale_s: From which age on a value is none.
        kind: Where values come from: this machine, a command, a Prometheus server.
        command: The command's arguments.
        url: The server's address.
        query: What it is asked, in PromQL.
    """

    name: str
    limit: float
    at_most: bool
    stale_s: float = STALE_S
    kind: Literal["own", "cmd", "prom"] = "own"
    command: tuple[str, ...] = ()
    url: str = ""
    query: str = ""

    def reading(self, value: float | None, age_ns: int) -> SloReading:
        """Return a value of it, and how old that is."""
        return SloReading(self.name, value, self.limit, self.at_most, age_ns, int(self.stale_s * 1e9))

    def from_own(self, sensed: Sensed) -> SloReading:
        """Return this machine's value of an interval; None where it was not measured."""
        value = sensed.kernel.get(self.name, sensed.machine.get(self.name))
        known = value is not None and math.isfinite(value)
        return self.reading(value if known else None, 0)


def parse_objective(text: str, known: Iterable[str] = OWN_METRICS) -> ServiceObjective:
    """Read what `--slo` takes.

    Args:
        text: ``wakeup_latency_p99_us<=2000``, ``p99_ms<=50=cmd:COMMAND``, ``p99_ms<=50@60s=prom:URL QUERY``.
        known: The machine's own metrics.

    Raises:
        UsageError: Malformed, or there is no such metric.
    """
    match = _OBJECTIVE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no objective", hint=_HINT)
    name, kind, rest = match["name"], match["kind"], match["rest"]
    limit, stale_s = _number(match["limit"], text), _number(match["stale"] or str(STALE_S), text)
    if stale_s <= 0:
        raise UsageError(f"{text!r}: a value may be older than 0 seconds", hint=_HINT)
    at_most = match["operator"] == "<="
    if kind is None:
        if name not in (names := list(known)):
            near = nearest(name, names)
            told = (
                near
                if near.startswith("did you mean")
                else "`schedtuna metrics system` lists what is sampled"
            )
            raise UsageError(f"this machine has no metric {name!r}: {told}", hint=_HINT)
        return ServiceObjective(name, limit, at_most, stale_s)
    if kind == "cmd":
        return ServiceObjective(name, limit, at_most, stale_s, "cmd", command=_arguments(rest, text))
    if kind == "prom":
        url, query = _question(rest, text)
        return ServiceObjective(name, limit, at_most, stale_s, "prom", url=url, query=query)
    raise UsageError(f"{text!r}: values come from cmd or prom, not {kind!r}", hint=_HINT)


def parse_objectives(texts: Iterable[str]) -> list[ServiceObjective]:
    """Read all that `--slo` was given.

    Raises:
        UsageError: As for one, or two have the same name.
    """
    objectives = [parse_objective(text) for text in texts]
    names = [objective.name for objective in objectives]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"there are two objectives of {twice!r}", hint="give one of them another name")
    return objectives


def _number(text: str, whole: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{whole!r}: {text!r} is no number", hint=_HINT)
    return number


def _arguments(text: str, whole: str) -> tuple[str, ...]:
    try:
        arguments = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"{whole!r}: {error}", hint=_HINT) from error
    if not arguments:
        raise UsageError(f"{whole!r} names no command", hint=_HINT)
    return arguments


def _question(text: str, whole: str) -> tuple[str, str]:
    url, _, query = text.strip().partition(" ")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not query.strip():
        raise UsageError(
            f"{whole!r} names no server and query", hint="write prom:http://localhost:9090 QUERY, in PromQL"
        )
    return url.rstrip("/"), query.strip()
