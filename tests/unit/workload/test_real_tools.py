"""The parsers on what the installed tools print today."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from tests.unit.workload.tiny_gguf import write_model

from schedtuna import optimize_scheduler
from schedtuna.workload.command import run
from schedtuna.workload.metrics import default_metric, parse_metric, read_metrics
from schedtuna.workload.spec import Workload


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


def measure(*argv: str, metrics: tuple[str, ...] = (), **options) -> dict[str, float]:
    workload = Workload(argv=argv, timeout_s=60, **options)
    specs = [parse_metric(text, workload) for text in metrics] or [default_metric(workload)]
    raw = run(workload, 1)
    assert not raw.failure, raw.tail()
    return read_metrics(workload, specs, raw)


@needs("stress-ng")
def test_stress_ng(tmp_path):
    report = tmp_path / "report.yaml"
    metrics = measure("stress-ng", "--cpu", "1", "--timeout", "1", "--metrics", "--yaml", str(report))
    # By definition of a rate, and by the kernel's accounting of the same process.
    assert metrics["bogo_ops_per_s"] * metrics["real_time_s"] == pytest.approx(metrics["bogo_ops"], rel=0.01)
    assert metrics["usr_time_s"] <= metrics["user_time_s"] + 0.02
    assert "cpu.bogo_ops_per_s" in metrics


@needs("stress-ng")
def test_stress_ng_latencies():
    metrics = measure("stress-ng", "--cyclic", "1", "--timeout", "1", "--metrics-brief", metrics=("latency",))
    assert metrics["min_us"] <= metrics["p50_us"] <= metrics["p99_us"] <= metrics["max_us"]


@needs("sysbench")
def test_sysbench():
    metrics = measure(
        "sysbench", "cpu", "--time=1", "--percentile=99", "run", metrics=("throughput", "latency", "p99_ms")
    )
    assert metrics["events_per_s"] * metrics["total_time_s"] == pytest.approx(metrics["events"], rel=0.02)
    assert metrics["tail_ms"] == metrics["p99_ms"]
    assert metrics["min_ms"] <= metrics["avg_ms"] <= metrics["max_ms"]


@needs("hackbench")
def test_hackbench():
    metrics = measure("hackbench", "-g", "1", "-l", "100", metrics=("latency", "throughput"))
    assert metrics["messages_per_s"] * metrics["time_s"] == pytest.approx(20 * 20 * 100)
    assert metrics["time_s"] <= metrics["wall_time_s"]


@needs("cyclictest")
def test_cyclictest(tmp_path):
    metrics = measure(
        "cyclictest", "-q", "-l", "200", "-i", "1000", "-h", "100000", "--json=out.json", folder=tmp_path
    )
    assert metrics["min_us"] <= metrics["p50_us"] <= metrics["p99_us"] <= metrics["max_us"]
    assert metrics["min_us"] <= metrics["avg_us"] <= metrics["max_us"]


@needs("perf")
@pytest.mark.parametrize("format_", ["default", "simple"])
def test_perf_bench(format_):
    metrics = measure("perf", "bench", f"--format={format_}", "sched", "messaging", "-g", "1", "-l", "20")
    assert 0 < metrics["total_time_s"] <= metrics["wall_time_s"]


@needs("perf")
def test_perf_bench_pipe():
    metrics = measure("perf", "bench", "sched", "pipe", "-l", "1000", metrics=("us_per_op", "throughput"))
    assert metrics["us_per_op"] * metrics["ops_per_s"] == pytest.approx(1e6, rel=0.01)


@needs("perf")
def test_perf_bench_in_another_language(tmp_path):
    subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", tmp_path / "de_DE.UTF-8"], check=False)
    if not (tmp_path / "de_DE.UTF-8").exists():
        pytest.skip("localedef has no de_DE here")
    metrics = measure(
        "perf", "bench", "syscall", "basic", "-l", "100000", metrics=("us_per_op", "throughput"),
        environment={"LC_ALL": "de_DE.UTF-8", "LOCPATH": str(tmp_path)},
    )  # fmt: skip
    assert metrics["us_per_op"] * metrics["ops_per_s"] == pytest.approx(1e6, rel=0.01)


@needs("fio")
@pytest.mark.parametrize("form", ["normal", "json"])
def test_fio(form, tmp_path):
    metrics = measure(
        "fio", "--name=job", "--rw=randread", "--bs=4k", "--size=1M", f"--output-format={form}",
        "--output=out.txt", metrics=("throughput", "read_p99_us"), folder=tmp_path,
    )  # fmt: skip
    assert metrics["ios"] == 256
    assert metrics["read_iops"] * 4096 == pytest.approx(metrics["bytes_per_s"], rel=0.02)
    assert metrics["read_min_us"] <= metrics["read_avg_us"] <= metrics["read_max_us"]


@needs("hyperfine")
@pytest.mark.parametrize("options", [(), ("--export-json", "out.json")])
def test_hyperfine(options, tmp_path):
    metrics = measure("hyperfine", "-N", "--runs", "3", "sleep 0.05", *options, folder=tmp_path)
    assert metrics["runs"] == 3
    assert 0.05 <= metrics["min_s"] <= metrics["mean_s"] <= metrics["max_s"] < metrics["wall_time_s"]


@needs("redis-server")
@needs("redis-benchmark")
def test_redis_benchmark(tmp_path):
    socket = tmp_path / "redis.sock"
    server = [
        "redis-server",
        "--port",
        "0",
        "--unixsocket",
        str(socket),
        "--save",
        "",
        "--dir",
        str(tmp_path),
    ]
    with subprocess.Popen(server, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            while not socket.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            command = ("redis-benchmark", "-s", str(socket), "-n", "2000", "-t", "get")
            for options in ((), ("--csv",)):
                metrics = measure(*command, *options, metrics=("throughput", "latency"))
                assert metrics["GET.requests_per_s"] == metrics["requests_per_s"]
                assert metrics["min_ms"] <= metrics["p50_ms"] <= metrics["p99_ms"] <= metrics["max_ms"]
            measure(*command, "-q", metrics=("throughput", "p50_ms"))
        finally:
            process.terminate()


@pytest.fixture
def web_server(tmp_path):
    program = (
        "import http.server as h\n"
        "server = h.HTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler)\n"
        "print(server.server_port, flush=True)\n"
        "server.serve_forever()"
    )
    with subprocess.Popen(
        [sys.executable, "-Ic", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path
    ) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/"
        finally:
            server.kill()


@needs("wrk")
def test_wrk(web_server):
    metrics = measure(
        "wrk",
        "-t1",
        "-c1",
        "-d1s",
        "--latency",
        web_server,
        metrics=("throughput", "latency", "bad_responses"),
    )
    assert metrics["p50_us"] <= metrics["p99_us"] <= metrics["max_us"]
    assert metrics["bad_responses"] == 0
    assert metrics["requests_per_s"] > 0


def _postgresql_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found and shutil.which("pgbench") else None


@pytest.mark.skipif(
    _postgresql_programs() is None, reason="pgbench and a PostgreSQL server are not installed"
)
def test_pgbench():
    if os.geteuid() != 0:
        pytest.skip("starting a throw-away server as another user needs root")
    programs = _postgresql_programs()
    assert programs is not None
    with tempfile.TemporaryDirectory() as name:
        shutil.chown(name, "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        data = f"{name}/data"

        def server(*argv: str) -> None:
            subprocess.run([*as_user, *argv], check=True, cwd=name, capture_output=True)

        server(str(programs / "initdb"), "-D", data, "-A", "trust", "--no-sync")
        options = f"-k {name} -c listen_addresses= -c fsync=off"
        control = [str(programs / "pg_ctl"), "-D", data, "-w", "-l", f"{name}/log"]
        server(*control, "-o", options, "start")
        try:
            connection = ["-h", name, "-U", "postgres", "postgres"]
            server("pgbench", "-i", "-q", *connection)
            metrics = measure("pgbench", "-t", "100", *connection, metrics=("throughput", "latency"))
        finally:
            server(*control, "-m", "immediate", "stop")
    assert metrics["transactions"] == 100
    # One client: its rate is the inverse of its latency.
    assert metrics["tps"] * metrics["avg_ms"] == pytest.approx(1000, rel=0.05)


@needs("llama-bench")
def test_llama_bench(tmp_path):
    model = str(write_model(tmp_path / "tiny.gguf"))
    metrics = measure("llama-bench", "-m", model, "-p", "64", "-n", "8", "-r", "1", "-o", "json",
                      metrics=("pp_tokens_per_sec", "throughput", "latency", "success_rate"))  # fmt: skip
    assert metrics["success_rate"] == 1
    assert metrics["tg_tokens_per_sec"] * metrics["tg_ms_per_token"] == pytest.approx(1000)
    assert 64 / metrics["pp_tokens_per_sec"] < metrics["wall_time_s"]


@needs("llama-bench")
def test_a_model_is_tuned_by_its_path(tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))
    result = optimize_scheduler(
        "fair",
        algorithm="gp",
        model_path=write_model(tmp_path / "tiny.gguf"),
        episodes=4,
        results_dir=tmp_path / "results",
    )
    assert result["verdict"] in ("improved", "no_evidence", "worse", "too_noisy")


def test_the_json_line_of_a_users_own_program():
    program = "import json; print('hello'); print(json.dumps({'p99_us': 2.5, 'score': 7}))"
    metrics = measure(sys.executable, "-Ic", program, parser="json", metrics=("p99_us", "score:max"))
    assert (metrics["p99_us"], metrics["score"]) == (2.5, 7)
