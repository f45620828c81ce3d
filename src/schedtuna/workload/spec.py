"""A workload: what to run, how, and what to read from it. Only data; `command` runs it."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schedtuna.errors import UsageError

SEED_PLACEHOLDER = "{seed}"
SEED_VARIABLE = "SCHEDTUNA_SEED"
SEED_LIMIT = 2**31  # below it: sysbench 1.0.20 and others read seeds as signed integers of 32 bits


def derived_seed(*parts: int) -> int:
    """Return a seed for one purpose of several, below SEED_LIMIT: equal parts give equal ones."""
    from numpy.random import SeedSequence

    return int(SeedSequence(parts).generate_state(1)[0]) >> 1


_Told = TypeVar("_Told", str, Path)


def _stored(text: _Told) -> _Told:
    try:
        str(text).encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{str(text)!r} is not UTF-8, and no results folder could tell it",
            hint="a file of such a name can have another one by a link to it",
        ) from None
    return text


StoredText = Annotated[str, AfterValidator(_stored)]  # such that a folder's JSON can hold it
StoredPath = Annotated[Path, AfterValidator(_stored)]


class Direction(StrEnum):
    """Which way is better."""

    MIN = "min"
    MAX = "max"


class MetricSource(BaseModel):
    """Where a metric's value comes from.

    Attributes:
        kind: ``auto`` looks NAME up among the workload's parser, rusage and perf counters;
            ``regex`` takes group 1 of the last match; ``json`` a path such as ``a.b[0].c``;
            ``csv`` the mean of a column; ``field`` a field of the workload's parser.
        argument: The pattern, path, column or field.
        file: A file that the workload writes, read instead of its output.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["auto", "regex", "json", "csv", "field"] = "auto"
    argument: StoredText = ""
    file: StoredPath | None = None


class MetricSpec(BaseModel):
    """One number to optimise: ``p99_us:min``, ``'score:max=regex:score ([0-9.]+)'``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    direction: Direction
    weight: float = Field(default=1.0, gt=0)
    source: MetricSource = MetricSource()


class Requirement(BaseModel):
    """A bound that a metric must keep, judged by confidence bounds: ``rps>=1000``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    operator: Literal["<", "<=", ">", ">="]
    bound: float


class Workload(BaseModel):
    """A command and how to run it.

    Attributes:
        argv: The command, as an argument list; `{seed}` in it is replaced by the run's seed,
            which is also in the environment as SCHEDTUNA_SEED.
        shell: Whether argv is one string for `/bin/sh -c`.
        environment: Variables that are added to the environment.
        folder: Working directory.
        user: Name of the user to run as; needs root.
        warmup_runs: Runs before each measured run whose result is thrown away.
        washout_s: Seconds of rest before each run.
        timeout_s: Seconds after which the whole process tree is killed.
        parser: Name of the parser for the output, or ``module:NAME``; empty: chosen by the command's name.
        name: For people; default: the command's base name.
        works_here: Whether it does its work itself although its name is that of a client, such as
            docker, whose work others do: see `workload.clients`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    argv: tuple[StoredText, ...] = Field(min_length=1)
    shell: bool = False
    environment: dict[str, str] = {}
    folder: StoredPath | None = None
    user: str | None = None
    warmup_runs: int = Field(default=0, ge=0)
    washout_s: float = Field(default=0.0, ge=0)
    timeout_s: float = Field(default=300.0, gt=0)
    parser: str = ""
    name: str = ""
    works_here: bool = False

    @property
    def title(self) -> str:
        """What people call it: its name, else its command line."""
        return self.name or shlex.join(self.argv)


class RunSpec(BaseModel):
    """What every run of an experiment has in common, wherever it is made and whatever it is under.

    Attributes:
        workload: What is run.
        metrics: What is read from every run, besides what is always read; the first one is primary.
        requirements: Bounds that a winner must keep; their metrics are read, too.
        limits: Covariates above which a run counts as failed, by name: see `workload.covariates`.
        seed: Of every random choice: those of the runs follow from it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workload: Workload
    metrics: tuple[MetricSpec, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    limits: dict[str, float] = {}
    seed: int = Field(default=0, ge=0)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the requirements' metrics, which every run must have."""
        return tuple(rule.metric for rule in self.requirements)
