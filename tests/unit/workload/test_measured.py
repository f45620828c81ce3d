"""A run that measured nothing is not the best one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.unit.workload.test_metrics import raw_run

from schedtuna.errors import MetricError, NothingMeasuredError, UnclearNumberError
from schedtuna.workload.measured import empty_count, is_count, is_rate, tells_failures
from schedtuna.workload.metrics import Measured, measure, parse_metric
from schedtuna.workload.parsers import PARSERS
from schedtuna.workload.spec import Workload

OUTPUTS = Path(__file__).parent / "outputs"


def run_of(text: str, argv: tuple[str, ...] = ("./bench",), *metrics: str) -> Measured:
    workload = Workload(argv=argv)
    return measure(workload, [parse_metric(metric, workload) for metric in metrics], raw_run(text))


NO_REQUEST = (r"\d+ requests in", "0 requests in")
NO_EVENT = (r"(number of events: +)\d+", r"\g<1>0")
NO_CPU = (r"(\] cpu +)\d+", r"\g<1>0")

# (output, the zero in it, what is asked, the reason)
ZEROES = [
    ("wrk", "wrk-latency.txt", *NO_REQUEST, "p99_us", "wrk measured nothing: requests is 0"),
    ("wrk", "wrk-latency.txt", *NO_REQUEST, "requests_per_s", "requests is 0"),
    ("wrk", "wrk-latency.txt", *NO_REQUEST, "wall_time_s", "requests is 0"),
    ("wrk2", "wrk-latency.txt", *NO_REQUEST, "p99_us", "requests is 0"),
    ("wrk", "wrk-latency.txt", *NO_REQUEST, "x:min=regex:99% +([0-9.]+)ms", "requests is 0"),
    ("sysbench", "sysbench-cpu.txt", *NO_EVENT, "tail_ms", "events is 0"),
    ("sysbench", "sysbench-memory.txt", *NO_EVENT, "mib_per_s", "events is 0"),
    ("sysbench", "sysbench-threads.txt", *NO_EVENT, "events_per_s", "events is 0"),
    ("sysbench", "sysbench-fileio.txt", *NO_EVENT, "reads_per_s", "events is 0"),
    ("sysbench", "sysbench-fileio.txt", r"(reads/s: +)[\d.]+", r"\g<1>0.00", "reads_per_s", "_per_s is 0"),
    ("stress-ng", "stress-ng-metrics.txt", *NO_CPU, "bogo_ops_per_s", "cpu.bogo_ops is 0"),
    ("stress-ng", "stress-ng-metrics.txt", *NO_CPU, "switch.bogo_ops_per_s", "cpu.bogo_ops is 0"),
    ("stress-ng", "stress-ng.yaml", r"bogo-ops: 1699", "bogo-ops: 0", "bogo_ops_per_s", "cpu.bogo_ops is 0"),
    ("stress-ng", "stress-ng-brief-cyclic.txt", r"7685 samples", "0 samples", "p99_us", "samples is 0"),
    ("schbench", "schbench.txt", r"\(40702 total", "(0 total", "wakeup_p99_us", "wakeup_samples is 0"),
    ("schbench", "schbench.txt", r"\(40755 total", "(0 total", "request_p99_us", "request_samples is 0"),
    ("schbench", "schbench-old.txt", r"\(30048 total", "(0 total", "wakeup_p99_us", "wakeup_samples is 0"),
    ("schbench", "schbench-oldest.txt", r"max=\d+", "max=0", "wakeup_p99_us", "wakeup_max_us is 0"),
    ("schbench", "schbench-pipe.txt", r"transfer: [\d.]+", "transfer: 0.0", "transfers_per_s", "_per_s is 0"),
    ("hackbench", "hackbench.txt", r"pass \d+ messages", "pass 0 messages", "time_s", "messages is 0"),
    ("hackbench", "hackbench.txt", r"Time: [\d.]+", "Time: 0.000", "time_s", "time_s is 0"),
    ("cyclictest", "cyclictest.txt", r"C: +399", "C:      0", "avg_us", "T1.nr_cycles is 0"),
    ("cyclictest", "cyclictest.json", r'"cycles": \d+', '"cycles": 0', "max_us", "T0.nr_cycles, T1"),
    ("perf bench", "perf-bench-pipe.txt", r"\d+ ops/sec", "0 ops/sec", "us_per_op", "ops_per_s is 0"),
    ("perf bench", "perf-bench-futex.txt", r"Averaged \d+", "Averaged 0", "ops_per_s", "ops_per_s is 0"),
    ("perf bench", "perf-bench-messaging.txt", r"time: [\d.]+", "time: 0.000", "total_time_s", "time_s is 0"),
    ("pgbench", "pgbench.txt", r"processed: \d+", "processed: 0", "avg_ms", "transactions is 0"),
    ("pgbench", "pgbench.txt", r"tps = [\d.]+", "tps = 0.000000", "tps", "tps is 0"),
    ("llama-bench", "llama-bench.md", r"8056.78", "0.00", "tg_ms_per_token", "tg16.tg_tokens_per_sec"),
    ("llama-bench", "llama-bench.md", r"8056.78", "nan", "tg_tokens_per_sec", "tg16.tg_tokens_per_sec"),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "file", "pattern", "zero", "metric", "reason"), ZEROES)
def test_a_count_of_0_fails_the_run_in_every_parser(tool, file, pattern, zero, metric, reason):
    text = (OUTPUTS / file).read_text()
    argv = tuple(tool.split())
    run_of(text, argv, metric)
    emptied = re.sub(pattern, zero, text, flags=re.IGNORECASE)
    assert emptied != text
    with pytest.raises(NothingMeasuredError, match=re.escape(reason)):
        run_of(emptied, argv, metric)


def test_every_parser_that_can_tell_declares_what_it_counts():
    without = {name for name, parser in PARSERS.items() if not parser.bases}
    assert without == {"json"}  # judged by what the keys are called
    for parser in PARSERS.values():
        for name in [name for basis in parser.bases for name in (basis.field, *basis.of)]:
            assert parser.field(name), name
        for name in [name for row in parser.failures for name in (row.field, *row.of)]:
            assert parser.field(name), name


def test_a_time_that_is_rounded_to_0_leaves_the_rates_of_its_run():
    text = "# Executed 20 getppid() calls\n     Total time: 0.000 [sec]\n\n       0.200000 usecs/op\n"
    found = run_of(text + "        5000000 ops/sec\n", ("perf", "bench", "syscall"), "ops_per_s")
    assert found.metrics["us_per_op"] == 0.2
    with pytest.raises(NothingMeasuredError, match="total_time_s is 0"):
        run_of(text, ("perf", "bench", "syscall"), "total_time_s")


def test_what_rests_on_another_count_is_still_measured():
    text = (OUTPUTS / "schbench.txt").read_text().replace("(40702 total", "(0 total")
    found = run_of(text, ("schbench",), "rps")
    assert found.metrics["rps"] == 3009.10
    assert "wakeup_p99_us" not in found.metrics


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"requests": 0, "p99": 0.0}, "requests is 0"),
        ({"samples": [], "p99": 0.0}, "samples is empty"),
        ({"count": 0, "p99": 0.0}, "count is 0"),
        ({"nrEvents": 0, "p99": 0.0}, "nrEvents is 0"),
        ({"total_ops": "0", "p99": 0.0}, "total_ops is 0"),
        ({"p99": 0.0, "n": 0.0}, "n is 0"),
    ],
)
def test_a_count_of_0_beside_a_number_fails_the_run(document, reason):
    for asked, text in (
        ("x:min=json:p99", json.dumps(document)),
        ("x:min=json:a[1].p99", json.dumps({"a": [{}, document]})),
    ):
        with pytest.raises(NothingMeasuredError, match=reason):
            run_of(text, ("./bench",), asked)
    with pytest.raises(NothingMeasuredError, match=reason):
        measure(
            Workload(argv=("./bench",), parser="json"),
            [parse_metric("p99:min")],
            raw_run("hello\n" + json.dumps(document)),
        )


def test_a_count_of_0_further_out_fails_the_run_and_an_empty_list_there_does_not():
    with pytest.raises(NothingMeasuredError, match="requests is 0"):
        run_of('{"requests": 0, "latency": {"p99": 0}}', ("./bench",), "x:min=json:latency.p99")
    found = run_of('{"events": [], "latency": {"p99": 5}}', ("./bench",), "x:min=json:latency.p99")
    assert found.metrics["x"] == 5


@pytest.mark.parametrize(
    ("document", "path", "value"),
    [
        ({"errors": {"count": 0, "rate": 0}, "p99": 5}, "errors.count", 0),
        ({"errors": {"count": 0, "rate": 0}, "p99": 5}, "errors.rate", 0),
        ({"dropped": {"frames": 0}, "frames": 9}, "dropped.frames", 0),
        ({"errors": {"count": 0}, "p99": 5}, "p99", 5),
        ({"messages": [], "events": [], "p99": 5}, "p99", 5),  # perhaps what it has to complain of
        ({"failed_requests": 0, "slow_queries": 0, "p99": 5}, "p99", 5),
    ],
)
def test_that_nothing_went_wrong_is_not_nothing_measured(document, path, value):
    assert run_of(json.dumps(document), ("./bench",), f"x:min=json:{path}").metrics["x"] == value


@pytest.mark.parametrize(
    ("key", "yes"),
    [
        ("errors", True), ("nr_errors", True), ("droppedFrames", True), ("cache_misses", True),
        ("retransmits", True), ("timeouts", True), ("late", True),
        ("retrieval", False), ("transmission", False), ("template", False), ("server", False),
        ("missile", False), ("latency", False), ("", False), (3, False),
    ],
)  # fmt: skip
def test_keys_of_failures_are_known_by_their_words(key, yes):
    assert tells_failures(key) is yes


def test_failures_of_nothing_that_was_attempted_are_not_the_best_value():
    with pytest.raises(NothingMeasuredError, match="requests is 0"):
        run_of('{"requests": 0, "errors": {"count": 0}}', ("./bench",), "x:min=json:errors.count")


@pytest.mark.parametrize("column", ["requests", "rps"])
def test_a_second_without_a_request_is_a_part_of_their_rate(column):
    table = f"second,requests,{column}\n" if column == "rps" else "second,requests,p99\n"
    found = run_of(f"{table}1,0,0\n2,600,600\n", ("./bench",), f"x:max=csv:{column}")
    assert found.metrics["x"] == 300
    with pytest.raises(NothingMeasuredError, match="requests is 0"):
        run_of(f"{table}1,0,0\n2,0,0\n", ("./bench",), f"x:max=csv:{column}")


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("name,p99\n", "no rows"),
        ("requests,p99\n0,0\n", "requests is 0"),
        ("name,samples,p99\ncpu,50,3\nhdd,0,0\n", "hdd,0,0, samples is 0"),
    ],
)
def test_a_table_without_rows_or_of_nothing_fails_the_run(table, reason):
    with pytest.raises(NothingMeasuredError, match=reason):
        run_of(table, ("./bench",), "x:min=csv:p99")


def test_a_row_that_was_cut_is_not_left_out_of_the_mean():
    with pytest.raises(MetricError, match="a row of the table has 2 cells, where 3"):
        run_of("name,a,p99\ncpu,1,3\nhdd,2\nio,1,5\n", ("./bench",), "x:min=csv:p99")
    found = run_of("name,a,p99\ncpu,1,3\nio,1,5\n3 files, 2 lines\n", ("./bench",), "x:min=csv:p99")
    assert found.metrics["x"] == 4


def test_the_parts_of_a_run_are_told():
    stress_ng = run_of((OUTPUTS / "stress-ng-metrics.txt").read_text(), ("stress-ng",), "bogo_ops_per_s")
    assert stress_ng.parts == ("cpu", "switch")
    assert run_of((OUTPUTS / "cyclictest.txt").read_text(), ("cyclictest",), "avg_us").parts == ("T0", "T1")
    llama = run_of((OUTPUTS / "llama-bench.md").read_text(), ("llama-bench",), "tg_tokens_per_sec")
    assert llama.parts == ("pp32+tg8", "pp64", "tg16")
    table = run_of("name,p99\nread,3\nwrite,5\n", ("./bench",), "x:min=csv:p99")
    assert table.parts == ("x: read", "x: write")
    series = run_of("time,p99\n10:00:01,3\n10:00:02,5\n", ("./bench",), "x:min=csv:p99")
    assert series.parts == ()  # rows of a time series are none
    dated = run_of("time,p99\nNov 29 10:00:01,3\nNov 29 10:00:02,5\n", ("./bench",), "x:min=csv:p99")
    assert dated.parts == ()


def test_a_stressor_whose_row_is_odd_is_not_left_out_of_the_mean():
    text = (OUTPUTS / "stress-ng-metrics.txt").read_text().replace("1698.85", "   -nan")
    with pytest.raises(MetricError, match=r"cpu\.bogo_ops is nan"):
        run_of(text, ("stress-ng",), "bogo_ops_per_s")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_what_is_not_finite_is_refused_wherever_it_stands(value):
    with pytest.raises(MetricError, match="finite"):
        run_of(f'{{"p99": {value}}}', ("./bench",), "x:min=json:p99")
    with pytest.raises(MetricError, match="finite"):
        run_of(f"name,p99\ncpu,{value}\n", ("./bench",), "x:min=csv:p99")
    with pytest.raises(MetricError, match="finite"):
        run_of(f"p99 {value}", ("./bench",), "x:min=regex:p99 (\\S+)")


def test_a_unit_is_told_or_converted_by_the_name():
    text = "p99 12.5ms\n"
    told = run_of(text, ("./bench",), "p99:min=regex:p99 ([0-9.]+)")
    assert (told.metrics["p99"], told.units) == (12.5, {"p99": "ms"})
    converted = run_of(text, ("./bench",), "p99_us:min=regex:p99 ([0-9.]+)")
    assert (converted.metrics["p99_us"], converted.units) == (12500, {})


def test_a_cut_number_names_metric_and_file_and_is_not_a_failed_run(tmp_path):
    workload = Workload(argv=("./bench",), folder=tmp_path)
    (tmp_path / "log.txt").write_text("score 1,234.5\n")
    with pytest.raises(UnclearNumberError, match=r"score: the number goes on: 1,234\.5.*\(in log\.txt\)"):
        measure(workload, [parse_metric("score:max=regex@log.txt:score ([0-9.]+)")], raw_run(""))


@pytest.mark.parametrize(
    ("key", "yes"),
    [
        ("requests", True), ("total_requests", True), ("numQueries", True), ("sample_count", True),
        ("ok_requests", True), ("reqs", True), ("nr_msgs", True), ("req", False),
        ("n", True), ("ops", True), ("total_ios", True), ("iterations", True),
        ("failed_requests", False), ("requests_per_s", False), ("frame", False), ("run", False),
        ("loops", False), ("total", False), ("p99", False), ("errors", False), ("samples_us", False),
        ("", False),
    ],
)  # fmt: skip
def test_counts_are_known_by_their_names(key, yes):
    assert is_count(key) is yes
    assert bool(empty_count({key: 0})) is yes
    assert not empty_count({key: 3})
    assert not empty_count({key: None})
    assert not empty_count({key: False})


def test_rates_are_known_by_unit_or_name():
    assert is_rate("x", "MiB/s") and is_rate("bogo_ops_per_s", "") and is_rate("IOPS", "")
    assert not is_rate("p99_us", "us") and not is_rate("score", "")


@pytest.mark.parametrize("name", ["cycles", "instructions", "energy_j"])
def test_a_counter_that_did_not_count_is_not_the_best_value(name):
    workload = Workload(argv=("./bench",))
    with pytest.raises(NothingMeasuredError, match=f"{name} is 0: it was not counted"):
        measure(workload, [parse_metric(name)], raw_run("", counters={name: 0.0}))


def test_a_histogram_of_no_cycle_is_nothing_measured():
    text = (OUTPUTS / "cyclictest-histogram.txt").read_text()
    text = re.sub(r"^(\d{6}) .*$", r"\1 000000 000000", text, flags=re.MULTILINE)
    text = re.sub(r"# Total: .*", "# Total: 000000000 000000000", text)
    text = re.sub(r"(Overflows): .*", r"\1: 00000 00000", text)
    with pytest.raises(NothingMeasuredError, match=r"T0\.nr_cycles, T1\.nr_cycles are 0"):
        PARSERS["cyclictest"].read(text)


def test_a_histogram_that_lacks_a_row_gives_no_percentiles():
    text = (OUTPUTS / "cyclictest-histogram.txt").read_text()
    row = next(line for line in text.splitlines() if re.match(r"0000\d\d [0-9]*[1-9]", line))
    with pytest.raises(MetricError, match=r"its histogram has \d+ of \d+ cycles"):
        PARSERS["cyclictest"].read(text.replace(row, row.replace(" ", " 1,", 1)))
