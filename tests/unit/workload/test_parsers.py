"""Every parser against outputs of the real tools (schbench: as documented)."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from schedtuna.errors import MetricError, UsageError
from schedtuna.workload.metrics import parse_metric, parse_requirement
from schedtuna.workload.own_metrics import OWN_FIELDS
from schedtuna.workload.parsers import PARSERS, find_parser, written_files
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
    (
        "llama-bench",
        "llama-bench-0.7.json",
        {
            "pp_tokens_per_sec": 41426.736816,
            "tg_tokens_per_sec": 17701.660637,
            "pg_tokens_per_sec": 1621.731746,
            "success_rate": 1,
        },
    ),
    (
        "llama-bench",
        "llama-bench-0.7.md",
        {"pp16+tg8.pg_tokens_per_sec": 32590.76, "tg_tokens_per_sec": 24708.14},
    ),
    (
        "fio",
        "fio-both.txt",
        {"write_avg_us": 3.34465, "write_max_us": 21.489, "read_avg_us": 123.74, "ios": 256},
    ),
    ("llama-bench", "llama-bench.md", {"pp_tokens_per_sec": 82481.68, "pg_tokens_per_sec": 15617.52}),
    ("json", "json.txt", {"p99_us": 12.5, "ops_per_s": 3}),
    (
        "stress-ng",
        "stress-ng-timestamp.txt",
        {"cpu.bogo_ops_per_s": 565.63, "switch.rss_max_kib": 2544, "p99_us": 16.354, "samples": 8813},
    ),
    ("stress-ng", "stress-ng-log-brief.txt", {"cpu.bogo_ops": 421, "max_us": 789.007, "samples": 8841}),
    (
        "stress-ng",
        "stress-ng-sn.txt",
        {"cpu.bogo_ops_per_s": 305.567, "switch.nanosecs_per_context_switch_pipe_method": 14200},
    ),
    (
        "stress-ng",
        "stress-ng-means.txt",
        {"pipe.mb_per_sec_pipe_write_rate": 2510.25, "pipe.nanosecs_per_message": 96.5},
    ),
    (
        "sysbench",
        "sysbench-1.1.txt",
        {"events_per_s": 5820.75, "total_time_s": 10.0021, "fsyncs_per_s": 803.25, "read_mib_per_s": 47.04},
    ),
    ("sysbench", "sysbench-0.4-oltp.txt", {"transactions_per_s": 1666.67, "tail_ms": 4.02, "max_ms": 40.55}),
    (
        "sysbench",
        "sysbench-0.4-memory.txt",
        {"mib_per_s": 2047.95, "operations_per_s": 2097100.25, "p95_ms": 0.01, "events_per_s": 2097152},
    ),
    ("hackbench", "hackbench-old.txt", {"time_s": 0.405, "messages": None}),
    (
        "cyclictest",
        "cyclictest-histofall.txt",  # 92 of 100 in 20 buckets
        {"p50_us": 61, "p90_us": 72, "p99_us": None, "max_us": 4605, "T1.nr_cycles": 50},
    ),
    (
        "perf-bench",
        "perf-bench-german.txt",
        {"total_time_s": 0.028, "us_per_op": 0.28012, "ops_per_s": 3569898},
    ),
    ("perf-bench", "perf-bench-french.txt", {"us_per_op": 0.30538, "ops_per_s": 3274608}),
    (
        "perf-bench",
        "perf-bench-mem-simple.txt",
        {"gb_per_s": 84087890.938252 / 2**30, "total_time_s": None},
    ),
    ("pgbench", "pgbench-connect.txt", {"tps": 157.877175, "avg_ms": 12.668, "connection_ms": 5.354}),
    ("pgbench", "pgbench-skipped.txt", {"skipped_transactions": 2, "late_transactions": 3}),
    ("pgbench", "pgbench-9.5.txt", {"tps": 812.630121, "avg_ms": 4.921, "stddev_ms": 1.305}),
    ("pgbench", "pgbench-11-german.txt", {"tps": 812.630121, "avg_ms": 4.921, "late_transactions": 41}),
    (
        "wrk",
        "wrk2-uncorrected.txt",
        {"p50_us": 4610, "p99_us": 21500, "p100_us": 44830, "uncorrected_p99_us": 1520, "avg_us": 5020},
    ),
    (
        "schbench",
        "schbench.json",
        {"wakeup_p99_us": 57, "wakeup_p99_9_us": 402, "request_max_us": 20103, "rps_p50": 1298},
    ),
    (
        "fio",
        "fio.txt",
        {
            "read_iops": 1992 / 0.189,
            "write_iops": 2104 / 0.189,
            "iops": 4096 / 0.189,
            "read_bytes_per_s": 41.2 * 2**20,
            "read_p99_us": 1582,
            "write_p99_us": 11.072,
            "read_avg_us": 89.95,
            "rand.read_max_us": 5892,
        },
    ),
    (
        "fio",
        "fio.json",
        {
            "read_iops": 21890.10989,
            "write_iops": 23120.879121,
            "bytes_per_s": 89661890 + 94703120,
            "read_p99_us": 61.696,
            "write_p99_9_us": 13.76,
            "write_max_us": 21.184,
        },
    ),
    (
        "fio",
        "fio-jobs.txt",
        {
            "a.read_iops": 256 / 0.014,
            "iops": 256 / 0.014 + 2048 / 0.008,
            "write_p99_us": None,  # of several jobs there are only each one's
            "b.write_p99_us": 6,
            "write_avg_us": 3.34,
        },
    ),
    (
        "redis-benchmark",
        "redis-benchmark.txt",
        {
            "SET.requests_per_s": 54945.05,
            "GET.p99_ms": 0.831,
            "GET.requests": 5000,
            "requests_per_s": (54945.05 * 64935.07) ** 0.5,
            "p99_ms": None,
        },
    ),
    ("redis-benchmark", "redis-benchmark.csv", {"SET.p95_ms": 0.703, "GET.max_ms": 4.767}),
    ("redis-benchmark", "redis-benchmark-5.csv", {"PING_INLINE.requests_per_s": 71942.45}),
    ("redis-benchmark", "redis-benchmark-quiet.txt", {"SET.p50_ms": 0.511, "GET.requests_per_s": 45454.55}),
    (
        "hyperfine",
        "hyperfine.txt",
        {"sleep_0.01.mean_s": 0.0108, "sleep_0.02.max_s": 0.0211, "mean_s": (0.0108 * 0.0209) ** 0.5},
    ),
    (
        "hyperfine",
        "hyperfine.json",
        {"sleep_0.02.median_s": 0.020832903, "sleep_0.01.stddev_s": 0.000041620154718597497},
    ),
    ("hyperfine", "hyperfine-one-run.txt", {"mean_s": 0.3011, "user_s": 0.001, "stddev_s": None}),
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
        (("sh", "-c", "cd /tmp && nice -n 5 hackbench -g 1"), "hackbench"),
        (("env", "-S", "nice -n 5 hackbench"), "hackbench"),
        (("script", "-qec", "hackbench -g 1", "/dev/null"), "hackbench"),
        (("chrt", "-b", "0", "taskset", "-c", "0-1", "timeout", "9", "sudo", "-u", "x", "wrk"), "wrk"),
        (("taskset", "-c", "0", "./run.sh", "hackbench"), None),
        (("timeout", "5", "grep", "hackbench", "log"), None),
        (("setarch", "x86_64", "-R", "hackbench"), "hackbench"),
        (("setarch", "-R", "hackbench"), "hackbench"),
        (("ionice", "-c2", "-n0", "stdbuf", "-oL", "prlimit", "--nofile=9", "hackbench"), "hackbench"),
        (("valkey-benchmark", "-t", "get"), "redis-benchmark"),
        (("hyperfine", "hackbench -g 1"), "hyperfine"),
    ],
)
def test_the_parser_is_chosen_by_the_commands_name(argv, parser):
    found = find_parser(Workload(argv=argv))
    assert (found.name if found else None) == parser


def test_a_shells_command_line_is_looked_through():
    found = find_parser(Workload(argv=("sleep 1 & exec /usr/bin/wrk -d1s http://x/; wait",), shell=True))
    assert found is PARSERS["wrk"]
    assert find_parser(Workload(argv=("echo 'unclosed",), shell=True)) is None


@pytest.mark.parametrize(
    "text",
    [
        "perf stat -e cycles hackbench -g 1",
        "for i in 1 2; do LC_ALL=C hackbench; done",
        "(cd /tmp; { time hackbench; }) | tee log",
        "if true; then x=$(hackbench -g 1); fi",
        "echo sysbench; ! exec hackbench > log 2>&1",
    ],
)
def test_the_first_tool_of_a_script_is_found(text):
    assert find_parser(Workload(argv=(text,), shell=True)) is PARSERS["hackbench"]
    assert find_parser(Workload(argv=("sh", "-c", text))) is (
        None if text.startswith("perf") else PARSERS["hackbench"]
    )


def test_a_workload_may_name_its_parser():
    assert find_parser(Workload(argv=("./wrapper.sh",), parser="wrk")) is PARSERS["wrk"]
    with pytest.raises(UsageError, match="did you mean wrk"):
        find_parser(Workload(argv=("./wrapper.sh",), parser="wrkk"))


@pytest.mark.parametrize(
    "command",
    [
        "cyclictest -q -N",
        "cyclictest -qN -t1 -l 50",
        "cyclictest -qmNt2",
        "cyclictest --nsecs -q",
        "cyclictest --ns -q",
        "taskset -c 0 cyclictest -l 5 -NqD 1",
        "sh -c 'numactl -N 0 cyclictest -q -N'",
    ],
)
def test_nanoseconds_under_names_of_microseconds_are_refused(command):
    with pytest.raises(UsageError, match="nanoseconds"):
        find_parser(Workload(argv=tuple(shlex.split(command))))
    with pytest.raises(UsageError, match="nanoseconds"):
        find_parser(Workload(argv=(command,), shell=True))


@pytest.mark.parametrize(
    "command",
    [
        "numactl -N 0 -m 0 cyclictest -q -t1",
        "sudo -iu N cyclictest -q",
        "cyclictest -q --json -N",  # a file of that name
        "cyclictest -q -D -N",
        "cyclictest -q -- -N",
        "env N=-N timeout -k 5 9 cyclictest -q",
        "perf stat -N cyclictest -q",
    ],
)
def test_words_that_are_no_options_of_the_tool_are_none(command):
    find_parser(Workload(argv=tuple(shlex.split(command))))
    find_parser(Workload(argv=(command,), shell=True))


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (("stress-ng", "--yaml", "out.yaml"), "out.yaml"),
        (("stress-ng", "--yaml=out.yaml", "--metrics"), "out.yaml"),
        (("stress-ng", "-Y", "out.yaml"), "out.yaml"),
        (("stress-ng", "--metrics"), None),
        (("stress-ng", "--yaml"), None),
        (("stress-ng", "-vYout.yaml"), "out.yaml"),
        (("stress-ng", "--yam", "out.yaml"), "out.yaml"),
        (("env", "-Y", "x", "stress-ng", "-c", "1"), None),
        (("schbench", "-m", "2", "-j", "-"), None),
        (("schbench", "-m2", "-jout.json"), "out.json"),
        (("fio", "-output=x.json", "job.fio"), "x.json"),
        (("hyperfine", "-w", "1", "--export-json", "x.json", "ls -Y"), "x.json"),
        (("cyclictest", "--histfile=h.txt", "-h100"), "h.txt"),
    ],
)
def test_the_file_that_a_tool_writes_is_found(argv, value):
    assert written_files(Workload(argv=argv)) == ([value] if value else [])


@pytest.mark.parametrize(
    ("percentile", "name"),
    [("99", "p99_us"), ("99.0", "p99_us"), ("99.90", "p99_9_us"), ("99.9000", "p99_9_us"), ("5", "p5_us")],
)
def test_percentiles_have_one_name(percentile, name):
    assert percentile_name(percentile) == name


@pytest.mark.parametrize("output", ["fio-jobs.txt", "fio.json"])
def test_of_several_reports_of_fio_the_last_counts(output):
    text = (OUTPUTS / output).read_text()
    earlier = re.sub(r'total=\d+|"total_ios" : \d+', lambda found: re.sub(r"\d+$", "1", found[0]), text)
    assert earlier != text
    assert PARSERS["fio"].read(earlier + text) == PARSERS["fio"].read(text)


def test_runs_that_hyperfine_ignored_are_counted_or_refused():
    text = (OUTPUTS / "hyperfine-ignored.txt").read_text()
    with pytest.raises(MetricError, match="runs failed") as told:
        PARSERS["hyperfine"].read(text)
    assert "--export-json" in told.value.hint
    times = dict.fromkeys(("mean", "stddev", "median", "user", "system", "min", "max"), 0.1)
    file = json.dumps({"results": [times | {"command": "false", "exit_codes": [1, 0, 1]}]})
    assert PARSERS["hyperfine"].read(f"{text}\n{file}")["failed_runs"] == 2


@pytest.mark.parametrize(
    ("bandwidth", "bytes_per_s"),
    [
        ("BW=1232kB/s (1203KiB/s)(1233kB/1001msec)", 1_232_000),
        ("BW=9622Kibit/s (9853kbit/s)(1204KiB/1001msec)", 9622 * 1024 / 8),
        ("BW=85.0B/s (85.0B/s)(4096B/48000msec)", 85),
    ],
)
def test_fio_has_bandwidths_in_other_units(bandwidth, bytes_per_s):
    text = "a: (groupid=0, jobs=1): err= 0: pid=1: Sun Nov 29 20:47:21 2026\n"
    text += f"  read: IOPS=300, {bandwidth}\n     issued rwts: total=301,0,0,0 short=0,0,0,0\n"
    assert PARSERS["fio"].read(text)["read_bytes_per_s"] == bytes_per_s


@pytest.mark.parametrize(
    "text",
    [
        "a: (groupid=0, jobs=1): err= 0: pid=1:\n  mixed: IOPS=15.1k, BW=58.8MiB/s (61.7MB/s)(1MiB/17msec)\n",
        '{\n  "jobs" : [\n    {\n      "jobname" : "a",\n      "mixed" : {\n}\n    }\n  ]\n}\n',
    ],
)
def test_fio_that_tells_no_directions_apart_is_refused_with_the_option(text):
    with pytest.raises(MetricError, match="as one") as caught:
        PARSERS["fio"].read(text)
    assert "unified_rw_reporting" in caught.value.hint


@pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)
def test_whatever_a_parser_reads_can_be_asked_for(parser):
    names = set()
    for path in OUTPUTS.iterdir():
        try:
            names |= parser.read(path.read_text(errors="replace")).keys()
        except MetricError:  # of another tool
            continue
    workload = Workload(argv=("x",), parser=parser.name)
    assert names
    for name in names:
        assert parse_metric(f"{name}:min", workload).name == name
        assert parse_requirement(f"{name}>=1", workload=workload).metric == name
