"""Serves the page over HTTP, and nothing else: a process that gives up its privilege before it answers.

It knows of the token only its hash, and opens no file once it serves. OVERHEAD: about 25 MiB of memory; while
no page is open, no CPU time.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import sys
import threading
from typing import Any

from schedtuna.agent.page.admission import PageRefusal, careless, strange, unknown_client
from schedtuna.agent.page.broker import BrokerLink
from schedtuna.agent.page.feed import PageFeed
from schedtuna.configfile import parse_json
from schedtuna.errors import SchedtunaError
from schedtuna.kernel.privilege import give_up_privilege
from schedtuna.resources import resource_path

READY = "ready"
MOST_CONNECTIONS = 64
_MOST_PAGES = 16
_PATIENCE_S = 5.0  # for a request, and for a reader to take an event
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.svg": ("page.svg", "image/svg+xml"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PageServer(http.server.ThreadingHTTPServer):
    """A thread for each connection, of which there are not too many.

    Args:
        listening: The socket that listens.
        link: Where the agent is asked.
        token_digest: Of the token; see `admission.digest`.
    """

    daemon_threads = True

    def __init__(self, listening: socket.socket, link: BrokerLink, token_digest: str) -> None:
        super().__init__(listening.getsockname()[:2], PageHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.link, self.token_digest = link, token_digest
        self.feed = PageFeed(lambda after: link.ask("view", after=after))
        self.files = {
            path: (resource_path(f"agent/page/data/{name}").read_bytes(), kind)
            for path, (name, kind) in _FILES.items()
        }
        self.pages = threading.BoundedSemaphore(_MOST_PAGES)
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; one connection too many is closed."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room again."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that has gone is no event."""


class PageHandler(http.server.BaseHTTPRequestHandler):
    """Answers one request."""

    timeout = _PATIENCE_S
    server: PageServer

    def do_GET(self) -> None:
        """Send a file, which tells nothing, or events, which take the token."""
        path, headers = self.path.partition("?")[0], self._sent()
        if (refused := strange(headers)) is not None:
            self._refuse(refused)
        elif path in self.server.files:
            body, kind = self.server.files[path]
            self._send(200, kind, body)
        elif path != "/events":
            self._refuse(PageRefusal(404, "there is no such page"))
        elif (refused := unknown_client(headers, self.server.token_digest)) is not None:
            self._refuse(refused)
        elif not self.server.pages.acquire(blocking=False):
            self._refuse(PageRefusal(503, f"{_MOST_PAGES} pages are open already"))
        else:
            try:
                self._stream(headers.get("last-event-id", ""))
            finally:
                self.server.pages.release()

    def do_POST(self) -> None:
        """Undo a change."""
        headers = self._sent()
        refused = strange(headers) or unknown_client(headers, self.server.token_digest)
        if refused is None and self.path != "/undo":
            refused = PageRefusal(404, "there is no such page")
        if (refused := refused or careless(headers)) is not None:
            self._refuse(refused)
            return
        token = headers["authorization"].partition(" ")[2].strip()
        try:
            asked = parse_json(self.rfile.read(int(headers["content-length"])))
            name = str(asked["id"])
        except (ValueError, TypeError, KeyError):
            self._refuse(PageRefusal(422, "expected the id of a change"))
            return
        try:
            told = self.server.link.ask("undo", id=name, token=token)
        except SchedtunaError as error:
            self._refuse(PageRefusal(409, str(error)))
            return
        self._send_json(200, told)

    def _sent(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _stream(self, last_id: str) -> None:
        self._begin(200, "text/event-stream; charset=utf-8")
        with contextlib.closing(self.server.feed.events(last_id)) as events:
            for event in events:
                self.wfile.write(event)  # who does not take it in time is gone

    def _refuse(self, refused: PageRefusal) -> None:
        self._send_json(refused.status, {"message": refused.message})

    def _send_json(self, status: int, content: Any) -> None:
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self._begin(status, kind, len(body))
        self.wfile.write(body)

    def _begin(self, status: int, kind: str, nr_bytes: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind}.items():
            self.send_header(name, value)
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        if nr_bytes is not None:
            self.send_header("Content-Length", str(nr_bytes))
        self.end_headers()

    def version_string(self) -> str:
        """Return what answers, without versions."""
        return "schedtuna"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name that it overrides
        """Say nothing: a request is no event."""


def _end_with_the_broker() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main(argument: str) -> None:
    """Serve until standard input is closed.

    Args:
        argument: JSON: descriptors `listening` and `link`, `token_digest`, and `ids` or null.
    """
    order = parse_json(argument)
    listening, link = (socket.socket(fileno=order[name]) for name in ("listening", "link"))
    server = PageServer(listening, BrokerLink(link), order["token_digest"])
    give_up_privilege(None if order["ids"] is None else tuple(order["ids"]))
    threading.Thread(target=_end_with_the_broker, name="schedtuna-broker-gone", daemon=True).start()
    sys.stdout.write(READY + "\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
