"""Never a metric from nothing, never a part of a number: whatever is printed, and however it was cut."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.workload.test_metrics import raw_run
from tests.unit.workload.test_parsers import CASES

from schedtuna.errors import MetricError, NothingMeasuredError
from schedtuna.workload.measured import general_name
from schedtuna.workload.metrics import measure, parse_metric
from schedtuna.workload.parsers import PARSERS
from schedtuna.workload.spec import Workload

OUTPUTS = Path(__file__).parents[1] / "unit/workload/outputs"
FILES = sorted({(name, file) for name, file, _ in CASES})
TEXTS = {file: (OUTPUTS / file).read_text() for _, file in FILES}
NUMBER = re.compile(r"(?<![\w.,/:-])\d+(?:\.\d+)?(?!\w|[./:-]|,\d)")
UNITS = (1, 1e3, 1e6, 6e7, 3.6e9, 1e-3, 2.0**10, 2.0**20, 2.0**30)

# Notations of one number of which its first or last digits are not a reading.
CUTS = st.sampled_from(
    [
        "973,918,467", "973,918.4673", "973.918,4673", "973'918", "97391.8467k", "97391.8467e",
        "97391:8467", "97391_8467", "97391.8467.3918", "97391K",
    ]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(which=st.sampled_from(FILES), at=st.integers(0, 10**6), cut=CUTS)
def test_a_parser_takes_no_part_of_a_number(which, at, cut):
    name, file = which
    text, parser = TEXTS[file], PARSERS[name]
    places = list(NUMBER.finditer(text))
    assume(places)
    place = places[at % len(places)]
    before = parser.read(text)
    try:
        after = parser.read(text[: place.start()] + cut + text[place.end() :])
    except MetricError:
        return
    pieces = {float(piece) for piece in re.findall(r"\d+(?:\.\d+)?", cut)}
    pieces |= {float(piece) for piece in re.findall(r"\d+", cut)}
    wrong = {piece * unit for piece in pieces for unit in UNITS}
    new = {field: value for field, value in after.items() if before.get(field) != value}
    assert not {field: value for field, value in new.items() if value in wrong}


@st.composite
def emptied(draw: st.DrawFn) -> tuple[str, str, str]:
    """A parser, a count that it declares, and a real output in which that is 0."""
    name, file = draw(st.sampled_from(FILES))
    parser, text = PARSERS[name], TEXTS[file]
    values = parser.parse(text)
    fields = {basis.field for basis in parser.bases}
    counts = sorted(field for field in values if field.rpartition(".")[2] in fields and values[field])
    assume(counts)
    field = draw(st.sampled_from(counts))
    places = [place for place in NUMBER.finditer(text) if float(place[0]) == values[field]]
    assume(places)
    zero = draw(st.sampled_from(["0", "0.00", "0.000000"]))
    for place in reversed(places):
        as_printed = zero if "." in place[0] else "0"
        text = text[: place.start()] + as_printed + text[place.end() :]
    return name, field, text


@settings(max_examples=300, deadline=None)
@given(emptied())
def test_what_rests_on_a_count_of_0_is_never_given(case):
    name, count, text = case
    parser = PARSERS[name]
    resting = [basis.of for basis in parser.bases if basis.field == count.rpartition(".")[2]]
    try:
        values = parser.read(text)
    except MetricError:
        return
    assert all(resting), "the whole run rests on it"
    allowed = {field for of in resting for field in of}
    assert not {field for field in values if general_name(field) in allowed}


@settings(max_examples=300, deadline=None)
@given(which=st.sampled_from(FILES), gone=st.lists(st.integers(0, 10**6), min_size=1, max_size=6))
def test_without_some_lines_every_number_left_is_one_of_the_whole_output_or_over_other_parts(which, gone):
    name, file = which
    lines = TEXTS[file].splitlines(keepends=True)
    dropped = {at % len(lines) for at in gone}
    parser = PARSERS[name]
    whole = parser.reading(TEXTS[file])
    try:
        found = parser.reading("".join(line for at, line in enumerate(lines) if at not in dropped))
    except MetricError:
        return
    if found.parts != whole.parts or name in {"schbench", "cyclictest", "json"} or "bench-mem" in file:
        return  # told by its parts; or earlier reports, buckets and functions stand in for what is gone
    changed = {field for field, value in found.values.items() if whole.values.get(field, value) != value}
    # What follows from other fields, or stands for one that the tool did not print.
    assert changed <= {"socket_errors", "bad_responses", "events_per_s", "total_time_s", "tail_ms"}, changed


# How a number may be printed, and what it is then.
PLAIN = st.integers(0, 10**9).map(lambda number: number / 100)
NOTATIONS = {
    "plain": lambda x: (f"{x:.2f}", x),
    "whole": lambda x: (f"{x:.0f}", round(x)),
    "grouped": lambda x: (f"{x:,.2f}", x),
    "grouped whole": lambda x: (f"{x:,.0f}", round(x)),
    "swiss": lambda x: (f"{x:,.2f}".replace(",", "'"), x),
    "thin spaces": lambda x: (f"{x:,.2f}".replace(",", "\u202f"), x),
    "german": lambda x: (f"{x:,.2f}".translate(str.maketrans(",.", ".,")), x),
    "exponent": lambda x: (f"{x:.6e}", float(f"{x:.6e}")),
    "negative": lambda x: (f"-{x:.2f}", -x),
    "k": lambda x: (f"{x:.2f}k", x * 1e3),
    "M": lambda x: (f"{x:.2f}M", x * 1e6),
    "Gi": lambda x: (f"{x:.2f}Gi", x * 2**30),
    "K": lambda x: (f"{x:.2f}K", math.nan),  # nobody knows
    # Seconds after 0 minutes are all of it.
    "clock": lambda x: (f"{x // 60:.0f}:{x % 60:05.2f}", math.nan if x >= 60 else x),
    "minutes": lambda x: (f"{x // 60:.0f}m{x % 60:.0f}s", math.nan if x >= 60 else float(f"{x:.0f}")),
    "hexadecimal": lambda x: (f"0x{round(x):X}", math.nan),
}
PATTERNS = (
    "score ([0-9.]+)",
    "score (\\d+)",
    "score (\\d+),?",
    "score (\\d+(?:\\.\\d+)?)",
    "score +([0-9.,]+)",
    "score (\\S+)",
    "score ([-+0-9.eE]+)",
    "(\\d+)",
    "([0-9.]+)(?: points)?$",
    "([\\d.,]+)\\D*$",
    "\\d+\\.?\\d*",
)  # fmt: skip


@pytest.mark.parametrize("notation", NOTATIONS)
@settings(max_examples=60, deadline=None)
@given(
    value=PLAIN,
    pattern=st.sampled_from(PATTERNS),
    behind=st.sampled_from(["", " points", ", done", ".", "\n", ")"]),
)
def test_a_pattern_gives_the_whole_number_or_an_error(notation, value, pattern, behind):
    printed, truth = NOTATIONS[notation](value)
    spec = parse_metric(f"score:max=regex:{pattern}")
    try:
        found = measure(Workload(argv=("./bench",)), [spec], raw_run(f"score {printed}{behind}"))
    except MetricError:
        return
    assert found.metrics["score"] == pytest.approx(truth, rel=1e-9), printed


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.integers(0, 3), max_size=5),
    noun=st.sampled_from(["requests", "nr_samples", "count", "total_ops", "Events"]),
    value=st.floats(0, 1e6),
)
def test_a_table_or_document_with_an_empty_count_gives_no_number(rows, noun, value):
    table = f"name,{noun},p99\n" + "".join(f"row,{count},{value!r}\n" for count in rows)
    spec = parse_metric("p99:min=csv:p99")
    if rows and all(rows):
        assert measure(Workload(argv=("x",)), [spec], raw_run(table)).metrics["p99"] == pytest.approx(value)
        return
    with pytest.raises(NothingMeasuredError):
        measure(Workload(argv=("x",)), [spec], raw_run(table))
    empty = "[]" if not rows and noun != "Events" else "0"  # a list of events may be of what went wrong
    document = f'{{"{noun}": {empty}, "p99": {value!r}}}'
    with pytest.raises(NothingMeasuredError):
        measure(Workload(argv=("x",)), [parse_metric("p99:min=json:p99")], raw_run(document))
