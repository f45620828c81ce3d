"""Did a run measure anything? A count of 0 beside a number means that the number is of nothing.

A benchmark whose server is down, or that was starved, often ends well and prints zeros: the best
latency there is. Parsers declare which of their fields are counts (`Basis`), and `unmeasured` says
what rests on a count of 0. Documents and tables without a parser are judged by what their keys are
called: ``"requests": 0`` beside ``"p99_us": 0``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from schedtuna.errors import MetricError, NothingMeasuredError

# What is counted when something is measured. Loops, jobs and runs are settings more often, of which 0
# is one, and a singular alone (`"frame": 0`) is a number of order.
_NOUNS = frozenset(
    {
        "call", "event", "frame", "invocation", "io", "item", "iteration", "measurement", "message", "op",
        "operation", "packet", "query", "record", "request", "response", "sample", "token", "transaction",
        "iter", "msg", "pkt", "req", "txn",
    }
)  # fmt: skip
# Lists of these are of what was measured; an empty one of events or messages may be of what went wrong.
_LISTED = _NOUNS - {"event", "io", "item", "message", "msg", "record", "token"}
# What is counted below such a key went wrong, and 0 of it is as it should be.
_FAILURES = re.compile(
    r"err|errors?|(?:fail|drop|overflow|overrun|underrun|reject|abort|skip|throttl|warn|violat|stall|conflict"
    r"|rollback|collision|discard|exception|fault|timeout|invalid|jank)[a-z]*|lost|loss(?:es)?|miss(?:es|ed)?"
    r"|retr(?:y|ies|ans[a-z]*)|late|bad"
)
_WORDS = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*")
_COUNTS = frozenset({"count", "counts", "cnt"})
_ALONE = _COUNTS | {"n"}
_BESIDE = _ALONE | {
    "nr", "num", "number", "of", "total", "completed", "complete", "successful", "succeeded", "measured",
    "processed", "done", "ok", "good", "finished", "answered", "received",
}  # fmt: skip
_RATES = re.compile(
    r"(?:^|_)(?:[a-z]*per_s(?:ec(?:ond)?)?|rps|qps|tps|iops|ops|fps|bps|throughput)$", re.IGNORECASE
)


@dataclass(frozen=True)
class Basis:
    """A number without which others are of nothing: where it is 0, so are they.

    Attributes:
        field: The parser's field that has it.
        of: Which of its fields rest on it; empty: the whole run.
        required: Whether the tool always prints it, so that without it the output is cut short.
    """

    field: str
    of: tuple[str, ...] = ()
    required: bool = False


@dataclass(frozen=True)
class Failures:
    """How much of what a run attempted came to nothing, to be compared between schedulers.

    Attributes:
        field: The parser's field that counts it.
        of: The fields whose sum is all that was attempted.
        what: In a few words, for people.
    """

    field: str
    of: tuple[str, ...]
    what: str

    def share(self, values: Mapping[str, float]) -> float | None:
        """Return the share of a run; None where it says nothing of that."""
        if self.field not in values or any(name not in values for name in self.of):
            return None
        attempted = sum(values[name] for name in self.of)
        return values[self.field] / attempted if attempted > 0 else None


def general_name(name: str) -> str:
    """Return the field that a name belongs to: ``cpu.p99_9_us`` is one of ``pNN_us``."""
    return re.sub(r"(^|_)p\d+(_\d+)?(?=_|$)", r"\1pNN", name.rpartition(".")[2])


def unmeasured(tool: str, bases: Iterable[Basis], values: Mapping[str, float]) -> dict[str, str]:
    """Return the fields that rest on a count of 0, each with the reason.

    Args:
        tool: The tool's name.
        bases: Its counts.
        values: What it printed, by field.

    Raises:
        NothingMeasuredError: The whole run rests on one.
        MetricError: A count that the tool always prints is not there.
    """
    found: dict[str, str] = {}
    for basis in bases:
        counts = [name for name in values if name.rpartition(".")[2] == basis.field]
        if basis.required and not counts:
            raise MetricError(f"the output of {tool} is incomplete: it lacks {basis.field}")
        empty = [name for name in counts if values[name] <= 0]
        if not empty:
            continue
        verb = "is" if len(empty) == 1 else "are"
        reason = f"{tool} measured nothing: {', '.join(empty)} {verb} {values[empty[0]]:g}"
        if not basis.of:
            raise NothingMeasuredError(reason)
        found |= {name: reason for name in values if general_name(name) in basis.of}
    return found


def is_rate(name: str, unit: str) -> bool:
    """Whether a metric is a rate, by its unit or else by its name: of 0, nothing was done."""
    return unit.endswith("/s") if unit else bool(_RATES.search(name))


def tells_failures(key: object) -> bool:
    """Whether what stands below a key is of what went wrong: `errors`, `dropped_frames`, `timeouts`."""
    return isinstance(key, str) and any(map(_FAILURES.fullmatch, _words(key)))


def _words(key: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(key)]


def is_count(key: str, nouns: AbstractSet[str] = _NOUNS) -> bool:
    """Whether a key is called as counts of what was measured are: `requests`, `nr_samples`, `count`."""
    words = _words(key)
    rest = [word for word in words if word not in _BESIDE]
    if not rest:
        return len(words) == 1 and words[0] in _ALONE
    if len(rest) > 1:
        return False
    singular = rest[0].removesuffix("s") if rest[0] != "queries" else "query"
    return singular in nouns and (rest[0] != singular or not _COUNTS.isdisjoint(words))


def empty_count(row: Mapping[Any, Any], *, lists: bool = False) -> str:
    """Return ``requests is 0`` where an object's or a table row's count says so; else nothing.

    Args:
        row: Keys and values; numbers may be text.
        lists: Whether an empty list or object under such a key counts, too.
    """
    for key, value in row.items():
        if not isinstance(key, str) or not is_count(key):
            continue
        if lists and isinstance(value, list | dict) and not value and is_count(key, _LISTED):
            return f"{key} is empty"
        if _is_zero(value):
            return f"{key} is 0"
    return ""


def _is_zero(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"\s*0+(?:\.0*)?\s*", value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0
