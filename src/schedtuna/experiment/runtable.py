"""A variability study as CSV: one row per run, or one row per metric; either can be read back."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TextIO

from schedtuna.backend.base import Trial, Validity
from schedtuna.errors import ConfigFileError, naming
from schedtuna.experiment.apart import MetricDifference
from schedtuna.experiment.variability import Spread, describe, describe_trials
from schedtuna.files import write_output, writing_output

RUNS_NAME = "runs.csv"
SUMMARY_NAME = "summary.csv"
DIFFERENCES_NAME = "differences.csv"
MOST_BYTES = 64 << 20
RUN_COLUMNS = ("run", "host", "cpus", "seed", "started_at", "validity")
Line = tuple[int, dict[str, str]]  # its number in the file, and its cells by column
_SPREAD_COLUMNS = tuple(field.name for field in fields(Spread))


@dataclass(frozen=True)
class Sample:
    """What one machine's runs looked like.

    Attributes:
        host: Name of the machine.
        nr_cpus: Its online CPUs.
        spreads: One per metric.
    """

    host: str
    nr_cpus: int
    spreads: tuple[Spread, ...]

    @classmethod
    def of(cls, trials: Iterable[Trial], *, host: str, nr_cpus: int) -> Sample:
        """Describe trials."""
        return cls(host, nr_cpus, tuple(describe_trials(trials, nr_cpus=nr_cpus)))


def write_tables(
    folder: Path,
    described: Sequence[tuple[Sample, Sequence[Trial]]],
    differences: Sequence[MetricDifference] = (),
) -> dict[str, Path]:
    """Write the tables of a results folder, and return where: runs, and their summary.

    Of several machines each has a table of its runs, so that it can stand beside another study's; the summary
    is of all of them, and there is one of how they differ.
    """
    files: dict[str, Path] = {}
    for number, (sample, trials) in enumerate(described, start=1):
        what = f"runs of {sample.host}" if len(described) > 1 else "runs"
        files[what] = folder / (f"runs_{number}.csv" if len(described) > 1 else RUNS_NAME)
        write_runs(files[what], trials, host=sample.host, nr_cpus=sample.nr_cpus)
    files["summary"] = folder / SUMMARY_NAME
    with naming(files["summary"]):
        write_summary(files["summary"], [sample for sample, _ in described])
    if differences:
        files["differences"] = folder / DIFFERENCES_NAME
        with naming(files["differences"]):
            _write_table(files["differences"], [one.as_row() for one in differences])
    return files


def write_runs(path: Path, trials: Sequence[Trial], *, host: str, nr_cpus: int) -> None:
    """Write one row per run, its metrics and covariates as columns."""
    names = dict.fromkeys(name for trial in trials for name in (*trial.metrics, *trial.covariates))
    rows = (
        {
            "run": number,
            "host": host,
            "cpus": nr_cpus,
            "seed": trial.seed,
            "started_at": trial.started_at,
            "validity": str(trial.validity),
            **trial.metrics,
            **trial.covariates,
        }
        for number, trial in enumerate(trials, start=1)
    )
    with writing_output(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        _write_rows(text, dict.fromkeys([*RUN_COLUMNS, *names]), rows)
        text.detach()  # what was opened elsewhere is closed there


def write_summary(path: Path, samples: Sequence[Sample]) -> None:
    """Write one row per machine and metric."""
    columns = (*_SPREAD_COLUMNS, "host", "cpus")
    rows = [
        {**spread.as_row(), "host": sample.host, "cpus": sample.nr_cpus}
        for sample in samples
        for spread in sample.spreads
    ]
    _write_table(path, rows, columns)


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Iterable[str] | None = None) -> None:
    text = io.StringIO(newline="")
    _write_rows(text, rows[0] if columns is None else columns, rows)
    write_output(path, text.getvalue().encode())


def _write_rows(file: TextIO, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    writer = csv.DictWriter(file, list(columns), restval="")
    writer.writeheader()
    writer.writerows(rows)


def read_sample(path: Path) -> Sample:
    """Read the runs (or the summary) that a study on this or another machine wrote.

    Raises:
        ConfigFileError: The file can't be read, or is neither; the message names the line.
    """
    try:
        if path.exists() and (not path.is_file() or path.stat().st_size > MOST_BYTES):
            limit = f"{MOST_BYTES >> 20} MiB"
            raise ConfigFileError(
                f"{path} is no table of runs: expected a file of at most {limit}",
                hint="name a runs.csv that `schedtuna variability` wrote",
            )
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigFileError(f"can't read {path}: {reason}") from None
    if {"run", "validity", "cpus"} <= set(columns):
        parse = _describe_runs
    elif {*_SPREAD_COLUMNS, "cpus"} <= set(columns):
        parse = _parse_summary
    else:
        raise ConfigFileError(
            f"{path} is not a table of a variability study: "
            f"its columns are {', '.join(columns) or 'missing'}",
            hint="name a runs.csv that `schedtuna variability` wrote",
        )
    if not rows:
        raise ConfigFileError(f"{path} has no rows")
    hosts = {row.get("host") for _, row in rows}
    if len(hosts) > 1:
        raise ConfigFileError(
            f"{path} is of {len(hosts)} machines: expected one",
            hint="name the table of one machine's runs, runs_1.csv or the like, beside it",
        )
    host = rows[0][1].get("host") or path.stem
    return Sample(host, _cpus(path, rows), tuple(parse(path, rows)))


def _cpus(path: Path, rows: Sequence[Line]) -> int:
    line, first = rows[0]
    nr_cpus = int(_number(path, line, "cpus", first["cpus"]))
    if nr_cpus < 1:
        raise ConfigFileError(f"{path}, line {line}: cpus is {nr_cpus}, expected at least 1")
    return nr_cpus


def _describe_runs(path: Path, rows: Sequence[Line]) -> list[Spread]:
    nr_cpus = _cpus(path, rows)
    values: dict[str, list[float]] = {}
    for line, row in rows:
        if row["validity"] != Validity.OK:
            continue
        for name, text in row.items():
            if name is not None and name not in RUN_COLUMNS and text:
                values.setdefault(name, []).append(_number(path, line, name, text))
    return [describe(name, column, nr_cpus=nr_cpus) for name, column in values.items()]


def _parse_summary(path: Path, rows: Sequence[Line]) -> list[Spread]:
    spreads = []
    for line, row in rows:
        numbers = {
            name: _number(path, line, name, row[name]) if row[name] else math.nan
            for name in _SPREAD_COLUMNS
            if name not in ("metric", "runs")
        }
        runs = int(_number(path, line, "runs", row["runs"]))
        spreads.append(Spread(metric=row["metric"], runs=runs, **numbers))
    return spreads


def _number(path: Path, line: int, column: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigFileError(f"{path}, line {line}: {column} is {text!r}, expected a number")
    return value
