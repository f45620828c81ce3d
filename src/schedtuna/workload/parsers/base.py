"""What a parser of a benchmark tool's output is: a table of fields, and a pure function over text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from schedtuna.errors import MetricError
from schedtuna.workload.spec import Direction

MIN, MAX = Direction.MIN, Direction.MAX

# Units whose values can't be negative: a clock that steps back has spoilt the run.
_DURATIONS = frozenset({"s", "ms", "us", "ns"})


@dataclass(frozen=True)
class Field:
    """One number that a tool reports.

    Attributes:
        name: With its unit as suffix.
        unit: For people and plots; empty for a plain count.
        direction: Which way is better; None where that depends on the question.
        description: A few words.
    """

    name: str
    unit: str
    direction: Direction | None
    description: str


@dataclass(frozen=True)
class OutputParser:
    """How to read one tool's output.

    Attributes:
        name: The tool's name.
        commands: The commands whose output this is, as the words that they begin with.
        fields: Every field that `parse` may return; a name such as ``cpu.bogo_ops_per_s`` or
            ``p99_9_us`` belongs to the field that it extends.
        primary: The field that is optimised where none is named.
        throughput: The field that "throughput" names; empty where the tool reports none.
        latency: The field that "latency" names; empty where the tool reports none.
        parse: Output to fields; pure.
        hint: What to pass to the tool so that it reports its numbers.
        file_options: Options that name a file which the tool writes and `parse` reads, too.
        refused_options: Options under which the output would be misread, and why.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    fields: tuple[Field, ...]
    primary: str
    parse: Callable[[str], dict[str, float]]
    throughput: str = ""
    latency: str = ""
    hint: str = ""
    file_options: tuple[str, ...] = ()
    refused_options: Mapping[str, str] = field(default_factory=dict)

    def read(self, text: str) -> dict[str, float]:
        """Return the fields in a text.

        Raises:
            MetricError: There is none, or one is no finite number, or a time is negative.
        """
        try:
            values = self.parse(text)
        except (ValueError, OverflowError) as error:  # numbers of thousands of digits
            raise MetricError(f"the output of {self.name} can't be read: {error}") from error
        if not values:
            raise MetricError(f"no result of {self.name} in the output", hint=self.hint or None)
        for name, value in values.items():
            check_value(name, value, self.field(name))
        return values

    def field(self, name: str) -> Field | None:
        """Return the row that describes a field, or None."""
        return find_field(self.fields, name)


def find_field(fields: Iterable[Field], name: str) -> Field | None:
    """Return the row for a name: its own, or that of the percentile or part that it is."""
    by_name = {row.name: row for row in fields}
    general = re.sub(r"(^|_)p\d+(_\d+)?(?=_|$)", r"\1pNN", name)
    last = name.rpartition(".")[2]
    return by_name.get(name) or by_name.get(general) or by_name.get(last)


def check_value(name: str, value: float, row: Field | None) -> None:
    """Refuse what no run can have measured.

    Raises:
        MetricError: Not finite, or a negative time.
    """
    if not math.isfinite(value):
        raise MetricError(f"{name} is {value}: expected a finite number")
    unit = row.unit if row is not None else _unit_of(name)
    if unit in _DURATIONS and value < 0:
        raise MetricError(f"{name} is {value:g} {unit}: a time can't be negative")


def _unit_of(name: str) -> str:
    """The unit that a name ends in; a rate's is none of time."""
    return "" if "_per_" in name else name.rpartition("_")[2]


def percentile_name(percentile: str, unit: str = "us") -> str:
    """Return the field of a percentile as tools print it.

    >>> percentile_name("99.90")
    'p99_9_us'
    """
    whole, _, fraction = percentile.partition(".")
    fraction = fraction.rstrip("0")
    return f"p{int(whole)}{'_' + fraction if fraction else ''}_{unit}"


def numbers(pattern: str, text: str) -> list[float]:
    """Return group 1 of every match, as numbers."""
    return [float(value) for value in re.findall(pattern, text, re.MULTILINE)]


def last_numbers(patterns: Mapping[str, str], text: str) -> dict[str, float]:
    """Return, for each name whose pattern matches, group 1 of the last match."""
    found = {name: numbers(pattern, text) for name, pattern in patterns.items()}
    return {name: values[-1] for name, values in found.items() if values}


def geometric_mean(values: Iterable[float]) -> float:
    """Return the geometric mean of the positive values; 0 where there is none."""
    positive = [value for value in values if value > 0]
    if len(positive) == 1:
        return positive[0]
    return math.exp(math.fsum(map(math.log, positive)) / len(positive)) if positive else 0.0
