"""How is a server on another machine asked? Over one connection, which is made again when it is lost.

Every request may be sent twice: a submission carries its own id, and the others change nothing twice. So a
lost connection is no lost trial: the client comes back to the same id.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from schedtuna import errors
from schedtuna.configfile import parse_json
from schedtuna.errors import SchedtunaError, UnavailableError, UsageError
from schedtuna.files import open_to_read
from schedtuna.wire import Capabilities, TrialProgress, common_version

TOKEN_VARIABLE = "SCHEDTUNA_TOKEN"  # noqa: S105 - its name
PATIENCE_S = 60.0  # without an answer, until the machine counts as lost
FIRST_PATIENCE_S = 10.0  # until there was one at all: it may be starting, or the address be wrong
_TIMEOUT_S = 20.0  # of one answer, beyond what it was asked to wait
_MOST_ANSWER_BYTES = 64 << 20
_MOST_EVENT_BYTES = 64 << 10
_MOST_TOKEN_BYTES = 4096
_AGAIN = (408, 429, 502, 503, 504)


class LostAgentError(UnavailableError):
    """A machine that runs workloads does not answer any more."""


class AgentClient:
    """One client of one server.

    Args:
        url: ``http(s)://HOST:PORT``.
        token: What it shows.
        patience_s: How long it tries to get an answer, once there was one; for the first, at most
            `FIRST_PATIENCE_S`.
        sleep: Waits for so many seconds.

    Attributes:
        offset_s: How far the server's clock is ahead of this machine's, by the quickest answer; None: not
            known.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url
        self._parts = urlsplit(url)
        self._token = token
        self._patience_s = patience_s
        self._sleep = sleep
        self._connection: http.client.HTTPConnection | None = None
        self.offset_s: float | None = None
        self._quickest_s = float("inf")
        self._has_answered = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def again(self, *, patience_s: float) -> AgentClient:
        """Return another client of the same server, with a connection of its own."""
        other = AgentClient(self.url, self._token, patience_s=patience_s, sleep=self._sleep)
        other._has_answered = self._has_answered
        return other

    def capabilities(self) -> Capabilities:
        """Return what the server does, once it speaks a version that is known here.

        Raises:
            UsageError: It does not, or what answers is no such server.
            UnavailableError: It does not answer, or refuses the token.
        """
        health = self.ask("GET", "/health")
        common_version(health.get("versions", ()), what=self.url)
        return Capabilities.model_validate(self.ask("GET", "/capabilities"))

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        wait_s: float = 0.0,
        slow_s: float = 0.0,
        **query: Any,
    ) -> dict[str, Any]:
        """Ask until there is an answer, and return it.

        Args:
            method: Of HTTP.
            path: What is asked for.
            body: What is sent, as JSON.
            **query: Of the address.
            wait_s: How long the server is asked to wait for news.
            slow_s: How much longer than others it may take over this answer.

        Raises:
            LostAgentError: There is none for as long as the patience lasts.
            SchedtunaError: The server refuses it: of the class that it says.
        """
        asked = {**query, "wait_s": wait_s} if wait_s else query
        target = path + (f"?{urlencode(asked, doseq=True)}" if asked else "")
        payload = None if body is None else json.dumps(body, allow_nan=False).encode()
        patience_s = self._patience_s if self._has_answered else min(self._patience_s, FIRST_PATIENCE_S)
        end_s, pause_s, problem = time.monotonic() + patience_s, 0.1, ""
        while True:
            try:
                status, after_s, content = self._ask_once(method, target, payload, wait_s + slow_s)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if isinstance(error, ssl.SSLCertVerificationError):
                    raise _untrusted(self.url, error) from None
                problem = f"{type(error).__name__}: {error}"
                after_s = 0.0
            else:
                self._has_answered = True
                if status < 300:
                    return content
                if status not in _AGAIN:
                    raise _refusal(self.url, status, content)
                problem = str(content.get("message", f"status {status}"))
            pause_s = min(max(2 * pause_s, after_s), 5.0)
            if time.monotonic() + pause_s > end_s:
                kept = "; what was found so far is kept: --resume goes on" if self._has_answered else ""
                raise LostAgentError(
                    f"no answer from {self.url} for {patience_s:g} s: {problem}",
                    hint=f"is `schedtuna serve` running there, and is the address right?{kept}",
                )
            self._sleep(pause_s)

    def events(
        self, trial_id: str, last_id: int, within_s: float, tell: Callable[[TrialProgress], None]
    ) -> int | None:
        """Read a trial's events until it ends or a time is over, and return the last one's number.

        They are for people: where the line is lost, or the server has none, the answer is None.

        Args:
            trial_id: Its id.
            last_id: Of the last event that was told already; 0: none was.
            within_s: For how long.
            tell: Told each.
        """
        end_s, is_over = time.monotonic() + within_s, False
        connection = self._new_connection(within_s)
        headers = {"Authorization": f"Bearer {self._token}", "Last-Event-ID": str(last_id)}
        try:
            connection.request("GET", f"/trials/{trial_id}/events", headers=headers)
            answer = connection.getresponse()
            while answer.status == 200 and not is_over and time.monotonic() < end_s:
                line = answer.readline(_MOST_EVENT_BYTES)
                if not line:
                    break
                if line.startswith(b"data: "):
                    event = TrialProgress.model_validate(parse_json(line[6:]))
                    last_id, is_over = event.number, event.state.is_end
                    tell(event)
                if connection.sock is not None:
                    connection.sock.settimeout(max(end_s - time.monotonic(), 0.01))
        except (OSError, http.client.HTTPException, ValueError):
            pass  # pydantic's ValidationError is a ValueError
        finally:
            connection.close()
        return last_id if is_over or time.monotonic() >= end_s else None

    def _ask_once(
        self, method: str, target: str, payload: bytes | None, wait_s: float
    ) -> tuple[int, float, dict[str, Any]]:
        connection = self._connected(_TIMEOUT_S + wait_s)
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if payload is not None:
            headers["Content-Type"] = "application/json"
        asked_s, clock_s = time.time(), time.monotonic()
        connection.request(method, target, payload, headers)
        answer = connection.getresponse()
        content = answer.read(_MOST_ANSWER_BYTES + 1)
        took_s = time.monotonic() - clock_s
        if len(content) > _MOST_ANSWER_BYTES:
            raise UsageError(f"{self.url} answered with more than {_MOST_ANSWER_BYTES >> 20} MiB")
        try:
            found = parse_json(content, any_text=True)
        except ValueError:
            found = None
        if (
            not isinstance(found, dict) and answer.status >= 500
        ):  # it is being ended, or what is before it says so
            raise http.client.HTTPException(f"status {answer.status}, and no JSON object")
        if not isinstance(found, dict):
            raise UsageError(
                f"what answers at {self.url} is no `schedtuna serve`: status {answer.status}, and no JSON "
                "object"
            )
        if took_s < self._quickest_s and isinstance(now := found.get("now"), int | float):
            self._quickest_s, self.offset_s = took_s, now - (asked_s + took_s / 2)
        retry_after = answer.headers.get("Retry-After", "")
        return answer.status, float(retry_after) if retry_after.isdecimal() else 0.0, found

    def _connected(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = self._new_connection(timeout_s)
        self._connection.timeout = timeout_s
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout_s)
        return self._connection

    def _new_connection(self, timeout_s: float) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
        return http.client.HTTPConnection(host, port, timeout=timeout_s)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def error_of(kind: str, message: str, hint: str) -> SchedtunaError:
    """Return an error of another machine, of the class that it had there where there is such a one."""
    return _PLAIN.get(kind, SchedtunaError)(message, hint=hint or None)


# Errors that are made of a message; those with arguments of their own can't be.
_PLAIN: dict[str, type[SchedtunaError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, SchedtunaError) and "__init__" not in vars(kind)
}


def _refusal(url: str, status: int, content: Mapping[str, Any]) -> SchedtunaError:
    message, hint = str(content.get("message", f"status {status}")), str(content.get("hint", ""))
    if status in (401, 403):
        found: SchedtunaError = UnavailableError(f"{url} refuses this: {message}", hint=hint or None)
        return found
    return error_of(str(content.get("kind", "")), f"{url}: {message}", hint)


def _untrusted(url: str, error: ssl.SSLCertVerificationError) -> UnavailableError:
    return UnavailableError(
        f"the certificate of {url} is not trusted: {error.verify_message}",
        hint="SSL_CERT_FILE=FILE names the certificates that are to be trusted, such as the server's own",
    )


def read_token(path: Path | None) -> str:
    """Return a client's token: of a file, else of the environment.

    Raises:
        UsageError: There is none.
    """
    if path is None:
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
        if not token:
            raise UsageError(
                "another machine needs a token",
                hint=f"--token-file FILE, or the variable {TOKEN_VARIABLE}; `schedtuna serve --add-client` "
                "gives one",
            )
    else:
        try:
            with os.fdopen(open_to_read(path), "rb") as file:
                token = file.read(_MOST_TOKEN_BYTES).decode(errors="replace").strip()
        except OSError as error:
            raise UsageError(f"can't read --token-file {path}: {error.strerror}") from None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"{path or TOKEN_VARIABLE} holds no token: expected one word",
            hint="the file for clients has the token alone; the server's own file has none in it",
        )
    return token
