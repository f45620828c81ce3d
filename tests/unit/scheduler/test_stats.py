import json
import socket
import sys
import threading

import pytest

from schedtuna.scheduler.host import HostMachine
from schedtuna.scheduler.stats import REQUEST, StatsClient, offered, parse_answer


@pytest.fixture
def machine():
    host = HostMachine()
    yield host
    host.close()


class Server:
    """Counts its answers, and gives what was counted since a connection's last question."""

    def __init__(self, path, replies):
        self.requests = []
        self._replies = replies
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        connection, _ = self._listening.accept()
        with connection, connection.makefile("rw") as lines:
            for reply in self._replies:
                self.requests.append(json.loads(lines.readline()))
                lines.write(json.dumps(reply) + "\n\n")  # scx_stats sends an empty line after each
                lines.flush()

    def close(self):
        self._thread.join()
        self._listening.close()


def told(**numbers):
    return {"errno": 0, "args": {"resp": numbers}}


def test_it_is_what_was_counted_between_the_two_questions(machine, tmp_path):
    server = Server(
        tmp_path / "stats", [told(nr=100), told(nr=7, at_us=5, nodes={"0": {"load": 1.5}}, cpus=[1])]
    )
    client = StatsClient(machine, sys.executable, str(tmp_path / "stats"))
    assert client.finish() == {"nr": 7.0, "nodes.0.load": 1.5}
    server.close()
    assert server.requests == [REQUEST, REQUEST]


def test_a_scheduler_that_hangs_up_costs_the_statistics_only(machine, tmp_path):
    server = Server(tmp_path / "stats", [])
    client = StatsClient(machine, sys.executable, str(tmp_path / "stats"))
    server.close()
    assert client.finish() == {}


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", '{"errno": 22, "args": {"resp": {"a": 1}}}', '{"errno": 0, "args": {}}']
)
def test_what_is_not_an_answer_says_nothing(text):
    assert parse_answer(text) == {}


def test_of_thousands_of_values_the_first_are_kept():
    many = {f"cpu{number}": number for number in range(5000)}
    assert len(parse_answer(json.dumps(told(**many)))) == 100


def test_truth_values_are_not_counts():
    assert parse_answer(json.dumps(told(on=True, nr=2))) == {"nr": 2.0}


def test_schedulers_with_the_flag_are_asked():
    assert offered("scx_rusty")
    assert not offered("scx_simple")
    assert not offered("scx_nobody_knows")


def test_numbers_that_are_none_are_left_out():
    assert parse_answer('{"errno": 0, "args": {"resp": {"a": NaN, "b": 1e999, "c": 2}}}') == {"c": 2.0}
    assert parse_answer("[" * 10**5) == {}
