"""What are the objectives' values now? Asks commands and servers, in threads, so that no interval waits."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from schedtuna.agent.contract import Sensed
from schedtuna.agent.guard.slo import ServiceObjective
from schedtuna.configfile import parse_json
from schedtuna.errors import MetricError

PERIOD_S = 5.0
_PATIENCE_S = 10.0
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class SloValue:
    """The last value that was read.

    Attributes:
        value: None where there was none yet.
        at_ns: When the question was asked (CLOCK_MONOTONIC).
        problem: Why the last try gave none; empty where it did.
    """

    value: float | None = None
    at_ns: int = 0
    problem: str = ""


class SloSources:
    """Keeps the values of objectives fresh, from entering the context to leaving it.

    Args:
        objectives: What to read.
        period_s: How often.
    """

    def __init__(self, objectives: Sequence[ServiceObjective], *, period_s: float = PERIOD_S) -> None:
        self.objectives = tuple(objectives)
        self._period_s = period_s
        self._values = [SloValue(at_ns=time.monotonic_ns()) for _ in self.objectives]
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, args=(index,), name=f"slo-{index}", daemon=True)
            for index, objective in enumerate(self.objectives)
            if objective.kind != "own"
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=_PATIENCE_S + 1)

    def fill(self, sensed: Sensed) -> Sensed:
        """Return an interval with the objectives' values as they are known at its end."""
        readings = []
        for objective, last in zip(self.objectives, self._values, strict=True):
            if objective.kind == "own":
                readings.append(objective.from_own(sensed))
            else:
                readings.append(objective.reading(last.value, max(0, sensed.end_ns - last.at_ns)))
        return replace(sensed, slos=tuple(readings))

    def problems(self) -> dict[str, str]:
        """Why objectives have no fresh value, by name."""
        return {
            objective.name: last.problem
            for objective, last in zip(self.objectives, self._values, strict=True)
            if last.problem
        }

    def _follow(self, index: int) -> None:
        objective = self.objectives[index]
        while not self._stop.is_set():
            asked_ns = time.monotonic_ns()
            try:
                value = ask(objective, self._stop.is_set)
            except MetricError as error:
                self._values[index] = replace(self._values[index], problem=str(error))
            else:
                self._values[index] = SloValue(value, asked_ns)
            self._stop.wait(self._period_s)


def ask(objective: ServiceObjective, is_over: Callable[[], bool] = lambda: False) -> float:
    """Read a value, from a command or a server.

    Args:
        objective: Not one of this machine's own metrics.
        is_over: Whether the answer is not wanted any more.

    Raises:
        MetricError: There is none; the message says why.
    """
    return _run(objective, is_over) if objective.kind == "cmd" else _query(objective)


def _run(objective: ServiceObjective, is_over: Callable[[], bool]) -> float:
    command = objective.command
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise MetricError(f"{command[0]} can't be run: {error.strerror}") from error
    until_s = time.monotonic() + _PATIENCE_S
    out = b""
    try:
        while True:
            try:
                out = process.communicate(timeout=0.2)[0]
                break
            except subprocess.TimeoutExpired:
                if is_over() or time.monotonic() > until_s:
                    raise MetricError(f"{command[0]} took more than {_PATIENCE_S:.0f} s") from None
    finally:
        _end(process)
    if process.returncode:
        raise MetricError(f"{command[0]} ended with exit code {process.returncode}")
    lines = out[-_MOST_BYTES:].decode(errors="replace").split()
    return _as_number(lines[-1] if lines else "", f"the last word that {command[0]} printed")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what the command has started; its group is its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _query(objective: ServiceObjective) -> float:
    where = f"{objective.url}/api/v1/query?{urllib.parse.urlencode({'query': objective.query})}"
    try:
        with urllib.request.urlopen(where, timeout=_PATIENCE_S) as answer:  # noqa: S310  # http(s), as was checked
            told = parse_json(answer.read(_MOST_BYTES), any_text=True)
    except urllib.error.HTTPError as error:
        error.close()
        raise MetricError(f"{objective.url} answered {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise MetricError(f"{objective.url} gave no answer: {error}") from error
    try:
        return _single_value(told, objective.url)
    except (KeyError, TypeError, IndexError) as error:
        raise MetricError(f"{objective.url} answered what is no result of a query") from error


def _single_value(told: dict[str, dict[str, list[object]]], url: str) -> float:
    """The number of an instant vector with one series, or of a scalar; see Prometheus's HTTP API."""
    data = told["data"]
    found = data["result"]
    if str(data["resultType"]) == "scalar":
        return _as_number(str(found[1]), f"the answer of {url}")
    if len(found) != 1:
        raise MetricError(f"{url} answered {len(found)} series, expected one", hint="aggregate: max(...)")
    pair = found[0]["value"]  # type: ignore[index]  # checked by the caller
    return _as_number(str(pair[1]), f"the answer of {url}")


def _as_number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MetricError(f"{what} is {text[:40]!r}, which is no finite number")
    return value
