"""import, stats, plot, trace export and trace diff, as a user types them."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from tests.unit.trace.formats.perf_files import PerfFile, lost
from tests.unit.trace.formats.test_perf_data import RECORDS
from tests.unit.trace.formats.texts import FTRACE, PERF_SCRIPT, VMSTAT_T
from tests.unit.trace.making import random_events, tasks

from schedtuna.trace.store import TraceWriter

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
    done = subprocess.run(
        [sys.executable, "-m", "schedtuna", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
        env=os.environ | environment,
    )
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
    assert "1 event of the file can not be read: CPU 3" in done.stdout
    assert "pid=many" in done.stdout
    refused = run("stats", "t", cwd=tmp_path, code=1)
    assert "can not be read" in refused.stderr
    assert "pid=many" in refused.stderr
    assert "the figures are off" in run("stats", "t", "--allow-lost", cwd=tmp_path).stdout


def test_import_refuses_to_overwrite_and_leaves_nothing_behind(traces, tmp_path):
    done = run("import", traces / "perf.txt", "-o", traces / "perf", code=2)
    assert "--force" in done.stderr
    (tmp_path / "prose.txt").write_text("It was a dark and stormy night.\n")
    done = run("import", "prose.txt", "-o", "t", cwd=tmp_path, code=1)
    assert "of no format that can be imported" in done.stderr
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
        assert r"two\x0alines" in out


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
