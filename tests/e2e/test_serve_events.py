"""How far a trial is, streamed: in order, from where the line was lost; who does not read costs nothing."""

import contextlib
import http.client
import json
import os
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.servers import serving

from schedtuna.backend.agent_client import AgentClient

pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as found:
        yield found


@contextlib.contextmanager
def stream(server, trial_id, last_id=None, **headers):
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    said = {"Authorization": f"Bearer {server.token}"} | ({"Last-Event-ID": str(last_id)} if last_id else {})
    with contextlib.closing(connection):
        connection.request("GET", f"/trials/{trial_id}/events", headers=said | headers)
        yield connection.getresponse()


def events(answer):
    """What a stream sends until its end."""
    return [json.loads(line[6:]) for line in answer.read().splitlines() if line.startswith(b"data: ")]


def test_states_runs_and_how_long_are_told_until_the_end(server):
    trial = server.submit("sleep", "0.3", warmup_runs=2)
    with stream(server, trial) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        told = events(answer)
    assert [one["number"] for one in told] == list(range(1, len(told) + 1))
    assert [one["state"] for one in told][-1] == "done"
    running = [one for one in told if one["state"] == "running"]
    assert [one["nr_done"] for one in running] == [0, 1, 2, 3]
    assert all(one["nr_runs"] == 3 for one in told)
    assert all(one["took_s"] >= 0.3 for one in running[1:])
    assert running[1]["eta_s"] == pytest.approx(2 * running[1]["took_s"])
    with stream(server, trial, last_id=told[-3]["number"]) as answer:
        assert events(answer) == told[-2:]
    assert server.ask("GET", f"/trials/{trial}")[2]["state"] == "done"


def test_who_may_not_see_a_trial_does_not_see_its_events(server):
    trial = server.submit("true")
    with stream(server, trial, Authorization="Bearer wrong") as answer:
        assert answer.status == 401
    with stream(server, 32 * "0") as answer:
        assert answer.status == 404
    for last_id in ("x", "-1", "9" * 30):
        with stream(server, trial, last_id=last_id) as answer:
            assert answer.status == 422
    server.wait(trial)


def test_a_line_that_stays_open_keeps_no_trial_alive(server):
    trial = server.submit("sleep", "600", lease_s=2, timeout_s=700)
    with stream(server, trial) as answer:
        told = events(answer)
    assert told[-1]["state"] == "failed"
    assert "was not heard of" in told[-1]["reason"]


def test_readers_that_do_not_read_or_have_gone_take_no_time(server):
    """They wait with the trial; the process that serves HTTP sleeps meanwhile."""
    trial = server.submit("sleep", "600", lease_s=60, timeout_s=700)
    server.wait(trial, "running")
    host, port = urlsplit(server.url).netloc.split(":")
    request = (
        f"GET /trials/{trial}/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {server.token}\r\n\r\n"
    )
    lines = [socket.create_connection((host, int(port))) for _ in range(40)]
    for line in lines:
        line.sendall(request.encode())
    for line in lines[:20]:
        line.close()
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    (front,) = [pid for pid in children if b"server.front" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def spent():
        fields = Path(f"/proc/{front}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    time.sleep(1)  # they are all served by then
    before = spent()
    time.sleep(3)
    assert spent() - before < 0.5
    for line in lines[20:]:
        line.close()
    server.ask("DELETE", f"/trials/{trial}")


def test_the_client_reads_them_and_does_without_where_there_are_none(server):
    trial = server.submit("sleep", "0.5")
    told = []
    with AgentClient(server.url, server.token) as client:
        last = client.events(trial, 0, 30, told.append)
        assert last is not None
        assert last == told[-1].number
        assert told[-1].state.is_end
        assert client.events(trial, last, 0.2, told.append) is None or told[-1].number == last
        assert client.events(32 * "0", 0, 5, told.append) is None
        long = server.submit("sleep", "600", timeout_s=700)
        known = client.events(long, 0, 2, told.append)
        assert known and not told[-1].state.is_end, "its time was over first"
    server.ask("DELETE", f"/trials/{long}")
