"""What is looked at before anything is made of a request? Its token, and how large and slow its body is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from schedtuna.server.answers import refusal_response
from schedtuna.server.link import Link
from schedtuna.server.refusal import RefusedError
from schedtuna.wire import MOST_BODY_BYTES

BODY_LIMIT_S = 10.0
OPEN = "/health"  # what needs no token

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Admission:
    """Stands before an ASGI application, which gets whole bodies, and requests of clients alone.

    Args:
        app: The application.
        link: Who knows the tokens.
    """

    def __init__(self, app: Any, link: Link) -> None:
        self._app, self._link = app, link

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            return
        scope["token"], scope["peer"] = _token(scope), (scope.get("client") or ("",))[0]
        try:
            if scope["path"] != OPEN:
                await self._link.call("admit", scope["token"], scope["peer"])
            body = await _body(scope, receive)
        except RefusedError as error:
            await refusal_response(error)(scope, receive, send)
            return
        await self._app(scope, _replayed(body, receive), send)


def _token(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if kind.lower() == "bearer" else ""
    return ""


async def _body(scope: Scope, receive: Receive) -> bytes:
    """Return the body, by what arrives and not by what its header says.

    Raises:
        RefusedError: It is too large or too slow.
    """
    too_large = RefusedError(
        413, f"the body is larger than {MOST_BODY_BYTES} bytes", hint="send less: of a command, its name"
    )
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > MOST_BODY_BYTES:
            raise too_large
    pieces, nr_bytes, more = [], 0, True
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RefusedError(400, "the client has gone before its body was whole")
                piece = message.get("body", b"")
                nr_bytes += len(piece)
                if nr_bytes > MOST_BODY_BYTES:
                    raise too_large
                pieces.append(piece)
                more = message.get("more_body", False)
    except TimeoutError:
        raise RefusedError(408, f"the body was not there after {BODY_LIMIT_S:g} s") from None
    return b"".join(pieces)


def _replayed(body: bytes, receive: Receive) -> Receive:
    told = False

    async def once() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once
