"""How does the process that serves HTTP ask the one that decides? Lines of JSON over a pair of sockets.

{"id": 7, "verb": "status", "token": "...", "peer": "10.0.0.1", "arguments": {"trial_id": "..."}}
{"id": 7, "answer": {...}}
{"id": 7, "refused": {"status": 404, "message": "...", "hint": "...", "retry_after_s": null, "kind": ""}}
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from schedtuna.configfile import parse_json
from schedtuna.errors import SchedtunaError
from schedtuna.server.refusal import RefusedError

MOST_LINE_BYTES = 64 << 20  # an outcome, or a piece of a trace
Answerer = Callable[[str, str, str, Mapping[str, Any]], Awaitable[dict[str, Any]]]


class Link:
    """The asking side.

    Args:
        reader, writer: Of its socket.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ids = itertools.count()
        self._is_over = False

    async def call(self, verb: str, token: str, peer: str, **arguments: Any) -> dict[str, Any]:
        """Ask, and return the answer.

        Raises:
            RefusedError: The request is refused, or the other side has gone.
        """
        if self._is_over:
            raise _ending()
        number = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        order = {"id": number, "verb": verb, "token": token, "peer": peer, "arguments": arguments}
        try:
            _write(self._writer, order)
            await self._writer.drain()
            return await future
        except ConnectionError:
            raise _ending() from None
        finally:
            self._waiting.pop(number, None)

    async def listen(self) -> None:
        """Take in answers until the other side has gone."""
        try:
            with contextlib.suppress(ConnectionError):  # it was killed, with questions unread
                while line := await self._reader.readline():
                    self._take_in(parse_json(line, any_text=True))
        finally:
            self._is_over = True
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(_ending())

    def _take_in(self, told: Mapping[str, Any]) -> None:
        future = self._waiting.get(told["id"])
        if future is None or future.done():
            return
        if "answer" in told:
            future.set_result(told["answer"])
        else:
            said = dict(told["refused"])
            future.set_exception(RefusedError(said.pop("status"), said.pop("message"), **said))


async def answer_all(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answerer: Answerer, say: Callable[[str], None]
) -> None:
    """Answer what the other side asks, each in a task of its own, until it has gone."""
    async with asyncio.TaskGroup() as tasks:
        while line := await reader.readline():
            tasks.create_task(_answer(parse_json(line, any_text=True), writer, answerer, say))


async def _answer(
    order: Mapping[str, Any], writer: asyncio.StreamWriter, answerer: Answerer, say: Callable[[str], None]
) -> None:
    told: dict[str, Any] = {"id": order["id"]}
    try:
        told["answer"] = await answerer(order["verb"], order["token"], order["peer"], order["arguments"])
    except RefusedError as error:
        told["refused"] = _refusal(error)
    except (
        LookupError,
        TypeError,
        ValueError,
    ) as error:  # no request makes these: the other side is another one
        say(f"{order['verb']}: {error!r}")
        told["refused"] = _refusal(RefusedError(400, "no such request is known"))
    except (SchedtunaError, OSError) as error:
        say(f"{order['verb']}: {error}")
        told["refused"] = _refusal(RefusedError(500, "the server could not do that; its log says why"))
    try:
        _write(writer, told)
        await writer.drain()
    except ConnectionError:
        return  # whoever asked has gone


def _ending() -> RefusedError:
    return RefusedError(503, "the server is ending", retry_after_s=2)


def _write(writer: asyncio.StreamWriter, told: Mapping[str, Any]) -> None:
    writer.write(json.dumps(told).encode() + b"\n")


def _refusal(error: RefusedError) -> dict[str, Any]:
    return {
        "status": error.status,
        "message": str(error),
        "hint": error.hint,
        "retry_after_s": error.retry_after_s,
        "kind": error.kind,
    }
