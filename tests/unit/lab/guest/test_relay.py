"""Both ends of the line, here, with real connections over them."""

import os
import socket
import socketserver
import threading

import pytest

from schedtuna.lab.guest.relay import CHUNK, DATA, HEADER, OPEN, WINDOW, Relay, RelayError


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets, in capitals, once the other end has said all."""

    def handle(self):
        said = b"".join(iter(lambda: self.request.recv(1 << 16), b""))
        self.request.sendall(said.upper())


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Echo) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running.server_address[1]
        running.shutdown()
        thread.join()


@pytest.fixture
def joined(server):
    """Address at which the server answers through two relays."""
    with relayed(server) as address:
        yield address


class relayed:  # noqa: N801 - used like a function
    def __init__(self, port):
        self.port = port

    def __enter__(self):
        self.host, self.guest = socket.socketpair()
        self.listener = socket.create_server(("127.0.0.1", 0))
        ends = [
            Relay(self.host.fileno(), listener=self.listener),
            Relay(self.guest.fileno(), port=self.port),
        ]
        self.threads = [threading.Thread(target=end.serve) for end in ends]
        for thread in self.threads:
            thread.start()
        return self.listener.getsockname()

    def __exit__(self, *error):
        for end in (self.host, self.guest):
            end.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        for each in (self.host, self.guest, self.listener):
            each.close()


def answer(connection):
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_what_is_sent_arrives_whole_both_ways(joined):
    text = os.urandom(3 * WINDOW).hex().encode()
    with socket.create_connection(joined, timeout=60) as connection:

        def send():
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=send).start()
        assert answer(connection) == text.upper()


def test_connections_do_not_hold_each_other_up(joined):
    with (
        socket.create_connection(joined, timeout=60) as slow,
        socket.create_connection(joined, timeout=60) as quick,
    ):
        slow.sendall(b"x")  # and says no more for now
        quick.sendall(b"quick")
        quick.shutdown(socket.SHUT_WR)
        assert answer(quick) == b"QUICK"
        slow.shutdown(socket.SHUT_WR)
        assert answer(slow) == b"X"


def test_where_nobody_listens_the_connection_ends():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    with relayed(free) as address, socket.create_connection(address, timeout=60) as connection:
        assert answer(connection) == b""


@pytest.mark.parametrize(
    "frame",
    [
        HEADER.pack(OPEN, 1, 0),
        HEADER.pack(99, 1, 0),
        HEADER.pack(DATA, 1, CHUNK + 1),
    ],
    ids=["a connection", "an unknown kind", "too much at once"],
)
def test_the_host_takes_no_orders_from_the_guest(frame):
    host, guest = socket.socketpair()
    with host, guest, socket.create_server(("127.0.0.1", 0)) as listener:
        guest.sendall(frame)
        with pytest.raises(RelayError):
            Relay(host.fileno(), listener=listener).serve()


def test_more_than_was_allowed_is_refused():
    host, guest = socket.socketpair()
    with host, guest, socket.create_server(("127.0.0.1", 0)) as listener:
        relay = Relay(host.fileno(), listener=listener)
        with socket.create_connection(listener.getsockname()):  # which never reads
            relay._accept()
            relay._in += (HEADER.pack(DATA, 1, CHUNK) + b"x" * CHUNK) * (WINDOW // CHUNK + 1)
            with pytest.raises(RelayError, match="more than it was allowed"):
                relay._take_frames()
            relay._streams[1].socket.close()
