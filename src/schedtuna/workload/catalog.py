"""Which names of metrics are there, who has them, and what are they? From the tables that define them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from schedtuna.errors import UsageError, nearest
from schedtuna.workload.covariates import COVARIATES
from schedtuna.workload.own_metrics import COUNTER_FIELDS, RUN_FIELDS, SCHED_FIELDS
from schedtuna.workload.parsers import PARSERS
from schedtuna.workload.parsers.base import Field, find_field

RUN, PERF, SCHED, COVARIATE, SYSTEM = "run", "perf", "sched", "covariates", "system"


@dataclass(frozen=True)
class Group:
    """Metrics that come from one place.

    Attributes:
        name: One of the constants above, or the parser's.
        title: What they are, for people.
        is_metric: Whether `--metric` takes them.
        fields: The metrics.
    """

    name: str
    title: str
    is_metric: bool
    fields: tuple[Field, ...]


def groups(system: Iterable[Field] = ()) -> list[Group]:
    """Return every metric, by where it comes from.

    Args:
        system: What is sampled of the system, which the recorder's table has.
    """
    covariates = tuple(Field(name, "", None, f"what {told}") for name, (told, _) in COVARIATES.items())
    return [
        Group(RUN, "of every run", True, RUN_FIELDS),
        Group(PERF, "counted by perf where a metric asks for it", True, COUNTER_FIELDS),
        Group(SCHED, "counted by eBPF where a metric asks for it", True, SCHED_FIELDS),
        *(
            Group(parser.name, f"what {parser.name} prints", True, parser.fields)
            for parser in PARSERS.values()
        ),
        Group(COVARIATE, "written down with every run, not optimised", False, covariates),
        Group(SYSTEM, "sampled by record and stats --windows, not optimised", False, tuple(system)),
    ]


def find(name: str, known: Iterable[Group]) -> list[Group]:
    """Return the groups that a name is of, or that have it, each with what was meant of it.

    Raises:
        UsageError: None; the nearest ones are named.
    """
    known = list(known)
    found = [group for group in known if group.name == name]
    for group in known:
        field = find_field(group.fields, name)
        if field is not None and group not in found:
            found.append(Group(group.name, group.title, group.is_metric, (field,)))
    if not found:
        names = {row.name for group in known for row in group.fields} | {group.name for group in known}
        near = nearest(name, names)
        meant = f": {near}" if near.startswith("did you mean") else ""  # all of them fill two screens
        raise UsageError(f"there is no metric {name}{meant}", hint="`schedtuna metrics` lists them")
    return found
