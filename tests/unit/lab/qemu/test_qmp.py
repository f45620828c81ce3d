import json
import socket

import pytest

from schedtuna.lab.errors import GuestError
from schedtuna.lab.qemu.qmp import QemuGoneError, Qmp


@pytest.fixture
def line():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Qmp(ours), theirs


def say(theirs, *messages):
    theirs.sendall(b"".join(json.dumps(message).encode() + b"\r\n" for message in messages))


def test_commands_are_answered_and_events_between_are_kept(line):
    qmp, theirs = line
    say(theirs, {"QMP": {}}, {"return": {}})
    qmp.open()
    say(theirs, {"event": "RESUME"}, {"event": "STOP", "data": {"x": 1}}, {"return": {"status": "ok"}})
    assert qmp.execute("migrate", uri="file:x") == {"status": "ok"}
    assert qmp.await_event("STOP", 5) == {"x": 1}
    orders = [json.loads(text) for text in theirs.recv(1 << 16).decode().replace("}{", "}\n{").split("\n")]
    assert [order["execute"] for order in orders] == ["qmp_capabilities", "migrate"]
    assert orders[1]["arguments"] == {"uri": "file:x"}


def test_a_refusal_says_why(line):
    qmp, theirs = line
    say(theirs, {"error": {"class": "GenericError", "desc": "no such file"}})
    with pytest.raises(GuestError, match="refused migrate: no such file"):
        qmp.execute("migrate")


def test_a_failed_migration_says_why(line):
    qmp, theirs = line
    say(theirs, *({"event": "MIGRATION", "data": {"status": status}} for status in ("active", "failed")))
    say(theirs, {"return": {"error-desc": "disk full"}})
    with pytest.raises(GuestError, match="disk full"):
        qmp.await_migration(5)


def test_waiting_ends_when_qemu_ends_or_patience_does(line):
    qmp, theirs = line
    with pytest.raises(GuestError, match="nothing happened"):
        qmp.await_event("STOP", 0.01)
    asked = iter([False, False, True])
    with pytest.raises(GuestError, match="nothing happened"):
        qmp.await_event("STOP", 0.01, give_up=lambda _passed: next(asked))
    assert list(asked) == []
    with pytest.raises(GuestError, match="still running"):
        qmp.await_end(0.01)
    theirs.close()
    qmp.await_end(5)
    with pytest.raises(QemuGoneError):
        qmp.await_event("STOP", 5)
