"""A guest is lent out: guestd is the real one, run here instead of in a guest."""

import json
import os
import socket
import threading
import time
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.lab.guest.test_guestd import load_guestd

from schedtuna.lab.errors import GuestError
from schedtuna.lab.named.keeper import LENT, Keeper, listen
from schedtuna.resources import resource_path

WITHIN_S = 60


class Lent:
    """A keeper that lends a guestd out, and commands that use it."""

    def __init__(self, folder):
        self.folder = folder
        self.opened = ExitStack()
        ours, theirs = self.pair()
        launcher = str(resource_path("native/schedtuna-launch"))
        guestd = load_guestd().Guestd(str(folder), launcher)
        files = [self.opened.enter_context(theirs.makefile(mode)) for mode in ("rb", "wb")]
        self.guestd = threading.Thread(target=guestd.serve, args=files)
        self.guestd.start()
        answer(ours)  # its first words
        self.ends = [self.pair() for _ in LENT]
        lines = {"agent": ours} | {name: pair[0] for name, pair in zip(LENT, self.ends, strict=True)}
        self.guest = ours
        opened = os.open(folder, os.O_RDONLY)
        self.listener = self.opened.enter_context(listen(opened))
        os.close(opened)
        keeper = Keeper(cast("Any", SimpleNamespace(line=lines.get)), self.listener, {"kernel": "6.18"})
        self.ended: list[str] = []
        self.thread = threading.Thread(target=self._serve, args=(keeper,), daemon=True)
        self.thread.start()

    def _serve(self, keeper):
        try:
            keeper.serve()
        except GuestError as error:
            self.ended.append(str(error))

    def come(self, who=None):
        """Return the connection of a command, and what it is told first."""
        line = self.opened.enter_context(socket.socket(socket.AF_UNIX))
        line.settimeout(WITHIN_S)
        line.connect(str(self.folder / "line"))
        line.sendall(json.dumps(who or {"pid": 7, "command": "one"}).encode() + b"\n")
        said, fds, _, _ = socket.recv_fds(line, 1 << 16, len(LENT))
        for fd in fds:
            os.close(fd)
        return line, json.loads(said)

    def pair(self):
        return [self.opened.enter_context(end) for end in socket.socketpair()]

    def close(self):
        self.guest.sendall(b'{"op": "poweroff"}\n')
        self.guestd.join(WITHIN_S)
        self.guest.shutdown(socket.SHUT_RDWR)
        self.thread.join(WITHIN_S)
        assert not self.thread.is_alive()
        assert self.ended
        self.opened.close()


def order(line, op, **arguments):
    line.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
    return answer(line)["ok"]


def answer(line):
    with line.makefile("rb") as lines:
        return json.loads(lines.readline())


@pytest.fixture
def lent(tmp_path):
    made = Lent(tmp_path)
    yield made
    made.close()


def until(condition):
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_there(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def free_again(lent):
    """Return a connection, once nobody else has one."""
    while True:
        line, told = lent.come()
        if "ok" in told:
            return line
        line.close()


def test_one_command_at_a_time_and_others_are_told_which(lent):
    first, told = lent.come()
    assert told == {"ok": {"kernel": "6.18"}}
    second, told = lent.come({"pid": 8, "command": "two"})
    assert told == {"user": {"pid": 7, "command": "one"}}
    assert lent.come({"look": True})[1] == told
    assert order(first, "read", path="/proc/self/comm")
    first.close()
    second.close()
    assert free_again(lent)


def test_what_a_command_started_ends_with_it_but_for_what_it_kept(lent):
    line, _ = lent.come()
    leader = order(line, "spawn", argv=["sh", "-c", "sleep 300 & sleep 300"])
    kept = order(line, "spawn", argv=["sleep", "300"])
    order(line, "keep", pid=kept)
    line.close()
    until(lambda: not is_there(leader))
    line = free_again(lent)
    assert order(line, "kept") == [[kept, ["sleep", "300"]]]
    assert order(line, "status", pid=kept) is None
    order(line, "signal", pid=kept, number=9)
    assert order(line, "wait", pid=kept) == -9
    line.close()
    assert order(free_again(lent), "kept") == []


def test_what_a_program_that_has_ended_left_behind_ends_too(lent):
    line, _ = lent.come()
    group = order(line, "spawn", argv=["sh", "-c", "sleep 600 &"])
    assert order(line, "wait", pid=group) == 0
    assert is_there(group)
    line.close()
    free_again(lent)
    until(lambda: not is_there(group))


def test_a_command_that_is_killed_leaves_the_next_one_its_own_answers(lent):
    line, _ = lent.come()
    slow = order(line, "spawn", argv=["sleep", "0.3"])
    line.sendall(json.dumps({"op": "wait", "pid": slow}).encode() + b'\n{"op": "rea')
    line.close()
    other, told = lent.come({"pid": 8, "command": "two"})
    if "ok" not in told:  # its order is not finished
        assert told["user"]["pid"] == 7
        other = free_again(lent)
    assert order(other, "read", path=str(lent.folder / "absent")) is None


# What a command does: how many whole orders it gives, whether it waits for the last answer, and how
# much of a further order it has written when it is killed.
COMMANDS = st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 20)), min_size=1, max_size=6)


def test_answers_are_always_those_to_ones_own_orders(lent):
    nr_orders = 0

    @settings(max_examples=200, deadline=None)
    @given(COMMANDS)
    def commands(rows):
        nonlocal nr_orders
        for nr, waits, part in rows:
            line = free_again(lent)
            for left in reversed(range(nr)):
                nr_orders += 1
                path = lent.folder / str(nr_orders % 50)
                path.write_text(str(nr_orders))
                asked = json.dumps({"op": "read", "path": str(path)}).encode() + b"\n"
                line.sendall(asked)
                if left or waits:
                    assert answer(line) == {"ok": str(nr_orders)}
            line.sendall(b'{"op": "read", "path": '[:part])
            line.close()

    commands()


@pytest.mark.parametrize("words", [b"", b"\n", b"{\n", b"[]\n", b"7\n", b"\xff\n"])
def test_what_is_no_command_is_not_let_in_and_spoils_nothing(lent, words):
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(lent.folder / "line"))
        line.sendall(words)
        line.shutdown(socket.SHUT_WR)
        assert b"ok" not in line.recv(100)
    assert order(free_again(lent), "read", path="/proc/self/comm")
