"""docs/workloads.md lists what the tables in the code say, and its examples are accepted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schedtuna.workload.metrics import format_metric, parse_metric, parse_requirement
from schedtuna.workload.parsers import PARSERS
from schedtuna.workload.parsers.base import Field
from schedtuna.workload.spec import Workload
from schedtuna.workload.suite import suite

DOCUMENT = (Path(__file__).parents[3] / "docs/workloads.md").read_text()


def rows(fields: tuple[Field, ...]) -> list[str]:
    return [f"| `{row.name}` | {row.direction or '-'} | {row.description} |" for row in fields]


@pytest.mark.parametrize("parser", PARSERS.values(), ids=lambda parser: parser.name)
def test_every_parser_and_field_is_listed(parser):
    section = re.search(rf"^### {parser.name}\n(.*?)(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert section, f"no section ### {parser.name}"
    names = (
        f"Main `{parser.primary}`, throughput {_code(parser.throughput)}, latency {_code(parser.latency)}."
    )
    for line in [names, *rows(parser.fields)]:
        assert line in section[1], line
    counts = "".join(re.findall(r"^Counts.*$", section[1], re.MULTILINE))
    assert all(f"`{basis.field}`" in counts for basis in parser.bases)
    failures = "".join(re.findall(r"^Failures: .*$", section[1], re.MULTILINE))
    assert all(f"`{row.field}`" in failures for row in parser.failures)


@pytest.mark.parametrize("parser", PARSERS.values(), ids=lambda parser: parser.name)
def test_the_versions_that_are_read_are_listed(parser):
    section = re.search(rf"^### {parser.name}\n(.*?)(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert section
    listed = re.findall(
        r"^(Seen with the real tool|From its documentation): (.*)\.$", section[1], re.MULTILINE
    )
    versions = {"Seen with the real tool": parser.seen, "From its documentation": parser.documented}
    assert dict(listed) == {title: text for title, text in versions.items() if text}
    assert versions.keys() & dict(listed).keys() or parser.name == "json"  # which is no tool's


def _code(name: str) -> str:
    return f"`{name}`" if name else "none"


@pytest.mark.parametrize("entry", suite().values(), ids=lambda entry: entry.name)
def test_every_workload_of_the_suite_is_listed(entry):
    assert (
        f"| `{entry.name}` | `{format_metric(entry.metric)}` | {entry.description} | {entry.favours} |"
        in DOCUMENT
    )


def test_examples_of_metrics_are_accepted():
    examples = re.findall(r"(?:--metric|-m) ('[^']+'|[^\s`]+)", DOCUMENT)
    assert len(examples) >= 5
    for example in examples:
        parse_metric(example.strip("'"), Workload(argv=("x",), parser="json"))
    for example in re.findall(r"--require '([^']+)'", DOCUMENT):
        parse_requirement(example)
