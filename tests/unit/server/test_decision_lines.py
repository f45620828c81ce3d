"""Lines are answered in batches, to whom they came from; nobody's silence or haste keeps others waiting."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schedtuna.errors import UsageError
from schedtuna.server.decision_lines import MOST_LINE_BYTES, DecisionLines, listening


class EndedError(Exception):
    pass


class Echo:
    """Answers each line by itself, and remembers how many came together; `end` ends whoever serves."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, lines):
        if b"end" in lines:
            raise EndedError
        self.batches.append(len(lines))
        return [line + b"!\n" for line in lines]


@contextmanager
def served(path: Path, *, largest: int = 32, wait_s: float = 0.001) -> Iterator[Echo]:
    echo = Echo()

    def serve() -> None:
        with pytest.raises(EndedError):
            lines.serve_socket(listener)

    lines = DecisionLines(echo, largest=largest, wait_s=wait_s)
    with listening(path) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield echo
        finally:
            with connected(path) as last:
                last.sendall(b"end\n" * largest)  # whole batches do not wait
                thread.join()


def connected(path: Path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(60)
    line.connect(str(path))
    return line


def test_stdin_is_answered_to_its_end(tmp_path):
    (tmp_path / "in").write_bytes(b"a\n\nb\n" * 50 + b"last")
    echo = Echo()
    with (tmp_path / "in").open("rb") as given, (tmp_path / "out").open("wb") as out:
        lines = DecisionLines(echo, largest=32, wait_s=10)
        lines.serve_stdin(given.fileno(), out.fileno())
    assert (tmp_path / "out").read_bytes() == b"a!\nb!\n" * 50 + b"last!\n"
    assert echo.batches == [32, 32, 32, 5] and lines.nr_batches == 4


def test_a_pipe_is_answered_before_it_ends():
    (given, ask), (answer, out) = os.pipe(), os.pipe()
    thread = threading.Thread(
        target=DecisionLines(Echo(), largest=32, wait_s=0.001).serve_stdin, args=(given, out)
    )
    thread.start()
    os.write(ask, b"one\ntw")
    assert os.read(answer, 100) == b"one!\n"
    os.write(ask, b"o\n")
    assert os.read(answer, 100) == b"two!\n"
    os.close(ask)
    thread.join()
    for fd in (given, answer, out):
        os.close(fd)


def test_each_client_has_its_own_answers_of_one_batch(tmp_path):
    with served(tmp_path / "s", largest=4, wait_s=3600) as echo:
        clients = [connected(tmp_path / "s") for _ in range(4)]
        for number, client in enumerate(clients):
            client.sendall(f"{number}\n".encode())
        for number, client in enumerate(clients):
            assert client.recv(100) == f"{number}!\n".encode()
            client.close()
        assert echo.batches == [4]


def test_only_this_user_can_connect_and_the_socket_goes(tmp_path):
    path = tmp_path / ("d" * 100) / "s"
    path.parent.mkdir()
    with listening(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_what_is_there_is_not_replaced(tmp_path):
    (tmp_path / "s").write_text("mine")
    with pytest.raises(UsageError, match="already"), listening(tmp_path / "s"):
        pass
    assert (tmp_path / "s").read_text() == "mine"


def test_a_client_that_reads_nothing_or_never_ends_a_line_is_let_go(tmp_path):
    with served(tmp_path / "s") as echo:
        endless, deaf, gone = (connected(tmp_path / "s") for _ in range(3))
        gone.sendall(b"x\n")
        gone.close()
        endless.sendall(b"y" * (MOST_LINE_BYTES + 1))
        assert b"longer than" in endless.recv(100)
        assert endless.recv(100) == b""
        with pytest.raises(OSError):  # noqa: PT011 - reset, or a broken pipe
            deaf.sendall((b"z" * 10_000 + b"\n") * 1000)
        with connected(tmp_path / "s") as other:
            other.sendall(b"still\n")
            assert other.recv(100) == b"still!\n"
        deaf.close()
        endless.close()
    assert sum(echo.batches) > 100
