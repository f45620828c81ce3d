"""What a parser of a benchmark tool's output is: a table of fields, and a pure function over text."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from schedtuna.errors import MetricError
from schedtuna.workload.measured import Basis, Failures, general_name, unmeasured
from schedtuna.workload.numerals import COUNT, DECIMAL, GROUPED_COUNT, NUMBER, decimal, grouped_count
from schedtuna.workload.options import Options
from schedtuna.workload.spec import Direction

__all__ = [
    "COUNT",
    "DECIMAL",
    "GROUPED_COUNT",
    "MAX",
    "MIN",
    "NUMBER",
    "Basis",
    "Failures",
    "Field",
    "Options",
    "OutputParser",
    "ParsedOutput",
    "blocks",
    "check_value",
    "decimal",
    "find_field",
    "geometric_mean",
    "grouped_count",
    "last_numbers",
    "numbers",
    "part_names",
    "percentile_name",
    "unit_of",
    "with_parts",
]

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
class ParsedOutput:
    """What a parser found in an output.

    Attributes:
        values: Every field that was measured.
        unmeasured: Fields that rest on a count of 0, each with the reason.
        parts: Of what the run consisted: stressors, threads or tests. Numbers over all of them can
            be compared where all of them are the same.
    """

    values: dict[str, float]
    unmeasured: dict[str, str]
    parts: tuple[str, ...]


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
        parse: Output to fields; pure. A field of one part of the run begins with its name.
        bases: The counts without which there is no measurement.
        failures: The counts of what a run attempted in vain.
        seen: The versions of the real tool whose output was read.
        documented: Versions that are read as others document them.
        hint: What to pass to the tool so that it reports its numbers.
        options: How the tool takes its options, where some of them matter here.
        file_options: Options that name a file which the tool writes and `parse` reads, too.
        refused_options: Options under which the output would be misread, and why.
        reports_more: Whether there may be fields that `fields` does not have.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    fields: tuple[Field, ...]
    primary: str
    parse: Callable[[str], dict[str, float]]
    throughput: str = ""
    latency: str = ""
    seen: str = ""
    documented: str = ""
    hint: str = ""
    bases: tuple[Basis, ...] = ()
    failures: tuple[Failures, ...] = ()
    options: Options = field(default_factory=Options)
    file_options: tuple[str, ...] = ()
    refused_options: Mapping[str, str] = field(default_factory=dict)
    reports_more: bool = False

    def read(self, text: str) -> dict[str, float]:
        """Return the fields in a text, those that rest on nothing left out; raises as `reading`."""
        return self.reading(text).values

    def reading(self, text: str) -> ParsedOutput:
        """Return the fields in a text, and of what they are.

        Raises:
            NothingMeasuredError: The run rests on a count of 0.
            MetricError: There is none, or one is not a finite number, or a time is negative.
        """
        try:
            values = {name: float(value) for name, value in self.parse(text).items()}
        except MetricError:
            raise
        except (Exception, SystemExit) as error:  # huge numbers, and whatever one of others raises
            why = str(error) if isinstance(error, ValueError | OverflowError) else repr(error)
            raise MetricError(f"the output of {self.name} can't be read: {why}") from error
        if odd := [name for name in values if not isinstance(name, str)]:
            raise MetricError(f"the output of {self.name} can't be read: it names a number {odd[0]!r}")
        if not values:
            raise MetricError(f"no result of {self.name} in the output", hint=self.hint or None)
        for name, value in values.items():
            check_value(name, value, self.field(name))
        nothing = unmeasured(self.name, self.bases, values)
        parts = sorted({name.rpartition(".")[0] for name in values if "." in name})
        return ParsedOutput(
            {name: value for name, value in values.items() if name not in nothing}, nothing, tuple(parts)
        )

    def field(self, name: str) -> Field | None:
        """Return the row that describes a field, or None."""
        return find_field(self.fields, name)


def find_field(fields: Iterable[Field], name: str) -> Field | None:
    """Return the row for a name: its own, or that of the percentile or part that it is."""
    by_name = {row.name: row for row in fields}
    return by_name.get(name) or by_name.get(general_name(name)) or by_name.get(name.rpartition(".")[2])


def check_value(name: str, value: float, row: Field | None) -> None:
    """Refuse what no run can have measured.

    Raises:
        MetricError: Not finite, or a negative time.
    """
    if not math.isfinite(value):
        raise MetricError(f"{name} is {value}: expected a finite number")
    unit = row.unit if row is not None else unit_of(name)
    if unit in _DURATIONS and value < 0:
        raise MetricError(f"{name} is {value:g} {unit}: a time can't be negative")


def unit_of(name: str) -> str:
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
    return [decimal(value) for value in re.findall(pattern, text, re.MULTILINE)]


def last_numbers(patterns: Mapping[str, str], text: str) -> dict[str, float]:
    """Return, for each name whose pattern matches, group 1 of the last match."""
    found = {name: numbers(pattern, text) for name, pattern in patterns.items()}
    return {name: values[-1] for name, values in found.items() if values}


def blocks(heading: re.Pattern[str], text: str) -> Iterator[tuple[str, str]]:
    """Iterate over the parts of a text that begin with a heading: its group 1, and what follows it."""
    found = list(heading.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    for match, end in zip(found, ends, strict=False):
        yield match[1], text[match.end() : end]


def part_names(titles: Iterable[str]) -> list[str]:
    """Return what the parts of a run are called in names of metrics, each of them once.

    >>> part_names(["LPUSH (10 keys)", "GET", "GET"])
    ['LPUSH_10_keys', 'GET', 'GET-2']
    """
    seen: Counter[str] = Counter()
    names = []
    for title in titles:
        name = re.sub(r"[^A-Za-z0-9_.%/-]+", "_", title).strip("_.") or "unnamed"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names


def with_parts(parts: Mapping[str, Mapping[str, float]], together: Mapping[str, float]) -> dict[str, float]:
    """Return the fields of every part under its name, and those of all together; of one part, its own."""
    values = {f"{name}.{field}": value for name, fields in parts.items() for field, value in fields.items()}
    return {**values, **(next(iter(parts.values())) if len(parts) == 1 else together)}


def geometric_mean(values: Iterable[float]) -> float:
    """Return the geometric mean; 0 where one of the values is, as it is a mean over all of them."""
    every = list(values)
    if not every or min(every) <= 0:
        return 0.0
    return every[0] if len(every) == 1 else math.exp(math.fsum(map(math.log, every)) / len(every))
