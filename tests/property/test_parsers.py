"""Whatever a tool prints, a parser gives finite numbers or a MetricError, quickly."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.errors import MetricError, UsageError
from schedtuna.workload.command import RawRun
from schedtuna.workload.metrics import format_metric, parse_metric, parse_requirement, read_metrics
from schedtuna.workload.parsers import PARSERS
from schedtuna.workload.sources import READERS
from schedtuna.workload.spec import MetricSource, MetricSpec, Workload

OUTPUTS = Path(__file__).parents[1] / "unit/workload/outputs"
REAL = [path.read_text() for path in sorted(OUTPUTS.iterdir())]
NUMBERS = st.sampled_from(["-1", "0", "1e999", "nan", "9" * 400, "", "0.0", "18446744073709551616", "x"])


@st.composite
def mangled_outputs(draw: st.DrawFn) -> str:
    """Real output with lines dropped, repeated, cut and with numbers replaced."""
    lines = draw(st.sampled_from(REAL)).splitlines()
    chosen = draw(st.lists(st.sampled_from(lines), max_size=40)) if draw(st.booleans()) else lines
    words = [word for line in chosen for word in (line, "\n")]
    for _ in range(draw(st.integers(0, 5))):
        if words:
            at = draw(st.integers(0, len(words) - 1))
            parts = words[at].split(" ")
            parts[draw(st.integers(0, len(parts) - 1))] = draw(NUMBERS)
            words[at] = " ".join(parts)
    text = "".join(words)
    return text[: draw(st.integers(0, len(text)))] if draw(st.booleans()) else text


TEXTS = st.one_of(st.text(), mangled_outputs(), st.binary().map(lambda data: data.decode(errors="replace")))


@pytest.mark.parametrize("parser", PARSERS.values(), ids=lambda parser: parser.name)
@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_any_text_gives_finite_numbers_or_an_error(parser, text):
    try:
        values = parser.read(text)
    except MetricError:
        return
    assert values
    assert all(isinstance(value, float) and math.isfinite(value) for value in values.values())


@pytest.mark.parametrize("parser", PARSERS.values(), ids=lambda parser: parser.name)
def test_long_lines_take_no_forever(parser):
    # A pattern that backtracks exponentially would never end; every number becomes a long one.
    for line in {re.sub(r"\d+", "0", line) for text in REAL for line in text.splitlines()[-3:]}:
        for unit in ("1", "1 ", " ", "pp1", "{", "["):
            with suppress(MetricError):
                parser.read(re.sub(r"\d+", unit * 5000, line) + "x")


@settings(max_examples=200, deadline=None)
@given(
    text=TEXTS,
    source=st.sampled_from(
        ["regex:(\\S+)$", "json:a", 'json:thread["0"].avg', "json:[0]", "csv:avg_ts", "csv:a"]
    ),
)
def test_any_output_gives_a_finite_number_or_an_error(text, source):
    workload = Workload(argv=("x",))
    raw = RawRun(
        exit_code=0, signal=None, timed_out=False, started_at=0, usage={"wall_time_s": 1.0}, stdout=text
    )
    with suppress(MetricError):
        assert math.isfinite(read_metrics(workload, [parse_metric(f"m:min={source}")], raw)["m"])


@settings(max_examples=300, deadline=None)
@given(
    text=st.one_of(
        st.text(), st.from_regex(r"[a-z:*=@.0-9]+(min|max|regex:|json:|csv:)*[^\n]*", fullmatch=True)
    )
)
def test_any_metric_and_requirement_parses_or_says_why(text):
    for parse in (parse_metric, parse_requirement):
        with suppress(UsageError):
            parse(text)


SOURCES = st.one_of(
    st.just(MetricSource()),
    st.builds(
        MetricSource,
        kind=st.sampled_from(["json", "csv"]),
        argument=st.from_regex(r"[a-z_]+(\.[a-z]+|\[[0-9]\])*", fullmatch=True),
        file=st.none() | st.from_regex(r"[a-z./]+", fullmatch=True).map(Path),
    ),
    st.builds(
        MetricSource,
        kind=st.just("regex"),
        argument=st.from_regex(r"([a-z][=: ]?)+\(\[0-9\]\)", fullmatch=True),
    ),
)


@settings(max_examples=200, deadline=None)
@given(
    spec=st.builds(
        MetricSpec,
        name=st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]*", fullmatch=True),
        direction=st.sampled_from(["min", "max"]),
        weight=st.floats(1e-6, 1e6),
        source=SOURCES,
    )
)
def test_what_is_written_is_read_back(spec):
    assert parse_metric(format_metric(spec)) == spec


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.floats(-1e9, 1e9), min_size=1), before=st.text(alphabet="ab \n"))
def test_a_csv_column_has_the_mean_of_its_values(values, before):
    text = before + "\ntime,value\n" + "".join(f"{i},{value!r}\n" for i, value in enumerate(values))
    assert READERS["csv"]("value", text).value == pytest.approx(math.fsum(values) / len(values))
