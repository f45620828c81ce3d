"""Serves the agent's metrics over HTTP, as a process of its own: what has privileges serves nobody."""

from __future__ import annotations

import http.server
import os
import socket
import socketserver
import stat
from collections.abc import Callable
from pathlib import Path

from schedtuna.agent.control import ask_agent
from schedtuna.agent.listening import own_address
from schedtuna.agent.monitoring import CONTENT_TYPE, exposition
from schedtuna.errors import SchedtunaError
from schedtuna.files import Folder

_PATIENCE_S = 5.0


def metrics_text(directory: Path | None = None) -> str:
    """Return the metrics of the agent that runs here; that none answers is one of them."""
    try:
        return exposition(ask_agent("status", directory=directory))
    except SchedtunaError:
        return exposition(None)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET /metrics alone."""

    timeout = _PATIENCE_S
    read: Callable[[], str]

    def do_GET(self) -> None:
        """Answer."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "metrics are at /metrics")
            return
        body = self.read().encode()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name that it overrides
        """Say nothing: a scrape is no event."""

    def address_string(self) -> str:
        """Return nothing: clients of a Unix socket have no address."""
        return ""


class _TcpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def serve_at(where: str, read: Callable[[], str] = metrics_text) -> socketserver.BaseServer:
    """Return a server that is bound, and serves once its `serve_forever` is called.

    Args:
        where: ADDRESS:PORT of this machine's own addresses (127.0.0.0/8, ::1), or the path of a Unix socket,
            which begins with / or a dot.
        read: Gives the text.

    Raises:
        UsageError: It is neither, or others could reach it.
        OSError: It can't be bound.
    """
    handler = type("Handler", (_Handler,), {"read": staticmethod(read)})
    if where.startswith(("/", ".")):
        path = Path(where)
        if path.is_socket() and not _answers(path):
            with Folder(path.parent, own=False) as folder:
                folder.discard(path.name)  # of a server that was killed
        before = os.umask(0o117)  # its user and group
        try:
            return _UnixServer(where, handler)
        finally:
            os.umask(before)
    family, address = own_address(where, otherwise=" and no path of a socket")
    server = type("Server", (_TcpServer,), {"address_family": family})
    bound: socketserver.BaseServer = server(address, handler)
    return bound


def _answers(path: Path) -> bool:
    if not stat.S_ISSOCK(path.lstat().st_mode):
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(1)
        return line.connect_ex(str(path)) == 0
