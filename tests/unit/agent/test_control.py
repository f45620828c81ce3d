"""Asking an agent: one at a time, one answer each, and strangers get none."""

import json
import socket
import threading
import time

import pytest

from schedtuna.agent.control import SOCKET_NAME, AgentRunningError, ControlServer, ask_agent
from schedtuna.errors import SchedtunaError, UnavailableError, UsageError


@pytest.fixture
def served(tmp_path):
    def answer(name, arguments, uid):
        if name == "refuse":
            raise UsageError("no", hint="ask otherwise")
        return {"name": name, "args": dict(arguments), "uid": uid}

    server = ControlServer(answer, tmp_path)
    here, there = socket.socketpair()
    server.wake_on(there.fileno())
    thread = threading.Thread(target=server.serve_until, args=(time.monotonic() + 60,))
    thread.start()
    yield tmp_path
    here.send(b"x")
    thread.join()
    server.close()
    here.close()
    there.close()


def test_a_request_is_answered(served):
    import os

    assert ask_agent("status", {"id": "7"}, served) == {
        "name": "status",
        "args": {"id": "7"},
        "uid": os.geteuid(),
    }


def test_a_refusal_is_an_error_with_its_hint(served):
    with pytest.raises(SchedtunaError, match="refuses: no") as caught:
        ask_agent("refuse", None, served)
    assert caught.value.hint == "ask otherwise"


@pytest.mark.parametrize("text", [b"\n", b"[]\n", b"{}\n", b'{"req": "a", "args": 3}\n', b"\xff\xfe\n"])
def test_what_is_no_request_is_told_so(served, text, monkeypatch):
    monkeypatch.chdir(served)
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(SOCKET_NAME)
        line.sendall(text)
        assert json.loads(line.makefile().readline()) == {"error": "not a request"}


def test_there_is_one_agent_in_a_folder(served):
    with pytest.raises(AgentRunningError, match="runs already: process"):
        ControlServer(lambda *_: {}, served)


def test_without_an_agent_that_is_said(tmp_path):
    with pytest.raises(UnavailableError, match="no agent runs"):
        ask_agent("status", None, tmp_path)


def test_what_a_killed_agent_left_is_no_obstacle(tmp_path):
    (tmp_path / SOCKET_NAME).write_text("")
    server = ControlServer(lambda *_: {}, tmp_path)
    server.close()
    assert not (tmp_path / SOCKET_NAME).exists()
