"""guestd, run here instead of in a guest: same orders, same launcher."""

import base64
import importlib.util
import json
import signal
import socket
import threading
import time

import pytest

from schedtuna.resources import resource_path
from schedtuna.workload.launcher import Message, MessageKind


def load_guestd():
    spec = importlib.util.spec_from_file_location("guestd", resource_path("lab/guest/guestd.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def share(tmp_path):
    (tmp_path / "share").mkdir()
    (tmp_path / "share/old").write_text("old")
    return tmp_path / "share"


@pytest.fixture
def ask(share):
    module = load_guestd()
    ours, theirs = socket.socketpair()
    guestd = module.Guestd(share, str(resource_path("native/schedtuna-launch")))
    thread = threading.Thread(target=guestd.serve, args=(theirs.makefile("rb"), theirs.makefile("wb")))
    thread.start()
    lines = ours.makefile("rb")
    assert "release" in json.loads(lines.readline())["ok"]

    def order(op, **arguments):
        ours.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
        return json.loads(lines.readline())

    yield order
    ours.sendall(b'{"op": "poweroff"}\n')
    thread.join(30)
    lines.close()
    ours.close()
    theirs.close()
    assert not thread.is_alive()


def run(ask, share, argv, timeout_ms=60_000):
    return ask(
        "run", argv=argv, environment={"X": "7"}, folder=str(share), timeout_ms=timeout_ms, keep_bytes=1 << 20
    )["ok"]


def test_a_command_runs_in_the_folder_with_its_environment(ask, share):
    answer = run(ask, share, ["sh", "-c", "pwd; echo $X >&2; exit 3"])
    message = Message.unpack(base64.b64decode(answer["message"]))
    assert message.kind == MessageKind.DONE
    assert message.status >> 8 == 3
    assert base64.b64decode(answer["stdout"]).decode().strip() == str(share)
    assert base64.b64decode(answer["stderr"]) == b"7\n"


def test_a_command_that_is_not_there_is_told_apart(ask, share):
    assert run(ask, share, ["no-such-program"]) == {"missing": "no-such-program"}
    assert run(ask, share, ["./old"]) == {"missing": "./old"}  # not executable


def test_a_command_ends_when_its_time_is_up(ask, share):
    answer = run(ask, share, ["sleep", "600"], timeout_ms=100)
    assert Message.unpack(base64.b64decode(answer["message"])).flags & 1


def test_background_programs_are_watched_and_ended(ask):
    pid = ask("spawn", argv=["sh", "-c", "echo ready; exec sleep 600"])["ok"]
    while ask("log", pid=pid)["ok"] != "ready\n":
        time.sleep(0.02)
    assert ask("status", pid=pid) == {"ok": None}
    ask("signal", pid=pid, number=signal.SIGTERM)
    while (code := ask("status", pid=pid)["ok"]) is None:
        time.sleep(0.02)
    assert code == -signal.SIGTERM
    assert ask("signal", pid=pid, number=signal.SIGTERM) == {"ok": None}  # gone: nobody is hit


def test_a_programs_end_is_awaited_and_remembered(ask):
    pid = ask("spawn", argv=["sh", "-c", "exit 3"])["ok"]
    assert ask("wait", pid=pid) == {"ok": 3}
    assert ask("status", pid=pid) == ask("wait", pid=pid) == {"ok": 3}


def test_what_is_said_survives_the_line(ask, share):
    text = 'quote " backslash \\ line\nend, \u00e9 \U0001f600 \x7f'
    (share / "odd").write_text(text)
    assert ask("read", path=str(share / "odd")) == {"ok": text}


def test_signals_reach_only_what_it_started(ask):
    assert "KeyError" in ask("signal", pid=1, number=0)["error"]


def test_files_are_read_and_missing_ones_are_none(ask, share):
    assert ask("read", path=str(share / "old")) == {"ok": "old"}
    assert ask("read", path=str(share / "absent")) == {"ok": None}
    assert "IsADirectoryError" in ask("read", path=str(share))["error"]


def test_only_what_changed_is_told_and_once(ask, share):
    assert ask("changed") == {"ok": []}
    (share / "deep").mkdir()
    (share / "deep/new").write_bytes(b"12345")
    (share / "old").write_text("newer")
    assert sorted(row[:2] for row in ask("changed")["ok"]) == [["deep/new", 5], ["old", 5]]
    assert base64.b64decode(ask("get", path="deep/new", offset=2)["ok"]) == b"345"
    assert ask("changed") == {"ok": []}


def test_an_unknown_order_is_an_answer_not_a_death(ask, share):
    assert "KeyError" in ask("explode")["error"]
    assert ask("read", path=str(share / "old"))["ok"] == "old"
