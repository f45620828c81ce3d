"""Which counter is which? Held against what perf 7.2.13 printed of Linux 7.3.4, and against its means."""

import io
from pathlib import Path

import pytest

from schedtuna.errors import TraceError
from schedtuna.trace.formats import detect, sched_stats
from schedtuna.trace.formats.sink import Collector

HERE = Path(__file__).parent
REPORT = (HERE / "perf-sched-stats.txt").read_text()
VERBOSE = (HERE / "perf-sched-stats-v.txt").read_text()
ONE_CPU = REPORT[: REPORT.index("CPU: <ALL")] + REPORT[REPORT.index("CPU: 0\n") : REPORT.index("CPU: 1\n")]
# What the file of the same recording has for CPU 3, and of perf's mean over the four CPUs.
CPU_3 = {"sched_count": 4198, "sched_goidle": 48, "ttwu_local": 1967, "run_delay_ns": 370791735716}
MEAN = {"sched_count": 4252, "sched_goidle": 48, "rq_cpu_time_ns": 32590812419, "pcount": 4150}


def read(text):
    collector = Collector()
    sched_stats.parse_sched_stats(io.BytesIO(text.encode()), collector)
    return collector.trace()


def test_counters_of_each_cpu_and_sums():
    trace = read(REPORT)
    cpus = trace.samples("cpu").rows(named=True)
    assert [row["cpu"] for row in cpus] == [0, 1, 2, 3]
    assert {name: cpus[3][f"schedstat_{name}"] for name in CPU_3} == CPU_3
    (system,) = trace.samples("system").rows(named=True)
    assert {name: system[f"schedstat_{name}"] // 4 for name in MEAN} == MEAN
    assert system["elapsed_jiffies"] == 8209
    assert trace.manifest["sample_times"] == "made up"
    assert any("jiffies, whose length" in note for note in trace.sample_notes)


def test_counters_of_each_domain():
    domains = read(REPORT).samples("sched_domain").rows(named=True)
    assert [(row["cpu"], row["sched_domain"], row["sched_domain_cpus"]) for row in domains] == [
        (cpu, "MC", "0-3") for cpu in range(4)
    ]
    assert domains[0]["schedstat_busy_lb_count"] == 240
    assert domains[0]["schedstat_busy_lb_avg_pulled"] == 3.38
    assert domains[0]["schedstat_idle_lb_imbalance_task"] == 4


def test_explanations_are_read_as_the_names_that_they_explain():
    plain, verbose = read(REPORT), read(VERBOSE)
    for kind in ("system", "cpu", "sched_domain"):
        assert verbose.samples(kind).equals(plain.samples(kind))


def test_what_the_command_printed_before_is_passed_over_and_reports_may_follow_each_other():
    trace = read("Time: 22.283\nCPU: many\n" + REPORT + REPORT)
    assert trace.samples("system")["timestamp_ns"].to_list() == [0, 10**9]
    assert len(trace.samples("cpu")) == 8


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Time elapsed (in jiffies)     :     8209,    4149\n", "difference of two recordings"),
        ("Time elapsed (in jiffies)     :     8209\n", "no table of a CPU"),
        (REPORT[: REPORT.index("ttwu_local", REPORT.index("CPU: 3\n"))], "a part of the text is missing"),
        (REPORT[: REPORT.index("CPU: 3\n")], "on average, but"),
        (REPORT[: REPORT.index("CPU: 3 | DOMAIN")], "busy_lb_count is 244 on average, but"),
        (
            REPORT[: REPORT.index("CPU: 1 | DOMAIN")] + REPORT[REPORT.index("CPU: 2\n") :],
            "a part of the text is missing",
        ),
        (REPORT.replace("sched_goidle  ", "sched_goidle: ", 1), "expected a counter of a CPU"),
        (REPORT.replace("sched_goidle", "sched_count", 1), "expected a counter of a CPU"),
        (REPORT.replace(":          48  (", ":         -48  (", 1), "expected a counter of a CPU"),
        (REPORT.replace("COUNT    AVG_JIFFIES", "COUNT    MEDIAN", 1), "expected a counter of a CPU"),
        (REPORT.replace("3825", "9825"), "on average, but"),
        ("", "no report"),
    ],
)
def test_what_can_not_be_so_is_refused(text, says):
    with pytest.raises(TraceError, match=says) as caught:
        read(text)
    assert "perf sched stats report" in caught.value.hint


def test_it_is_known_by_its_text(tmp_path):
    file = tmp_path / "report.txt"
    file.write_text(REPORT)
    assert detect(file) == "perf-sched-stats"
