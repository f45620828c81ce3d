"""Which numbers are asked of a run, and how they are read from it.

A metric is written ``NAME[:min|max][*WEIGHT][=SOURCE]``. SOURCE is one of

    regex:PATTERN   group 1 of the last match in the output (standard output, then standard error)
    json:PATH       ``a.b[0].c`` in the JSON that the output is, or ends with
    csv:COLUMN      the mean of a column of the table in the output
    field:NAME      a field of the workload's parser under another name

and reads a file that the workload writes when it is given: ``regex@FILE:PATTERN``. Without a source
NAME is looked up among the parser's fields and `own_metrics` (rusage, perf's counters, `sched.*`), which also
know min or max; what is given all the same is kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from schedtuna.errors import MetricError, NothingMeasuredError, UsageError, nearest
from schedtuna.workload.command import RawRun
from schedtuna.workload.counters import COUNTERS
from schedtuna.workload.identity import find_identity
from schedtuna.workload.measured import is_rate
from schedtuna.workload.numerals import Numeral
from schedtuna.workload.own_metrics import OWN_FIELDS, SCHED_FIELDS, refuse_misspelt
from schedtuna.workload.parsers import OutputParser, find_parser, written_files
from schedtuna.workload.parsers.base import MAX, MIN, Field, ParsedOutput, check_value, find_field, unit_of
from schedtuna.workload.patterns import compile_pattern
from schedtuna.workload.sources import READERS, Found, json_steps, read_file, written_file
from schedtuna.workload.spec import Direction, MetricSource, MetricSpec, Requirement, Workload
from schedtuna.workload.terminal import plain_lines

# What ran took some of these: a counter that says 0 did not count, as under some hypervisors.
_NEVER_ZERO = frozenset({"cycles", "instructions", "ipc", "energy_j"})
# Names for whatever is a workload's main throughput and latency.
_ALIASES = {"throughput": "runs_per_s", "latency": "wall_time_s"}

_NAME = r"[A-Za-z_][A-Za-z0-9_.%/+-]*"
_METRIC = re.compile(
    rf"(?P<name>{_NAME})(?::(?P<direction>[^:*=]*))?(?:\*(?P<weight>[^=]*))?(?:=(?P<source>.*))?", re.DOTALL
)
_SOURCE = re.compile(r"(?P<kind>regex|json|csv|field)(?:@(?P<file>[^:]+))?:(?P<argument>.+)", re.DOTALL)
_REQUIREMENT = re.compile(rf"\s*({_NAME})\s*(<=|>=|<|>)\s*(\S+)\s*")
_SYNTAX = (
    "write NAME:min or NAME:max, with *WEIGHT and =SOURCE where needed, "
    "such as 'score:max=regex:score ([0-9.]+)'"
)


# ---- what is asked ------------------------------------------------------------------------------


def parse_metric(text: str, workload: Workload | None = None, *, known: Container[str] = ()) -> MetricSpec:
    """Read a metric as users write it.

    Args:
        text: ``NAME[:min|max][*WEIGHT][=SOURCE]``.
        workload: Whose parser knows the direction of its fields, and what "throughput" and "latency" are.
        known: Names that have values besides, such as those in a study's log.

    Raises:
        UsageError: Malformed, the direction is needed and not given, or nothing can give it a value.
    """
    match = _METRIC.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a metric", hint=_SYNTAX)
    name, direction, weight, source_text = match.group("name", "direction", "weight", "source")
    source = MetricSource() if source_text is None else _parse_source(source_text)
    parser = find_parser(workload) if workload is not None else None
    if source.kind == "auto":
        name = name if workload is None else _primary(name, parser)
        _refuse_misspelt(name, workload, known)
    if source.kind == "field" and workload is not None and parser is None:
        raise UsageError(f"{text!r}: no parser reads this command's output", hint="name one with --parser")
    return MetricSpec(
        name=name,
        direction=_direction(direction, source.argument if source.kind == "field" else name, parser, text),
        weight=_weight(weight, text),
        source=source,
    )


def _refuse_misspelt(name: str, workload: Workload | None, known: Container[str]) -> None:
    """Refuse a name that a run of the workload can't have (`own_metrics.refuse_misspelt`)."""
    parser = find_parser(workload) if workload is not None else None
    if workload is None or (parser is not None and parser.reports_more):
        refuse_misspelt(name, known=known)
    else:
        fields, tool = (parser.fields, parser.name) if parser is not None else ((), "")
        refuse_misspelt(name, fields=fields, tool=tool, known=known)


def _primary(name: str, parser: OutputParser | None) -> str:
    """What "throughput" and "latency" stand for; every other name for itself."""
    if name not in _ALIASES:
        return name
    if parser is None:
        return _ALIASES[name]
    field = parser.throughput if name == "throughput" else parser.latency
    if not field:
        raise UsageError(
            f"{parser.name} reports no {name}",
            hint=f"its fields: {', '.join(row.name for row in parser.fields)}",
        )
    return field


def _direction(given: str | None, name: str, parser: OutputParser | None, text: str) -> Direction:
    if given is not None:
        if given not in (MIN, MAX):
            raise UsageError(f"{text!r}: expected min or max after the colon, not {given!r}", hint=_SYNTAX)
        return Direction(given)
    fields = (*(parser.fields if parser else ()), *OWN_FIELDS)
    field = find_field(fields, name)
    if field is None or field.direction is None:
        names = (row.name for row in fields if row not in SCHED_FIELDS)
        raise UsageError(
            f"is less or more of {name} better?",
            hint=f"write {name}:min or {name}:max; {nearest(name, names)}",
        )
    return field.direction


def _weight(text: str | None, metric: str) -> float:
    if text is None:
        return 1.0
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise UsageError(f"{metric!r}: expected a weight above 0 after *, not {text!r}", hint=_SYNTAX)
    return weight


def _parse_source(text: str) -> MetricSource:
    match = _SOURCE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} is not a source of a metric", hint="regex:PATTERN, json:PATH, csv:COLUMN or field:NAME"
        )
    kind, file, argument = match.group("kind", "file", "argument")
    if kind == "field" and file:
        raise UsageError(f"{text!r}: a parser's field has no file of its own", hint="write field:NAME")
    if kind == "regex":
        compile_pattern(argument)
    if kind == "json":
        json_steps(argument)
    return MetricSource.model_validate({"kind": kind, "argument": argument, "file": file})


def format_metric(spec: MetricSpec) -> str:
    """Write a metric as `parse_metric` reads it."""
    text = f"{spec.name}:{spec.direction}"
    if spec.weight != 1.0:
        text += f"*{spec.weight!r}"
    if spec.source.kind != "auto":
        at = f"@{spec.source.file}" if spec.source.file else ""
        text += f"={spec.source.kind}{at}:{spec.source.argument}"
    return text


def parse_requirement(
    text: str, metrics: Iterable[MetricSpec] = (), workload: Workload | None = None
) -> Requirement:
    """Read a requirement such as ``rps>=1000``.

    Args:
        text: ``NAME>=NUMBER`` or ``NAME<=NUMBER``.
        metrics: What is measured: their names have values, wherever these are read.
        workload: Whose parser knows what its output reports.

    Raises:
        UsageError: Malformed, or of a metric that no run can have.
    """
    match = _REQUIREMENT.fullmatch(text)
    try:
        bound = float(match[3]) if match else math.nan
    except ValueError:
        bound = math.nan
    if match is None or not math.isfinite(bound):
        raise UsageError(f"{text!r} is not a requirement", hint="write NAME>=NUMBER or NAME<=NUMBER")
    _refuse_misspelt(match[1], workload, {spec.name for spec in metrics})
    return Requirement.model_validate({"metric": match[1], "operator": match[2], "bound": bound})


def default_metric(workload: Workload) -> MetricSpec:
    """What a workload is optimised for where nothing is asked: its parser's main field, or wall time."""
    parser = find_parser(workload)
    return parse_metric(parser.primary if parser else "wall_time_s", workload)


def needed_counters(specs: Iterable[MetricSpec], required: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the perf counters that metrics ask for, to be opened before the run."""
    names = {spec.name for spec in specs if spec.source.kind == "auto"} | set(required)
    return tuple(name for name in COUNTERS if name in names)


# ---- what a run gives ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """The numbers of a run, and what they are numbers of.

    Attributes:
        metrics: Every number, by name.
        parts: Of what the run consisted (stressors, threads, tests, rows), where its output tells.
        units: The units in which metrics were printed, where their values leave them out.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    units: dict[str, str] = field(default_factory=dict)


def read_metrics(
    workload: Workload,
    specs: Sequence[MetricSpec],
    raw: RawRun,
    *,
    required: Sequence[str] = (),
) -> dict[str, float]:
    """Read every number of a run: `measure` without what they are numbers of."""
    return measure(workload, specs, raw, required=required).metrics


def measure(
    workload: Workload,
    specs: Sequence[MetricSpec],
    raw: RawRun,
    *,
    required: Sequence[str] = (),
) -> Measured:
    """Read every number of a run: rusage, counters, the parser's fields, and what was asked.

    Args:
        workload: What ran.
        specs: The metrics that must be there.
        raw: Its run.
        required: Names, of requirements for example, that must be there, too.

    Raises:
        NothingMeasuredError: The run measured nothing, by a count that its parser, or the object or
            table of a metric, has; or a rate that is asked for is 0.
        UnclearNumberError: A pattern takes a part of a longer number.
        MetricError: One that must be there is not, is not a finite number, or is a negative time.
    """
    raw = replace(raw, stdout=plain_lines(raw.stdout), stderr=plain_lines(raw.stderr))
    values = {**raw.usage, **raw.counters}
    if raw.wall_time_s > 0:
        values["runs_per_s"] = 1 / raw.wall_time_s
    parser = find_parser(workload)
    parsed, problem = _parsed(workload, parser, raw)
    values = parsed.values | values  # what every run has means the same for every tool
    fields = (*(parser.fields if parser else ()), *OWN_FIELDS)
    found: dict[str, Found] = {}
    for spec in specs:
        try:
            found[spec.name] = _read_one(workload, spec, raw, values, parsed)
            _check(spec, found[spec.name].value, find_field(fields, spec.name))
        except MetricError as error:
            raise _with_output(_cause(error, spec, problem), raw) from error
    values |= {name: one.value for name, one in found.items()}
    for name in required:
        if name not in values:
            raise _with_output(_missing(name, values, parsed, workload), raw)
    return Measured(
        values,
        (*parsed.parts, *(f"{name}: {part}" for name, one in found.items() for part in one.parts)),
        {name: one.unit for name, one in found.items() if one.unit},
    )


def _parsed(
    workload: Workload, parser: OutputParser | None, raw: RawRun
) -> tuple[ParsedOutput, MetricError | None]:
    """What the parser reads, and why it can't where that may be beside the point."""
    nothing = ParsedOutput({}, {}, ())
    if parser is None:
        return nothing, None
    try:
        return parser.reading(_parsed_text(workload, raw)), None
    except MetricError as error:
        if workload.parser or isinstance(error, NothingMeasuredError):
            raise _with_output(error, raw) from error
        return nothing, error


def _check(spec: MetricSpec, value: float, row: Field | None) -> None:
    check_value(spec.name, value, row)
    if spec.source.kind == "auto" and spec.name in _NEVER_ZERO and value == 0:
        raise NothingMeasuredError(f"{spec.name} is 0: it was not counted")
    if spec.direction is MAX and value <= 0 and is_rate(spec.name, row.unit if row else ""):
        raise NothingMeasuredError(f"{spec.name} is {value:g}: nothing was measured")


def _missing(
    name: str,
    known: Iterable[str],
    parsed: ParsedOutput,
    workload: Workload,
    direction: Direction = MIN,
) -> MetricError:
    if name in parsed.unmeasured:
        return NothingMeasuredError(parsed.unmeasured[name])
    parser = find_parser(workload)
    if parser is not None and parser.field(name) and parser.hint:
        return MetricError(f"{parser.name} reported no {name}: {nearest(name, known)}", hint=parser.hint)
    return MetricError(
        f"there is no metric {name}: {nearest(name, known)}",
        hint=f"say where it is printed, such as {name}:{direction}=regex:PATTERN or =json:PATH, or name a "
        "--parser",
    )


def _cause(error: MetricError, spec: MetricSpec, problem: MetricError | None) -> MetricError:
    """A missing name is the parser's failure where that found nothing."""
    is_missing = problem is not None and not isinstance(error, NothingMeasuredError)
    return problem if problem and is_missing and spec.source.kind in ("auto", "field") else error


def _parsed_text(workload: Workload, raw: RawRun) -> str:
    files = (_written(workload, Path(name), raw) for name in written_files(workload))
    return "\n".join((raw.stdout, raw.stderr, *files))


def _written(workload: Workload, file: Path, raw: RawRun) -> str:
    user = find_identity(workload.user) if workload.user else None
    owner = None if user is None else user.uid
    path = written_file(file, folder=Path(workload.folder or "."), not_before=raw.started_at)
    return read_file(path, not_before=raw.started_at, owner=owner)


def _read_one(
    workload: Workload,
    spec: MetricSpec,
    raw: RawRun,
    values: Mapping[str, float],
    parsed: ParsedOutput,
) -> Found:
    source = spec.source
    if source.kind in ("auto", "field"):
        name, known = (spec.name, values) if source.kind == "auto" else (source.argument, parsed.values)
        if name not in known:
            raise _missing(name, known, parsed, workload, spec.direction)
        return Found(known[name])
    if source.file is not None:
        text = _written(workload, source.file, raw)
    else:
        text = raw.stdout if source.kind != "regex" else f"{raw.stdout}\n{raw.stderr}"
    try:
        found = READERS[source.kind](source.argument, text)
    except MetricError as error:
        place = f" (in {source.file})" if source.file else ""
        raise type(error)(f"{spec.name}: {error}{place}", hint=error.hint) from error
    told = Numeral(found.value, found.unit).told_in(unit_of(spec.name))
    return Found(told.value, told.unit, found.parts)


def _with_output(error: MetricError, raw: RawRun) -> MetricError:
    lines = [str(error), *raw.warnings]
    if raw.truncated:
        lines.append("the command printed so much that the middle of it was not kept")
    tail = raw.tail()
    lines.append(f"its last lines of output:\n{tail}" if tail.strip() else "the command printed nothing")
    return type(error)("; ".join(lines), hint=error.hint)
