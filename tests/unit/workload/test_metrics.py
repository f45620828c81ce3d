"""What users may ask of a run, and what they are told when it is not there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from schedtuna.errors import MetricError, UsageError
from schedtuna.workload.command import RawRun, run
from schedtuna.workload.counters import COUNTERS
from schedtuna.workload.metrics import (
    default_metric,
    format_metric,
    needed_counters,
    parse_metric,
    parse_requirement,
    read_metrics,
)
from schedtuna.workload.own_metrics import COUNTER_FIELDS, RUN_FIELDS
from schedtuna.workload.spec import MetricSource, MetricSpec, Workload

ECHO = Workload(argv=("echo",))
HACKBENCH = Workload(argv=("hackbench",))


def raw_run(stdout: str = "", stderr: str = "", **options) -> RawRun:
    usage = {"wall_time_s": 2.0, "cpu_time_s": 1.0}
    return RawRun(
        exit_code=0,
        signal=None,
        timed_out=False,
        started_at=0.0,
        usage=usage,
        stdout=stdout,
        stderr=stderr,
        **options,
    )


def read(text: str, stdout: str, workload: Workload = ECHO) -> float:
    spec = parse_metric(text, workload)
    return read_metrics(workload, [spec], raw_run(stdout))[spec.name]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("p99_us:min", MetricSpec(name="p99_us", direction="min")),
        ("wall_time_s", MetricSpec(name="wall_time_s", direction="min")),
        ("ipc", MetricSpec(name="ipc", direction="max")),
        ("rps:max*2", MetricSpec(name="rps", direction="max", weight=2)),
        ("cpu_time_s*0.5", MetricSpec(name="cpu_time_s", direction="min", weight=0.5)),
        ("sched.wakeup_latency_p99_us", MetricSpec(name="sched.wakeup_latency_p99_us", direction="min")),
        ("sched.slice_mean_us", MetricSpec(name="sched.slice_mean_us", direction="max")),
        ("sched.slice_mean_us:min", MetricSpec(name="sched.slice_mean_us", direction="min")),
        (
            "score:max=regex:score ([0-9.]+)",
            MetricSpec(
                name="score", direction="max", source=MetricSource(kind="regex", argument="score ([0-9.]+)")
            ),
        ),
        (
            "x:min*3=regex@log/out.txt:a=b: (\\d+)",
            MetricSpec(
                name="x",
                direction="min",
                weight=3,
                source=MetricSource(kind="regex", argument="a=b: (\\d+)", file=Path("log/out.txt")),
            ),
        ),
        (
            "x:max=json:a.b[0]",
            MetricSpec(name="x", direction="max", source=MetricSource(kind="json", argument="a.b[0]")),
        ),
        (
            "x:max=csv:tps",
            MetricSpec(name="x", direction="max", source=MetricSource(kind="csv", argument="tps")),
        ),
    ],
)
def test_metrics_as_users_write_them(text, spec):
    assert parse_metric(text) == spec
    assert parse_metric(format_metric(spec)) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a metric"),
        (":min", "not a metric"),
        ("a b:min", "not a metric"),
        ("x:", "expected min or max"),
        ("x:minimum", "expected min or max"),
        ("x", "is less or more of x better"),
        ("x:min*", "expected a weight"),
        ("x:min*-1", "expected a weight"),
        ("x:min*nan", "expected a weight"),
        ("x:min*inf", "expected a weight"),
        ("x:min=", "not a source"),
        ("x:min=xml:a", "not a source"),
        ("x:min=regex:", "not a source"),
        ("x:min=regex:(", "not a regular expression"),
        ("x:min=json:a[b", "not a JSON path"),
        ("x:min=field@f:a", "has no file"),
    ],
)
def test_malformed_metrics_say_what_is_wrong(text, message):
    with pytest.raises(UsageError, match=message):
        parse_metric(text)


@pytest.mark.parametrize("workload", [None, ECHO, HACKBENCH])
@pytest.mark.parametrize("text", ["sched.wakup_latency_p99_us", "sched.wakup_latency_p99_us:min"])
def test_a_misspelt_metric_of_the_scheduler_is_refused_before_anything_runs(text, workload):
    with pytest.raises(UsageError, match=r"no metric sched\.wakup_latency_p99_us") as caught:
        parse_metric(text, workload)
    assert "did you mean sched.wakeup_latency_p99_us" in str(caught.value)
    with pytest.raises(UsageError, match=r"no metric sched\.wakup_latency_p99_us"):
        parse_requirement("sched.wakup_latency_p99_us<=100")


@pytest.mark.parametrize(
    ("name", "command", "meant"),
    [
        ("times_s", "hackbench", "time_s"),
        ("p99_us", "pgbench", "avg_ms"),
        ("wall_tim_s", "wrk", "wall_time_s"),
        ("read_p99us", "fio", "read_pNN_us"),
    ],
)
def test_a_name_that_a_tool_never_reports_is_refused_before_anything_runs(name, command, meant):
    workload = Workload(argv=(command,))
    for refused in (
        lambda: parse_metric(f"{name}:min", workload),
        lambda: parse_requirement(f"{name}<=5", workload=workload),
    ):
        with pytest.raises(UsageError, match=f"{command} reports no {name}: .*{meant}"):
            refused()
    assert parse_metric(f"{name}:min=regex:(.*)", workload).name == name


def test_a_name_like_no_other_gets_those_of_its_tool():
    with pytest.raises(UsageError) as caught:
        parse_metric("xyzzy:min", HACKBENCH)
    assert str(caught.value) == "hackbench reports no xyzzy: known: messages, messages_per_s, time_s"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("switch.nanosecs_per_context_switch_pipe_method", "stress-ng"),
        ("cpu.bogo_ops_per_s", "stress-ng"),
        ("p99_9_us", "cyclictest"),
        ("JOB.read_p99_us", "fio"),
        ("sleep_0.1.mean_s", "hyperfine"),
        ("GET.p99_ms", "redis-benchmark"),
        ("uncorrected_p50_us", "wrk"),
        ("sched.switches", "hackbench"),
        ("ipc", "hackbench"),
    ],
)
def test_a_name_that_a_tool_may_report_is_taken(name, command):
    workload = Workload(argv=(command,))
    assert parse_metric(f"{name}:min", workload).name == name
    assert parse_requirement(f"{name}<=5", workload=workload).metric == name


def test_a_requirement_may_be_of_whatever_is_measured():
    spec = parse_metric("sched.mine:min=regex:mine ([0-9]+)", ECHO)
    assert parse_requirement("sched.mine<=5", [spec]).metric == "sched.mine"


def test_a_misspelt_metric_is_refused_where_no_parser_could_report_it():
    with pytest.raises(UsageError, match="no metric wall_tim_s") as caught:
        parse_metric("wall_tim_s:min", ECHO)
    assert "did you mean wall_time_s" in str(caught.value)
    for workload in (ECHO, HACKBENCH):
        with pytest.raises(UsageError, match="steal_fraction is a covariate"):
            parse_metric("steal_fraction:min", workload)
    assert parse_metric("wall_tim_s:min", Workload(argv=("x",), parser="json")).name == "wall_tim_s"
    assert parse_metric("wall_tim_s:min", ECHO, known={"wall_tim_s"}).name == "wall_tim_s"
    assert parse_metric("wall_tim_s:min=json:a", ECHO).source.kind == "json"
    assert parse_metric("score:min", ECHO).name == "score"


def test_the_hint_for_an_unknown_name_does_not_list_the_schedulers_metrics():
    with pytest.raises(UsageError) as caught:
        parse_metric("x", ECHO)
    assert "wall_time_s" in caught.value.hint
    assert "sched." not in caught.value.hint


def test_a_parsers_table_knows_which_way_is_better():
    assert parse_metric("messages_per_s", HACKBENCH).direction == "max"
    assert parse_metric("p99_9_us", Workload(argv=("cyclictest",))).direction == "min"
    assert parse_metric("cpu.bogo_ops_per_s", Workload(argv=("stress-ng",))).direction == "max"
    assert parse_metric("x=field:messages_per_s", HACKBENCH).direction == "max"


def test_throughput_and_latency_name_the_main_ones():
    assert parse_metric("throughput", HACKBENCH) == MetricSpec(name="messages_per_s", direction="max")
    assert parse_metric("latency", HACKBENCH) == MetricSpec(name="time_s", direction="min")
    assert parse_metric("throughput", ECHO) == MetricSpec(name="runs_per_s", direction="max")
    assert parse_metric("latency", ECHO) == MetricSpec(name="wall_time_s", direction="min")
    with pytest.raises(UsageError, match="cyclictest reports no throughput"):
        parse_metric("throughput", Workload(argv=("cyclictest",)))
    own = parse_metric("throughput:max=regex:(\\d+)", HACKBENCH)
    assert own.name == "throughput"


def test_the_default_metric_is_the_parsers_main_one():
    assert default_metric(HACKBENCH) == MetricSpec(name="time_s", direction="min")
    assert default_metric(ECHO) == MetricSpec(name="wall_time_s", direction="min")


@pytest.mark.parametrize(
    ("text", "metric", "operator", "bound"),
    [
        ("rps>=1000", "rps", ">=", 1000),
        (" p99_us < 1.5e3 ", "p99_us", "<", 1500),
        ("a.b<=-1", "a.b", "<=", -1),
    ],
)
def test_requirements(text, metric, operator, bound):
    requirement = parse_requirement(text)
    assert (requirement.metric, requirement.operator, requirement.bound) == (metric, operator, bound)


@pytest.mark.parametrize(
    "text", ["", "rps", "rps=5", "rps==5", ">=5", "rps>=", "rps>=x", "rps>=nan", "rps>=inf", "a>=1 b"]
)
def test_malformed_requirements(text):
    with pytest.raises(UsageError, match="not a requirement"):
        parse_requirement(text)


def test_counters_are_opened_only_for_metrics_that_need_them():
    specs = [parse_metric("ipc"), parse_metric("cycles:min=regex:(.)")]
    assert needed_counters(specs, ["energy_j", "rps"]) == ("ipc", "energy_j")
    assert {row.name for row in COUNTER_FIELDS} == set(COUNTERS)


def test_every_run_has_what_the_table_says():
    raw = run(Workload(argv=("true",)), 1)
    assert read_metrics(Workload(argv=("true",)), [], raw).keys() == {row.name for row in RUN_FIELDS}


@pytest.mark.parametrize(
    ("source", "stdout", "value"),
    [
        ("regex:score ([0-9.]+)", "score 1.5\nscore 2.5\n", 2.5),
        ("regex:^[0-9]+$", "a 1\n17\n", 17),
        ("json:a.b[1]", '{"a": {"b": [1, 2.5]}}', 2.5),
        ("json:a.b[-1]", 'log\n{"a": {"b": [1, 2.5]}}\n', 2.5),
        ("json:[0].x", '[{"x": 3}]', 3),
        ('json:a["b.c"]', '{"a": {"b.c": 4}}', 4),
        ("json:n", '{"n": 1}\n{"n": 2}\nnot json {\n', 2),
        ("json:n", '{\n  "n": 5\n}\n', 5),
        ("csv:tps", "time,tps\n1,10\n2,20\n", 15),
        ("csv:tps", "started\ntime;tps;x\n1; 10 ;a\nend\n", 10),
        ("csv:tps", "tps\n1\n2\n", 1.5),
        ("csv:tps", "time\ttps\n1\t7\n", 7),
        ('csv:"tps"', "x", None),
    ],
)
def test_sources(source, stdout, value):
    if value is None:
        with pytest.raises(MetricError):
            read(f"x:max={source}", stdout)
    else:
        assert read(f"x:max={source}", stdout) == value


def test_a_regex_sees_standard_error_too():
    spec = parse_metric("x:min=regex:took (\\d+)")
    assert read_metrics(ECHO, [spec], raw_run("took 1", "took 2"))["x"] == 2


@pytest.mark.parametrize(
    ("source", "stdout", "message"),
    [
        ("regex:score (\\d+)", "nothing\nlast line\n", "matches nothing.*last line"),
        ("regex:score (\\S+)", "score high", "'high' is not a number"),
        ("regex:score( \\d+)?", "score", "group 1"),
        ("json:a", "hello", "there is no JSON"),
        ("json:a.c", '{"a": {"count": 1}}', "no 'c' in a"),
        ("json:lateny", '{"latency": 1}', "did you mean latency"),
        ("json:a[3]", '{"a": [1]}', "no 3 in a"),
        ("json:a.b", '{"a": 5}', "no 'b' in a"),
        ("json:a", '{"a": "5"}', "not a number"),
        ("json:a", '{"a": true}', "not a number"),
        ("json:a", '{"a": NaN}', "finite"),
        ("json:a", f'{{"a": 1{"0" * 400}}}', "too large"),
        ("csv:tps", "a,b\n1,2", "no table has the column 'tps'"),
        ("csv:tps", "time,tps\n", "no rows"),
        ("csv:tps", "time,tps\n1,fast\n", "'fast' is not a number"),
        ("regex:(\\S+)", "nan", "finite"),
        ("regex:(\\S+)", "-inf", "finite"),
        ("regex:(\\d+)", "", "printed nothing"),
    ],
)
def test_a_source_that_finds_nothing_says_why(source, stdout, message):
    with pytest.raises(MetricError, match=f"(?s){message}"):
        read(f"x:max={source}", stdout)


def test_negative_times_are_refused_and_other_negative_numbers_are_not():
    with pytest.raises(MetricError, match="can't be negative"):
        read("wall_time_s=regex:(\\S+)", "-1")
    assert read("score:max=regex:(\\S+)", "-1") == -1


def test_a_missing_metric_names_what_there_is():
    output = (
        "Time: 2.0\nwith 1 groups using 40 file descriptors each (== 40 tasks)\n"
        "Each sender will pass 10 messages of 100 bytes"
    )
    with pytest.raises(MetricError, match="did you mean messages_per_s"):
        read_metrics(HACKBENCH, [MetricSpec(name="message_per_s", direction="max")], raw_run(output))


def test_a_parser_that_finds_nothing_fails_loudly_when_it_is_needed():
    with pytest.raises(MetricError, match=r"(?s)no result of stress-ng.*all done") as info:
        read("bogo_ops_per_s", "all done", Workload(argv=("stress-ng",)))
    assert "--metrics" in str(info.value.hint)
    assert read("wall_time_s", "all done", Workload(argv=("stress-ng",))) == 2.0
    with pytest.raises(MetricError, match="no result of wrk"):
        read("wall_time_s", "all done", Workload(argv=("./x",), parser="wrk"))


def test_requirements_need_their_metric_too():
    assert read_metrics(ECHO, [], raw_run(), required=["cpu_time_s"])["cpu_time_s"] == 1.0
    with pytest.raises(MetricError, match="no metric rps"):
        read_metrics(ECHO, [], raw_run(), required=["rps"])


def test_a_programs_own_number_does_not_hide_what_every_run_has():
    workload = Workload(argv=("x",), parser="json")
    raw = raw_run('{"wall_time_s": 7, "score": 1}')
    specs = [
        parse_metric("wall_time_s", workload),
        parse_metric("own_time_s:min=field:wall_time_s", workload),
    ]
    values = read_metrics(workload, specs, raw)
    assert (values["wall_time_s"], values["own_time_s"]) == (2.0, 7.0)


def test_a_field_needs_a_parser():
    with pytest.raises(UsageError, match="no parser reads this command's output"):
        parse_metric("x:min=field:y", ECHO)


def test_numbers_from_elsewhere_count():
    spec = parse_metric("sched.wakeups:min")
    assert read_metrics(ECHO, [spec], raw_run(counters={"sched.wakeups": 5.0}))["sched.wakeups"] == 5.0


def test_output_that_was_cut_is_mentioned():
    with pytest.raises(MetricError, match="the middle of it was not kept"):
        read_metrics(ECHO, [parse_metric("x:min=json:a")], raw_run("{", truncated=True))


def in_file(folder: Path, script: str, source: str) -> float:
    workload = Workload(argv=("sh", "-c", script), folder=folder)
    return read_metrics(workload, [parse_metric(f"x:max={source}")], run(workload, 1))["x"]


def test_files_that_the_workload_writes(tmp_path):
    assert in_file(tmp_path, "echo score 5 > out.txt", "regex@out.txt:score (\\d+)") == 5
    assert in_file(tmp_path, """echo '{"a": 6}' > out.json""", "json@out.json:a") == 6
    assert in_file(tmp_path, "printf 'a,b\\n1,7\\n' > out.csv", f"csv@{tmp_path}/out.csv:b") == 7


def test_files_that_the_workload_did_not_write(tmp_path):
    stale = tmp_path / "stale"
    stale.write_text("score 5")
    os.utime(stale, (1e9, 1e9))
    os.mkfifo(tmp_path / "fifo")
    for name, message in [
        ("gone", "No such file"),
        ("stale", "older than the run"),
        ("fifo", "not a regular file"),
        (".", "not a regular file"),
    ]:
        with pytest.raises(MetricError, match=message):
            in_file(tmp_path, "echo", f"regex@{name}:score (\\d+)")


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo 8 > log/new_2.txt", 8),
        ("echo 9 > log/old_1.txt", 9),  # written anew
        ("mkdir -p log/sub; echo 7 > log/sub/new_1.txt; echo 8 > log/new.txt", 8),
        ("echo 6 > log/a[1].txt; echo 8 > log/new.txt", "wrote 2 files"),
        ("echo 8 > log/new_1.txt; echo 8 > log/new_1_summary.txt", "new_1.txt, .*new_1_summary.txt"),
        ("true", "only older ones, of which .*log/old_2.txt is the newest"),
        ("rm log/*", "there is none"),
    ],
)
def test_a_pattern_stands_for_the_file_that_the_run_wrote(script, found, tmp_path):
    (tmp_path / "log").mkdir()
    for hours in (2, 1):
        file = tmp_path / f"log/old_{3 - hours}.txt"
        file.write_text("1")
        os.utime(file, (time.time() - 3600 * hours,) * 2)
    source = "regex@log/*.txt:([0-9]+)"
    if isinstance(found, str):
        with pytest.raises(MetricError, match=found):
            in_file(tmp_path, script, source)
    else:
        assert in_file(tmp_path, script, source) == found


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path):
    assert in_file(tmp_path, "echo 5 > 'a[1].txt'; echo 6 > a1.txt", "regex@a[1].txt:([0-9]+)") == 5


def test_a_folder_whose_name_looks_like_a_pattern_is_itself(tmp_path):
    folder = tmp_path / "run[1]"
    for each in (folder, tmp_path / "run1"):
        each.mkdir()
    assert in_file(folder, "echo 5 > a_1.txt; echo 6 > ../run1/a_2.txt", "regex@a_*.txt:([0-9]+)") == 5
