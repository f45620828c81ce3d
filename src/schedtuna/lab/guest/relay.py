"""How do TCP connections cross the line between host and guest, which is one stream of bytes?

In frames: what happened (one byte), to which connection (4 bytes), and how many bytes follow (4). Each
side may have `WINDOW` bytes of a connection on their way, so that one whose reader is slow holds up no
other. The host listens and the guest connects; the host never connects anywhere on a guest's word.

The guest runs this very file, so it needs the standard library only.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import sys
from contextlib import suppress

OPEN, DATA, END, CLOSE, CREDIT = range(5)
HEADER = struct.Struct("!BII")
CHUNK = 1 << 16
WINDOW = 1 << 18
_BACKLOG = 4 * WINDOW  # bytes for the line beyond which connections are not read


class RelayError(Exception):
    """The other side does not keep to the protocol."""


class _Stream:
    """One connection.

    `out` is what its socket is to get, `credit` how many bytes the other side takes, `read` and
    `written` whether nothing more comes from its socket, or goes to it.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.out = bytearray()
        self.credit = WINDOW
        self.read = False
        self.written = False


class Relay:
    """One end of the line.

    Args:
        line: File descriptor of the line; it becomes non-blocking.
        listener: The host's: a listening socket whose connections are relayed.
        port: The guest's: where connections that are asked for go, on its own loopback.
    """

    def __init__(self, line: int, *, listener: socket.socket | None = None, port: int = 0) -> None:
        self._line = line
        self._listener = listener
        self._port = port
        self._streams: dict[int, _Stream] = {}
        self._nr_opened = 0
        self._in = bytearray()
        self._out = bytearray()

    def serve(self) -> None:
        """Relay until the line ends.

        Raises:
            RelayError: The other side does not keep to the protocol.
        """
        os.set_blocking(self._line, False)
        try:
            while self._step():
                pass
        finally:
            for stream in self._streams.values():
                stream.socket.close()

    def _step(self) -> bool:
        """Wait until something can be done, and do it; whether the line is still there."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._line, selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0))
            if self._listener is not None:
                selector.register(self._listener, selectors.EVENT_READ)
            for number, stream in self._streams.items():
                if events := self._wanted(stream):
                    selector.register(stream.socket, events, number)
            ready = selector.select()
        for key, events in ready:
            if key.fd == self._line:
                if not self._on_line(events):
                    return False
            elif key.data is None:
                self._accept()
            elif key.data in self._streams:
                self._on_stream(key.data, self._streams[key.data], events)
        return True

    def _wanted(self, stream: _Stream) -> int:
        readable = not stream.read and stream.credit > 0 and len(self._out) < _BACKLOG
        return (selectors.EVENT_READ if readable else 0) | (selectors.EVENT_WRITE if stream.out else 0)

    def _on_line(self, events: int) -> bool:
        try:
            if events & selectors.EVENT_WRITE:
                del self._out[: os.write(self._line, self._out[:CHUNK])]
            if events & selectors.EVENT_READ:
                data = os.read(self._line, CHUNK)
                self._in += data
                self._take_frames()
                return bool(data)
        except BlockingIOError:
            pass
        except OSError:  # closed
            return False
        return True

    def _take_frames(self) -> None:
        while len(self._in) >= HEADER.size:
            kind, number, size = HEADER.unpack_from(self._in)
            if size > CHUNK or kind > CREDIT:
                raise RelayError(f"frame of kind {kind} with {size} bytes")
            if kind == DATA and len(self._in) < HEADER.size + size:
                return
            end = HEADER.size + (size if kind == DATA else 0)
            data = bytes(self._in[HEADER.size : end])
            del self._in[:end]
            self._take(kind, number, size, data)

    def _take(self, kind: int, number: int, size: int, data: bytes) -> None:
        if kind == OPEN:
            self._open(number)
            return
        stream = self._streams.get(number)
        if stream is None:
            return  # closed here meanwhile
        if kind == DATA:
            stream.out += data
            if len(stream.out) > WINDOW:
                raise RelayError(f"connection {number} sent more than it was allowed to")
        elif kind == CREDIT:
            stream.credit += size
        elif kind == END:
            stream.written = True
            self._flushed(number, stream)
        else:
            self._drop(number, stream)

    def _open(self, number: int) -> None:
        if not self._port or number in self._streams:
            raise RelayError("asked for a connection that it may not ask for")
        try:
            self._streams[number] = _Stream(socket.create_connection(("127.0.0.1", self._port)))
        except OSError:
            self._send(CLOSE, number)

    def _accept(self) -> None:
        assert self._listener is not None
        with suppress(OSError):  # gone again
            connection, _ = self._listener.accept()
            self._nr_opened += 1
            self._streams[self._nr_opened] = _Stream(connection)
            self._send(OPEN, self._nr_opened)

    def _on_stream(self, number: int, stream: _Stream, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                sent = stream.socket.send(stream.out[:CHUNK])
                del stream.out[:sent]
                self._send(CREDIT, number, size=sent)
                self._flushed(number, stream)
            if events & selectors.EVENT_READ:
                data = stream.socket.recv(min(CHUNK, stream.credit))
                stream.credit -= len(data)
                stream.read = not data
                self._send(DATA if data else END, number, data)
                self._flushed(number, stream)
        except BlockingIOError:
            pass
        except OSError:
            self._send(CLOSE, number)
            self._drop(number, stream)

    def _flushed(self, number: int, stream: _Stream) -> None:
        """Pass an end on, once all that came before has gone."""
        if stream.written and not stream.out:
            with suppress(OSError):
                stream.socket.shutdown(socket.SHUT_WR)
            if stream.read:
                self._drop(number, stream)

    def _drop(self, number: int, stream: _Stream) -> None:
        self._streams.pop(number, None)
        stream.socket.close()

    def _send(self, kind: int, number: int, data: bytes = b"", *, size: int = 0) -> None:
        self._out += HEADER.pack(kind, number, size or len(data)) + data


def find_port(name: str) -> str:
    """Return the guest's device of a virtio-serial port."""
    folder = "/sys/class/virtio-ports"
    for port in os.listdir(folder):
        with open(f"{folder}/{port}/name") as file:
            if file.read().strip() == name:
                return f"/dev/{port}"
    sys.exit(f"schedtuna: the guest has no port {name}")


def main() -> None:
    """Relay in the guest: ``relay.py LINE PORT``."""
    line, port = sys.argv[1:]
    Relay(os.open(find_port(line), os.O_RDWR), port=int(port)).serve()


if __name__ == "__main__":
    main()
