"""Metrics, alerts and panels: one table, and what Prometheus's own tool says of them."""

import http.client
import json
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
import yaml

from schedtuna.agent.exporter import metrics_text, serve_at
from schedtuna.agent.monitoring import ALERTS_FILE, DASHBOARD_FILE, DATA_FILES, METRICS, exposition
from schedtuna.errors import UsageError
from schedtuna.resources import resource_path

STATUS = {
    "version": "1",
    "policy": 'a "quoted\\name"\n',
    "scheduler": None,
    "interval_s": 1.0,
    "stopped": "",
    "counts": {"made": 3, "refused": 1, "failed": 0, "advised": 0, "yielded": 0, "undone": 2, "rollbacks": 1,
               "intervals": 100, "cpu_s": 0.25},
    "standing": [{}, {}],
    "kernel": {"wakeup_latency_p99_us": 120.5},
    "unknown": {"slices": "why"},
    "log": {"mb_per_h": 1.5, "rows_lost": 0},
    "slos": [
        {"name": "p99_ms", "value": 41.0, "limit": 50.0, "is_met": True, "is_stale": False},
        {"name": "rps", "value": None, "limit": 9.0, "is_met": None, "is_stale": True},
    ],
    "effects": {"wakeup_latency_p99_us": {"ratio": 0.8, "ratio_low": 0.7, "ratio_high": None,
                                          "noise_ratio": 1.1, "nr_units": 30.0}},
}  # fmt: skip
LINE = re.compile(r'[a-z_]+(\{[a-z_]+="(?:[^"\\\n]|\\.)*"(,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})? -?[\d.e+-]+')


def samples(text):
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def test_the_text_has_what_is_known_and_nothing_else():
    text = exposition(STATUS)
    assert all(line.startswith("#") or LINE.fullmatch(line) for line in text.splitlines())
    found = samples(text)
    assert found["schedtuna_agent_up"] == "1.0"
    assert found['schedtuna_agent_decisions_total{result="made"}'] == "3.0"
    assert found["schedtuna_agent_standing_changes"] == "2.0"
    assert found['schedtuna_agent_slo_met{slo="p99_ms"}'] == "1.0"
    assert 'schedtuna_agent_slo_met{slo="rps"}' not in found
    assert found['schedtuna_agent_slo_stale{slo="rps"}'] == "1.0"
    effect = 'schedtuna_agent_effect_ratio{metric="wakeup_latency_p99_us",bound="%s"}'
    assert found[effect % "low"] == "0.7"
    assert effect % "high" not in found
    assert '\\"quoted\\\\name\\"\\n' in text


def test_no_agent_is_a_metric_too():
    assert samples(exposition(None)) == {"schedtuna_agent_up": "0"}


def test_what_ships_is_what_the_table_says():
    for name, make in DATA_FILES.items():
        assert resource_path(f"agent/data/{name}").read_text() == make(), f"write {name} anew"


def test_alerts_and_panels_look_at_metrics_that_there_are():
    names = {metric.full_name for metric in METRICS}
    rules = yaml.safe_load(DATA_FILES[ALERTS_FILE]())["groups"][0]["rules"]
    panels = json.loads(DATA_FILES[DASHBOARD_FILE]())["panels"]
    asked = [rule["expr"] for rule in rules] + [panel["targets"][0]["expr"] for panel in panels]
    assert len(rules) >= 6
    assert len(panels) >= 8
    for expression in asked:
        used = set(re.findall(r"schedtuna_agent_\w+", expression))
        assert used and used <= names, expression
    assert len({rule["alert"] for rule in rules}) == len(rules)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus's promtool is not installed")
def test_promtool_agrees(tmp_path):
    rules = tmp_path / "alerts.yml"
    rules.write_text(DATA_FILES[ALERTS_FILE]())
    checked = subprocess.run(
        ["promtool", "check", "rules", rules], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    told = subprocess.run(
        ["promtool", "check", "metrics"],
        input=exposition(STATUS),
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr + told.stdout


def test_without_an_agent_the_text_says_so(tmp_path):
    assert samples(metrics_text(tmp_path)) == {"schedtuna_agent_up": "0"}


@pytest.fixture
def serving():
    def start(where):
        server = serve_at(where, lambda: exposition(STATUS))
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        started.append((server, thread))
        return server

    started = []
    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


def test_metrics_are_served_at_one_path(serving):
    server = serving("127.0.0.1:0")
    host, port = server.server_address[:2]
    line = http.client.HTTPConnection(host, port, timeout=10)
    line.request("GET", "/metrics")
    answer = line.getresponse()
    assert (answer.status, answer.read().decode()) == (200, exposition(STATUS))
    for method, path, status in [
        ("GET", "/", 404),
        ("GET", "/../etc/passwd", 404),
        ("POST", "/metrics", 501),
    ]:
        line = http.client.HTTPConnection(host, port, timeout=10)
        line.request(method, path)
        assert line.getresponse().status == status


def test_metrics_are_served_at_a_unix_socket(serving, tmp_path):
    path = tmp_path / "metrics.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()  # as a server that was killed leaves it
    serving(str(path))
    assert path.stat().st_mode & 0o007 == 0
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(path))
        line.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        said = b""
        while chunk := line.recv(4096):
            said += chunk
    assert b"schedtuna_agent_up 1.0" in said
    with pytest.raises(OSError, match="in use"):
        serve_at(str(path))


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("0.0.0.0:9798", "from other machines"),
        ("[::]:9798", "from other machines"),
        ("192.0.2.1:9798", "from other machines"),
        ("localhost:9798", "no ADDRESS:PORT"),
        ("127.0.0.1", "no ADDRESS:PORT"),
        ("127.0.0.1:99999", "no port"),
    ],
)
def test_what_others_could_reach_is_refused(where, told):
    with pytest.raises(UsageError, match=told):
        serve_at(where)


def test_a_file_in_the_socket_s_place_is_left_alone(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(OSError, match="in use"):
        serve_at(str(path))
    assert Path(path).read_text() == "mine"
