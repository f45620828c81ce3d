"""Every parser against outputs of the real tools (schbench: as documented)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schedtuna.errors import MetricError, UsageError
from schedtuna.workload.own_metrics import OWN_FIELDS
from schedtuna.workload.parsers import PARSERS, find_parser, option_value
from schedtuna.workload.parsers.base import percentile_name
from schedtuna.workload.spec import Workload

OUTPUTS = Path(__file__).parent / "outputs"

# (parser, output, what a person reads in it)
CASES = [
    (
        "stress-ng",
        "stress-ng-metrics.txt",
        {
            "cpu.bogo_ops_per_s": 1698.85,
            "cpu.cpu_percent": 99.61,
            "switch.bogo_ops": 239075,
            "switch.nanosecs_per_context_switch_pipe_method": 4181.32,
            "bogo_ops_per_s": (1698.85 * 238967.43) ** 0.5,
        },
    ),
    (
        "stress-ng",
        "stress-ng-brief-cyclic.txt",
        {"p99_us": 63.893, "p99_99_us": 607.21, "avg_us": 23.37727, "pipe.bogo_ops_per_s": 668305.80},
    ),
    ("stress-ng", "stress-ng.yaml", {"cpu.bogo_ops_per_s": 1698.851351, "switch.rss_max_kib": 2540}),
    (
        "sysbench",
        "sysbench-cpu.txt",
        {"events_per_s": 8845.36, "tail_ms": 0.25, "p95_ms": 0.25, "avg_ms": 0.23},
    ),
    ("sysbench", "sysbench-threads.txt", {"events_per_s": 1997 / 1.0004, "max_ms": 1.79}),
    ("sysbench", "sysbench-memory.txt", {"mib_per_s": 6697.69, "operations_per_s": 6858435.65}),
    ("sysbench", "sysbench-fileio.txt", {"reads_per_s": 44846.61, "written_mib_per_s": 467.15}),
    # 10 groups of 20 senders and 20 receivers, 50 messages from each sender to each receiver
    ("hackbench", "hackbench.txt", {"time_s": 0.405, "messages_per_s": 10 * 20 * 20 * 50 / 0.405}),
    (
        "cyclictest",
        "cyclictest.txt",
        {"min_us": 62, "avg_us": (500 * 74 + 399 * 90) / 899, "max_us": 4431},
    ),
    ("cyclictest", "cyclictest-histogram.txt", {"min_us": 13, "max_us": 3034, "p50_us": 65, "p99_us": 209}),
    ("cyclictest", "cyclictest.json", {"min_us": 13, "max_us": 3034, "p50_us": 65, "p99_us": 209}),
    ("perf-bench", "perf-bench-messaging.txt", {"total_time_s": 0.456}),
    ("perf-bench", "perf-bench-pipe.txt", {"total_time_s": 0.455, "us_per_op": 45.5331, "ops_per_s": 21962}),
    ("perf-bench", "perf-bench-simple.txt", {"total_time_s": 0.243}),
    ("perf-bench", "perf-bench-futex.txt", {"ops_per_s": 899072}),
    ("pgbench", "pgbench.txt", {"tps": 1951.374403, "avg_ms": 1.025, "transactions": 1942}),
    ("pgbench", "pgbench-rate.txt", {"tps": 184.029629, "schedule_lag_ms": 0.184, "late_transactions": 0}),
    (
        "wrk",
        "wrk-latency.txt",
        {"requests_per_s": 1621.77, "p99_us": 3440, "stddev_us": 721.34, "bad_responses": 0},
    ),
    ("wrk", "wrk-errors.txt", {"bad_responses": 2104, "avg_us": 970, "bytes_per_s": 0.95 * 2**20}),
    (
        "schbench",
        "schbench.txt",
        {
            "wakeup_p99_us": 272,
            "wakeup_p99_9_us": 1266,
            "request_p50_us": 17120,
            "rps": 3009.10,
            "rps_p20": 2996,
        },
    ),
    ("schbench", "schbench-pipe.txt", {"wakeup_p99_us": 8, "transfers_per_s": 21924.84}),
    ("schbench", "schbench-old.txt", {"wakeup_p99_us": 31, "wakeup_p99_5_us": 33, "wakeup_max_us": 1029}),
    ("schbench", "schbench-oldest.txt", {"wakeup_p99_us": 2132, "wakeup_min_us": 0}),
    (
        "llama-bench",
        "llama-bench.json",
        {
            "pp_tokens_per_sec": 69221.309187,
            "tg_tokens_per_sec": 5756.106025,
            "pg_tokens_per_sec": 29578.451034,
            "tg_ms_per_token": 1000 / 5756.106025,
            "success_rate": 1,
        },
    ),
    (
        "llama-bench",
        "llama-bench.jsonl",
        {"pp_tokens_per_sec": 2113.351181, "tg_tokens_per_sec": 8132.583728},
    ),
    ("llama-bench", "llama-bench.csv", {"pp_tokens_per_sec": 40448.651946, "tg_tokens_per_sec": 100.94515}),
    ("llama-bench", "llama-bench.md", {"pp_tokens_per_sec": 82481.68, "pg_tokens_per_sec": 15617.52}),
    ("json", "json.txt", {"p99_us": 12.5, "ops_per_s": 3}),
]


@pytest.mark.parametrize(("name", "file", "expected"), CASES, ids=[file for _, file, _ in CASES])
def test_what_a_person_reads_is_what_the_parser_reads(name, file, expected):
    values = PARSERS[name].read((OUTPUTS / file).read_text())
    assert {field: values.get(field) for field in expected} == pytest.approx(expected)


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, file, _ in CASES])
def test_every_field_but_tool_specific_ones_is_in_the_table(name, file):
    values = PARSERS[name].read((OUTPUTS / file).read_text())
    unknown = {field for field in values if PARSERS[name].field(field) is None}
    assert all(field.startswith(("switch.", "pipe.")) or name == "json" for field in unknown)


@pytest.mark.parametrize("parser", PARSERS.values(), ids=lambda parser: parser.name)
def test_the_tables_are_consistent(parser):
    names = [row.name for row in parser.fields]
    assert len(names) == len(set(names))
    assert not set(names) & {row.name for row in OWN_FIELDS}
    assert parser.field(parser.primary).direction is not None
    for name, direction in [(parser.throughput, "max"), (parser.latency, "min")]:
        assert not name or parser.field(name).direction == direction


@pytest.mark.parametrize("parser", PARSERS.values(), ids=lambda parser: parser.name)
@pytest.mark.parametrize("text", ["", "\n", "no result here: 5", "{}", "[]", "[\n", "{"])
def test_output_without_a_result_fails_loudly(parser, text):
    with pytest.raises(MetricError, match=f"no result of {parser.name}"):
        parser.read(text)


def test_a_test_without_a_rate_leaves_its_kind_without_a_mean():
    rows = [(512, 0, 100.0), (1024, 0, 400.0), (0, 128, 0.0), (0, 256, 10.0)]
    document = [{"n_prompt": prompt, "n_gen": gen, "avg_ts": rate} for prompt, gen, rate in rows]
    values = PARSERS["llama-bench"].read("backend loaded\n" + json.dumps(document, indent=2))
    assert values["success_rate"] == 0.75
    assert values["pp_tokens_per_sec"] == pytest.approx(200)  # the geometric mean
    assert "tg_tokens_per_sec" not in values  # over one of the two it would be another mean
    assert (values["tests"], values["failed_tests"]) == (4, 1)


def test_the_table_of_another_depth_is_read():
    table = "| llama 7B | 3.56 GiB | 6.74 B | CPU | 2 | pp 512 @ d512 | 6425.91 ± 18.88 |"
    assert PARSERS["llama-bench"].read(table)["pp_tokens_per_sec"] == 6425.91


def test_percentiles_beyond_the_histogram_are_left_out():
    values = PARSERS["cyclictest"].read((OUTPUTS / "cyclictest-histogram.txt").read_text())
    assert "p99_us" in values
    assert "p99_9_us" not in values  # 5 of 1995 are 0.25%


def test_histogram_text_and_json_agree():
    read = PARSERS["cyclictest"].read
    text = read((OUTPUTS / "cyclictest-histogram.txt").read_text())
    document = read((OUTPUTS / "cyclictest.json").read_text())
    assert text.keys() == document.keys()
    assert {name: text[name] for name in text if name != "avg_us"} == {
        name: document[name] for name in text if name != "avg_us"
    }
    assert text["avg_us"] == pytest.approx(document["avg_us"], abs=1)  # the text's are rounded down


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("-1.5", "can't be negative"),
        ("NaN", "expected a finite number"),
        ("Infinity", "expected a finite number"),
        ("-Infinity", "expected a finite number"),
    ],
)
def test_what_no_run_can_have_measured_is_refused(value, why):
    with pytest.raises(MetricError, match=why):
        PARSERS["json"].read(f'{{"p99_us": {value}}}')


@pytest.mark.parametrize(
    ("argv", "parser"),
    [
        (("stress-ng", "--cpu", "1"), "stress-ng"),
        (("/usr/bin/sysbench", "cpu", "run"), "sysbench"),
        (("perf", "bench", "sched", "pipe"), "perf-bench"),
        (("perf", "stat", "hackbench"), None),
        (("taskset", "-c", "0", "hackbench"), "hackbench"),
        (("env", "A=b", "nice", "-n", "5", "perf", "bench", "mem"), "perf-bench"),
        (("echo", "stress-ng"), None),
        (("./my-benchmark",), None),
        (("build/bin/llama-bench", "-m", "x.gguf"), "llama-bench"),
    ],
)
def test_the_parser_is_chosen_by_the_commands_name(argv, parser):
    found = find_parser(Workload(argv=argv))
    assert (found.name if found else None) == parser


def test_a_shells_command_line_is_looked_through():
    found = find_parser(Workload(argv=("sleep 1 & exec /usr/bin/wrk -d1s http://x/; wait",), shell=True))
    assert found is PARSERS["wrk"]
    assert find_parser(Workload(argv=("echo 'unclosed",), shell=True)) is None


def test_a_workload_may_name_its_parser():
    assert find_parser(Workload(argv=("./wrapper.sh",), parser="wrk")) is PARSERS["wrk"]
    with pytest.raises(UsageError, match="did you mean wrk"):
        find_parser(Workload(argv=("./wrapper.sh",), parser="wrkk"))


def test_nanoseconds_under_names_of_microseconds_are_refused():
    with pytest.raises(UsageError, match="nanoseconds"):
        find_parser(Workload(argv=("cyclictest", "-q", "-N")))


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (("stress-ng", "--yaml", "out.yaml"), "out.yaml"),
        (("stress-ng", "--yaml=out.yaml", "--metrics"), "out.yaml"),
        (("stress-ng", "-Y", "out.yaml"), "out.yaml"),
        (("stress-ng", "--metrics"), None),
        (("stress-ng", "--yaml"), None),
    ],
)
def test_the_file_that_a_tool_writes_is_found(argv, value):
    assert option_value(Workload(argv=argv), PARSERS["stress-ng"].file_options) == value


@pytest.mark.parametrize(
    ("percentile", "name"),
    [("99", "p99_us"), ("99.0", "p99_us"), ("99.90", "p99_9_us"), ("99.9000", "p99_9_us"), ("5", "p5_us")],
)
def test_percentiles_have_one_name(percentile, name):
    assert percentile_name(percentile) == name
