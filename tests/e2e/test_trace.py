"""import, stats, plot, trace export and trace diff, as a user types them."""

import json
import os
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from tests.commands import run_schedtuna
from tests.unit.trace.formats.perf_files import PerfFile, lost
from tests.unit.trace.formats.test_perf_data import RECORDS
from tests.unit.trace.formats.texts import FTRACE, PERF_SCRIPT, VMSTAT_T
from tests.unit.trace.making import random_events, tasks

from schedtuna.trace.writer import TraceWriter

HOSTILE = [
    b"\x1b[2J\x1b[31mred",
    b"two\nlines",
    b"<script>alert()",
    b'"q",;\'',
    b"[bold]rich[/]",
    b"$x^2$",
    b"_under",
]
HOSTILE += ["日本🎉".encode(), b"\xff\xfe", b"=1+1"]


def run(*arguments, cwd=None, code=0, **environment):
    done = run_schedtuna(*arguments, timeout=120, cwd=cwd, env=os.environ | environment)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """One imported trace, one with hostile names, one that lost events, one without events."""
    folder = tmp_path_factory.mktemp("traces")
    (folder / "perf.txt").write_bytes(PERF_SCRIPT)
    (folder / "ftrace.txt").write_bytes(FTRACE)
    (folder / "vmstat.txt").write_bytes(VMSTAT_T)
    for name in ("perf", "ftrace", "vmstat"):
        run("import", f"{name}.txt", "-o", name, cwd=folder)
    with TraceWriter(folder / "hostile", {"nr_cpus": 4, "mode": "stream"}) as writer:
        writer.write_events(random_events(np.random.default_rng(0), 4_000, nr_tasks=len(HOSTILE) + 1))
        writer.write_tasks(tasks(*({"tid": tid, "comm": comm} for tid, comm in enumerate(HOSTILE, 1))))
        writer.write_samples(10**9, {"load": 1.0})
    return folder


def test_import_says_what_it_found(traces):
    done = run("import", traces / "perf.txt", "-o", traces / "again", "--label", "batch", "--json")
    found = json.loads(done.stdout)
    assert (found["format"], found["nr_events"], found["nr_lost"]) == ("perf-script", 8, 0)
    assert run("stats", traces / "again", "--by", "label").stdout.splitlines()[-1].startswith("batch")


def test_import_reads_perf_data_without_perf(tmp_path):
    (tmp_path / "perf.data").write_bytes(PerfFile([*RECORDS, *RECORDS[1:2] * 2, lost(3, 200)]).build())
    done = run("import", "perf.data", "-o", "t", cwd=tmp_path, PATH=str(tmp_path))
    assert "t: 7 events" in done.stdout
    assert "3 events were lost" in done.stdout
    assert "wakeup latency" in run("stats", "t", "--allow-lost", cwd=tmp_path).stdout


def test_import_says_what_it_could_not_read(tmp_path):
    bad = b"x 1 [003]  7.000001: sched:sched_waking: comm=y pid=many prio=120 target_cpu=001\n"
    (tmp_path / "text").write_bytes(PERF_SCRIPT + bad)
    done = run("import", "text", "-o", "t", cwd=tmp_path)
    assert "1 event of the file can't be read: CPU 3" in done.stdout
    assert "pid=many" in done.stdout
    refused = run("stats", "t", cwd=tmp_path, code=1)
    assert "can't be read" in refused.stderr
    assert "pid=many" in refused.stderr
    assert "the figures are off" in run("stats", "t", "--allow-lost", cwd=tmp_path).stdout


def test_import_refuses_to_overwrite_and_leaves_nothing_behind(traces, tmp_path):
    done = run("import", traces / "perf.txt", "-o", traces / "perf", code=2)
    assert "--force" in done.stderr
    (tmp_path / "prose.txt").write_text("It was a dark and stormy night.\n")
    done = run("import", "prose.txt", "-o", "t", cwd=tmp_path, code=1)
    assert "not in a format that can be imported" in done.stderr
    done = run("import", "prose.txt", "-o", "t", "--format", "ftrace", cwd=tmp_path, code=1)
    assert "no scheduler events" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["prose.txt"]
    assert (
        "there is no format"
        in run("import", "prose.txt", "-o", "t", "--format", "x", cwd=tmp_path, code=2).stderr
    )
    assert "there is no file" in run("import", "none.txt", "-o", "t", cwd=tmp_path, code=2).stderr


def test_stats_shows_names_and_latencies(traces):
    out = run("stats", traces / "perf").stdout
    assert "Latencies begin at sched_waking" in out
    assert "perf-exec" in out
    figures = json.loads(run("stats", traces / "perf", "--by", "task", "--json").stdout)
    assert figures["overall"]["nr_tasks"] == 4
    assert {"perf-exec:18266", "perf-exec:18270"} <= {row["name"] for row in figures["groups"]}
    assert figures["overall"]["wakeup_latency_max_ns"] == 1853582562500 - 1853582500001


def test_stats_refuses_a_trace_with_losses(traces):
    done = run("stats", traces / "ftrace", code=1)
    assert "42 events were lost" in done.stderr
    assert "--allow-lost" in done.stderr
    assert "the figures are off" in run("stats", traces / "ftrace", "--allow-lost").stdout


def test_stats_of_samples_are_their_means(traces):
    assert "run_queue_length" in run("stats", traces / "vmstat").stdout
    figures = json.loads(run("stats", traces / "vmstat", "--json").stdout)
    assert figures["samples"]["system"]["run_queue_length"] == {"mean": 14, "min": 14, "max": 14}


@pytest.mark.parametrize("by", ["comm", "task", "cpu"])
def test_hostile_names_stay_in_their_line(traces, by):
    out = run("stats", traces / "hostile", "--by", by).stdout
    assert all(line.isprintable() for line in out.splitlines())
    if by == "comm":
        assert r"\x1b[2J\x1b[31mred" in out
        assert r"two\nlines" in out


def test_a_window_is_shown_alone(traces):
    out = run("stats", traces / "hostile", "--from", 0.001, "--to", 0.003).stdout
    assert out.startswith("0.002 s")
    assert "not within the trace" in run("stats", traces / "hostile", "--from", 99, code=2).stderr


def test_labels_group_tasks(traces, tmp_path):
    (tmp_path / "l.yaml").write_text('labels:\n  - {label: first, comm: "*red"}\n  - {label: others}\n')
    groups = json.loads(
        run("stats", traces / "hostile", "--by", "label", "--labels", tmp_path / "l.yaml", "--json").stdout
    )["groups"]
    assert [row["name"] for row in groups] == ["others", "first"]


@pytest.mark.parametrize("suffix", ["png", "svg", "html"])
def test_plots_are_drawn_of_hostile_names(traces, tmp_path, suffix):
    path = tmp_path / f"p.{suffix}"
    run("plot", traces / "hostile", "-o", path)
    content = path.read_bytes()
    if suffix == "png":
        assert content.startswith(b"\x89PNG")
    else:
        assert b"<script" not in content
        assert b"http://" not in content.replace(b"http://www.w3.org", b"").replace(
            b"http://purl.org", b""
        ).replace(b"http://creativecommons.org", b"")
    if suffix == "svg":
        ET.fromstring(content)


def test_plots_are_replaced_only_on_demand(traces, tmp_path):
    path = tmp_path / "p.png"
    path.write_text("precious")
    assert "--force" in run("plot", traces / "hostile", "-o", path, code=2).stderr
    assert path.read_text() == "precious"
    run("plot", traces / "perf", "-o", path, "--force", "--to", 0.0002)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_what_can_not_be_drawn_is_refused(traces, tmp_path):
    assert "has no events" in run("plot", traces / "vmstat", "-o", tmp_path / "p.png", code=2).stderr
    assert "unknown format" in run("plot", traces / "hostile", "-o", tmp_path / "p.bmp", code=2).stderr
    assert "not a trace" in run("plot", tmp_path, "-o", tmp_path / "p.png", code=1).stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["perfetto", "csv", "arrow", "jsonl"])
def test_traces_are_exported(traces, tmp_path, form):
    path = tmp_path / f"x.{form}"
    run("trace", "export", f"--{form}", traces / "hostile", "-o", path)
    assert path.stat().st_size > 1_000
    if form == "csv":
        assert "--force" in run("trace", "export", "--csv", traces / "hostile", "-o", path, code=2).stderr
    if form == "jsonl":
        run("import", path, "-o", tmp_path / "back")
        before, after = (
            json.loads(run("stats", trace, "--json").stdout)["overall"]
            for trace in (traces / "hostile", tmp_path / "back")
        )
        assert before == after


def test_an_export_needs_one_format_and_a_known_table(traces, tmp_path):
    assert "choose one" in run("trace", "export", traces / "perf", "-o", tmp_path / "x", code=2).stderr
    done = run("trace", "export", "--csv", "--table", "no", traces / "perf", "-o", tmp_path / "x", code=1)
    assert "no samples of kind 'no'" in done.stderr


def test_two_traces_are_described_side_by_side(traces):
    out = run("trace", "diff", traces / "perf", traces / "hostile").stdout
    assert "different ways" in out
    assert "schedtuna compare" in out
    rows = json.loads(run("trace", "diff", traces / "perf", traces / "perf", "--json").stdout)["overall"]
    assert {row["ratio"] for row in rows} <= {1.0, None}
    assert (
        "there is no figure"
        in run("trace", "diff", traces / "perf", traces / "perf", "--figure", "x", code=2).stderr
    )
    for pair in (("perf", "vmstat"), ("vmstat", "perf")):
        assert (
            "vmstat: the trace has no scheduler events"
            in run("trace", "diff", *pair, cwd=traces, code=1).stderr
        )


def test_damage_is_reported_in_one_line(traces, tmp_path):
    for content, match in ((b"", "damaged"), (b'{"format": "x"}', "another program")):
        folder = tmp_path / match[:4]
        folder.mkdir()
        (folder / "manifest.json").write_bytes(content)
        done = run("stats", folder, code=1)
        assert match in done.stderr
        assert done.stderr.startswith("error: ")


FTRACE_LINE = (
    "  {name}-{tid} [{cpu:03}] d..2. 100.{at:06}: sched_switch: prev_comm={name} prev_pid={tid} prev_prio=120"
    " prev_state={state} ==> next_comm={other} next_pid={to} next_prio=120\n"
)


def line(at, cpu, tid, to, state="S"):
    names = {0: "swapper", 7: "app", 8: "other"}
    return FTRACE_LINE.format(at=at, cpu=cpu, tid=tid, to=to, state=state, name=names[tid], other=names[to])


@pytest.fixture
def lossy(tmp_path):
    """CPU 0 loses an unknown number of events between 2 and 4 ms, after which 7 runs for 3 ms."""
    (tmp_path / "text").write_text(
        line(1000, 0, 0, 7)
        + line(2000, 0, 7, 0)
        + "CPU:0 [LOST EVENTS]\n"
        + line(4000, 0, 0, 7)
        + line(7000, 0, 7, 0)
    )
    told = json.loads(run("import", "text", "-o", "t", "--json", cwd=tmp_path).stdout)
    assert [(loss["nr_lost"], loss["cpu"]) for loss in told["losses"]] == [(None, 0)]
    return tmp_path


def test_windows_without_a_loss_are_shown_and_others_refused(lossy):
    refused = run("stats", "t", cwd=lossy, code=1).stderr
    assert "an unknown number of events were lost" in refused
    assert "buffer_size_kb" in refused
    assert "--ring-mb" not in refused
    found = json.loads(run("stats", "t", "--from", "0.0031", "--json", cwd=lossy).stdout)
    assert found["overall"]["cpu_time_ns"] == 2_900_000
    assert "Outside of this window" in found["warnings"][0]
    forced = json.loads(run("stats", "t", "--allow-lost", "--json", cwd=lossy).stdout)
    assert forced["unknown"]["by_reason"] == {"lost": pytest.approx(2 / 6)}
    assert forced["unknown"]["is_number_of_lost_known"] is False


def test_whatever_shows_a_lossy_trace_tells_so_or_refuses(lossy):
    for command in (["plot", "t", "-o", "a.png"], ["trace", "diff", "t", "t"]):
        assert "were lost" in run(*command, cwd=lossy, code=1).stderr
    assert "were lost" in run("plot", "t", "-o", "b.png", "--allow-lost", cwd=lossy).stderr
    assert "A: An unknown number" in run("trace", "diff", "t", "t", "--allow-lost", cwd=lossy).stdout
    run("trace", "export", "--csv", "t", "--table", "intervals", "-o", "i.csv", cwd=lossy, code=1)
    for options in (
        ["--csv"],
        ["--perfetto"],
        ["--jsonl"],
        ["--csv", "--table", "intervals", "--allow-lost"],
    ):
        done = run("trace", "export", *options, "t", "-o", f"x{len(options)}{options[0]}", cwd=lossy)
        assert "were lost" in done.stderr
    run("trace", "export", "--csv", "t", "--table", "unknown", "-o", "u.csv", cwd=lossy)
    assert (lossy / "u.csv").read_text().splitlines() == [
        "cpu,start_ns,end_ns,why",
        "0,100002000000,100004000000,LOST",
    ]
    run("import", "x1--jsonl", "-o", "again", cwd=lossy)
    assert "an unknown number" in run("stats", "again", cwd=lossy, code=1).stderr


def test_of_single_tasks_what_was_not_recorded_is_unknown_everywhere(tmp_path):
    (tmp_path / "text").write_text("".join(line(9000 * k, k % 2, 7, 8) for k in range(6)))
    run("import", "text", "-o", "t", cwd=tmp_path)
    shown = run("stats", "t", cwd=tmp_path).stdout
    assert "perf record -a" in shown
    assert "Unknown: 100.0%" in shown
    found = json.loads(run("stats", "t", "--json", cwd=tmp_path).stdout)
    assert {row["name"]: row["cpu_time_ns"] for row in found["groups"]} == {"app": None, "other": None}
    assert found["unknown"]["only_some_tasks"]
    diff = json.loads(run("trace", "diff", "t", "t", "--json", cwd=tmp_path).stdout)
    assert any("recording of single tasks" in note for note in diff["notes"])
    assert {row["figure"]: row["before"] for row in diff["overall"]}["cpu_time_ns_per_s"] is None
    run("plot", "t", "-o", "p.html", cwd=tmp_path)
    assert "recording of single tasks" in (tmp_path / "p.html").read_text()
    run("trace", "export", "--csv", "t", "--table", "intervals", "-o", "i.csv", cwd=tmp_path)
    assert "RUNNING" not in (tmp_path / "i.csv").read_text()


def test_counts_of_a_recorder_that_missed_some_are_refused(tmp_path):
    with TraceWriter(tmp_path / "t", {"mode": "aggregate"}) as writer:
        writer.note_lost(3, first_ns=5, last_ns=9)
    assert "3 events were lost" in run("stats", "t", cwd=tmp_path, code=1).stderr
