"""Asks the agent for the process that serves the page, which itself has no privilege to ask it.

Lines of JSON over a pair of sockets; two requests, and no other:

{"verb": "view", "after": 17}
{"verb": "undo", "id": "0123456789", "token": "..."}
"""

from __future__ import annotations

import contextlib
import hmac
import json
import re
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from schedtuna.agent.control import ask_agent
from schedtuna.agent.page.admission import digest
from schedtuna.configfile import parse_json
from schedtuna.errors import SchedtunaError

_ID = re.compile(r"[0-9a-f]{10}")
_MOST_BYTES = 16 << 20

AskAgent = Callable[[str, Mapping[str, Any]], Any]


class PageBroker:
    """The side that has privilege.

    Args:
        token_digest: Of the token that undoing takes; see `admission.digest`.
        directory: The journal's folder.
    """

    def __init__(self, token_digest: str, directory: Path | None = None) -> None:
        self._digest, self._directory = token_digest, directory

    def serve(self, link: socket.socket) -> None:
        """Answer until the other side has gone."""
        with contextlib.suppress(ConnectionError), link.makefile("rwb") as lines:
            while line := lines.readline(_MOST_BYTES):
                lines.write(json.dumps(self.answer(line)).encode() + b"\n")
                lines.flush()

    def answer(self, line: bytes) -> dict[str, Any]:
        """Return what a request is answered with: what the agent says, or `error` and `hint`."""
        try:
            request = parse_json(line)
            verb, after = str(request["verb"]), int(request.get("after", 0))
            name, token = str(request.get("id", "")), str(request.get("token", ""))
        except (ValueError, TypeError, KeyError, AttributeError):
            return {"error": "not a request", "hint": None}
        try:
            if verb == "view":
                return dict(ask_agent("view", {"after": after}, self._directory))
            if verb != "undo" or not _ID.fullmatch(name):
                return {"error": "expected the id of a change", "hint": None}
            if not hmac.compare_digest(digest(token), self._digest):
                return {"error": "undoing takes the token", "hint": None}
            return dict(ask_agent("undo", {"id": name, "on_page": True}, self._directory))
        except SchedtunaError as error:
            return {"error": str(error), "hint": error.hint}


class BrokerLink:
    """The side that has none: puts one request after the other.

    Args:
        link: Its socket.
    """

    def __init__(self, link: socket.socket) -> None:
        self._lines = link.makefile("rwb")
        self._alone = threading.Lock()

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Put a request, and return the answer.

        Raises:
            SchedtunaError: The agent does not answer, or refuses.
        """
        try:
            with self._alone:
                self._lines.write(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
                self._lines.flush()
                line = self._lines.readline(_MOST_BYTES)
            said = parse_json(line, any_text=True)
        except (OSError, ValueError):
            raise SchedtunaError("`schedtuna agent page` is ending", hint="start it again") from None
        if not isinstance(said, dict) or "error" in said:
            raise SchedtunaError(str(said["error"]), hint=said.get("hint"))
        return said
