"""Objectives as they are typed, and where their values come from."""

import http.server
import json
import sys
import threading
import time
import urllib.parse
from pathlib import Path
from typing import ClassVar

import pytest
from tests.unit.agent.sensed import interval

from schedtuna.agent.guard.slo import OWN_METRICS, ServiceObjective, parse_objective, parse_objectives
from schedtuna.agent.guard.slo_sources import SloSources, ask
from schedtuna.errors import MetricError, UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wakeup_latency_p99_us<=2000", ServiceObjective("wakeup_latency_p99_us", 2000, True)),
        ("memory_available_bytes>=1e9@5s", ServiceObjective("memory_available_bytes", 1e9, False, 5)),
        (
            "p99_ms<=50=cmd:tool --last 'a b'",
            ServiceObjective("p99_ms", 50, True, kind="cmd", command=("tool", "--last", "a b")),
        ),
        (
            "p99_ms <= 50@60s=prom:http://localhost:9090/ max(latency{job='a=b'})",
            ServiceObjective(
                "p99_ms", 50, True, 60, "prom", url="http://localhost:9090", query="max(latency{job='a=b'})"
            ),
        ),
    ],
)
def test_objectives_are_read_as_they_are_typed(text, expected):
    assert parse_objective(text) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("wakeup_latency_p9_us<=2000", "did you mean wakeup_latency_p99_us"),
        ("p99_ms<=50=command:x", "not 'command'"),
        ("p99_ms<50", "no objective"),
        ("p99_ms<=fast=cmd:x", "no number"),
        ("p99_ms<=nan=cmd:x", "no number"),
        ("p99_ms<=50=cmd:", "no objective"),
        ("p99_ms<=50=cmd:'", "quotation"),
        ("p99_ms<=50=prom:http://localhost", "no server and query"),
        ("p99_ms<=50=prom:file:///etc/passwd up", "no server and query"),
        ("cpu_percent<=50@0s", "older than 0"),
        ("", "no objective"),
    ],
)
def test_what_is_malformed_is_refused_with_what_to_write(text, told):
    with pytest.raises(UsageError) as error:
        parse_objective(text)
    assert told in str(error.value)
    assert error.value.hint


def test_the_machines_own_metrics_are_those_that_are_sensed():
    assert {"wakeup_latency_p99_us", "psi_cpu_some_percent", "switches_per_s"} <= set(OWN_METRICS)
    sources = SloSources([parse_objective("wakeup_latency_p99_us<=2000"), parse_objective("cpu_percent<=1")])
    slos = sources.fill(interval(1, kernel={"wakeup_latency_p99_us": 12.5})).slos
    assert (slos[0].value, slos[0].is_met) == (12.5, True)
    assert (slos[1].value, slos[1].is_met, slos[1].is_stale) == (None, None, True)


def command(code):
    return ServiceObjective("x", 1, True, kind="cmd", command=(sys.executable, "-c", code))


def test_a_command_answers_with_the_last_word_that_it_prints():
    assert ask(command("print('p99'); print('ms 41.5')")) == 41.5


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        (command("raise SystemExit(3)"), "exit code 3"),
        (command("print('n/a')"), "'n/a'"),
        (command("print('inf')"), "'inf'"),
        (command(""), "no finite number"),
        (ServiceObjective("x", 1, True, kind="cmd", command=("/no/such/program",)), "can't be run"),
    ],
)
def test_a_command_without_an_answer_says_why(objective, told):
    with pytest.raises(MetricError, match=told):
        ask(objective)


def test_a_command_that_hangs_is_ended_with_what_it_started(tmp_path):
    mark = tmp_path / "pid"
    code = "import subprocess; p = subprocess.Popen(['sleep', '600']); "
    code += f"open({str(mark)!r}, 'w').write(str(p.pid)); p.wait()"
    with pytest.raises(MetricError):
        ask(command(code), is_over=lambda: mark.exists() and mark.read_text() != "")
    pid = mark.read_text()
    for _ in range(100):
        try:
            gone = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            gone = True
        if gone:
            break
        time.sleep(0.05)
    assert gone


class Prometheus(http.server.BaseHTTPRequestHandler):
    answers: ClassVar = {
        "one": (200, {"data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "7.5"]}]}}),
        "none": (200, {"data": {"resultType": "vector", "result": []}}),
        "scalar": (200, {"data": {"resultType": "scalar", "result": [1, "3"]}}),
        "odd": (200, {"status": "error"}),
        "nan": (200, {"data": {"resultType": "scalar", "result": [1, "NaN"]}}),
    }

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["query"][0]
        code, body = self.answers.get(query, (400, {}))
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Prometheus) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


@pytest.mark.parametrize(("query", "value"), [("one", 7.5), ("scalar", 3)])
def test_a_prometheus_server_answers(server, query, value):
    assert ask(parse_objective(f"x<=1=prom:{server} {query}")) == value


@pytest.mark.parametrize(
    ("query", "told"),
    [("none", "0 series"), ("odd", "no result"), ("bad", "answered 400"), ("nan", "no finite number")],
)
def test_an_answer_that_is_none_says_why(server, query, told):
    with pytest.raises(MetricError, match=told):
        ask(parse_objective(f"x<=1=prom:{server} {query}"))


def test_a_server_that_is_not_there_says_so():
    with pytest.raises(MetricError, match="gave no answer"):
        ask(parse_objective("x<=1=prom:http://127.0.0.1:1 up"))


def test_values_are_followed_and_their_age_is_told(tmp_path):
    good = tmp_path / "value"
    good.write_text("5")
    objectives = [
        ServiceObjective("x", 10, True, stale_s=30, kind="cmd", command=("cat", str(good))),
        ServiceObjective("y", 10, True, stale_s=30, kind="cmd", command=("cat", str(tmp_path / "none"))),
    ]
    with SloSources(objectives, period_s=0.05) as sources:
        for _ in range(400):
            at_ns = time.monotonic_ns()
            now = sources.fill(interval(at_ns // 10**9 - 1))
            if now.slos[0].value is not None and sources.problems():
                break
            time.sleep(0.02)
        assert now.slos[0].value == 5
        assert now.slos[0].is_met
        assert now.slos[1].is_stale
        assert "exit code 1" in sources.problems()["y"]
        later = sources.fill(interval(at_ns // 10**9 + 60))
        assert later.slos[0].is_stale
        assert later.slos[0].is_met is None


def test_two_objectives_of_one_name_are_refused():
    with pytest.raises(UsageError, match="two objectives of 'x'"):
        parse_objectives(["x<=1=cmd:a", "x>=2=cmd:b"])
    assert len(parse_objectives(["x<=1=cmd:a", "y>=2=cmd:b"])) == 2
