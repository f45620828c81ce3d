"""How are a trial's events sent? As server-sent events, to whoever reads them: who does not costs nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from fastapi.responses import StreamingResponse

from schedtuna.server.refusal import RefusedError

LONGEST_S = 600.0  # of one answer: who reads on comes back with `Last-Event-ID`
_SILENT_S = 10.0  # until something is sent, so that who has gone is noticed

AskEvents = Callable[..., Awaitable[dict[str, Any]]]


class TrialStream(StreamingResponse):
    """An answer that goes on; it waits where its reader is slow, and ends where that has gone."""

    media_type = "text/event-stream"


async def event_texts(ask: AskEvents, told: Mapping[str, Any], last_id: int) -> AsyncIterator[str]:
    """Give events as text, until the trial's end.

    Args:
        ask: Asks for the events after one, with the arguments ``after`` and ``wait_s``.
        told: What it has answered first.
        last_id: Number of the event that the reader knew.
    """
    until_s = asyncio.get_running_loop().time() + LONGEST_S
    while True:
        for event in told["events"]:
            last_id = event["number"]
            yield f"id: {last_id}\nevent: progress\ndata: {json.dumps(event)}\n\n"
        if told["is_over"] or asyncio.get_running_loop().time() > until_s:
            return
        try:
            told = await ask(after=last_id, wait_s=_SILENT_S)
        except RefusedError:
            return  # the token is none any more, or the server is ending
        if not told["events"]:
            yield ": nothing new\n\n"
