"""Which addresses are there? HTTP to calls and back; nothing is decided here."""

from __future__ import annotations

import base64
import functools
from typing import Annotated, Any

from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import StringConstraints
from starlette.exceptions import HTTPException

from schedtuna import __version__
from schedtuna.server.admission import Admission
from schedtuna.server.answers import refusal_response
from schedtuna.server.event_stream import TrialStream, event_texts
from schedtuna.server.link import Link
from schedtuna.server.refusal import RefusedError
from schedtuna.wire import (
    LONGEST_POLL_S,
    SCHEDULER_NAME,
    SUBMIT_ID,
    Capabilities,
    Health,
    Problem,
    SchedulerAnswer,
    Submission,
    TrialStatus,
)

TrialId = Annotated[str, Path(pattern=f"^{SUBMIT_ID}$", description="The submit id.")]
KnobName = Annotated[str, StringConstraints(pattern=f"^{SCHEDULER_NAME}$")]
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "It is malformed.",
        401: "There is no token, or one that nobody has.",
        403: "The token's roles, or what the server allows, do not reach so far.",
        404: "There is no such trial, for all that the client may know.",
        408: "The body was too slow.",
        409: "The submit id is another trial's, the version is unknown, or the scheduler can't run.",
        413: "The body is too large.",
        422: "A value is not of its form.",
        429: "Too many requests, or trials that wait; Retry-After says when to ask again.",
        503: "Not now; Retry-After says when to ask again.",
        507: "Results that were not fetched take all the room there is.",
    }.items()
}

_STREAM = {
    "description": "Events named progress, whose data are of the form TrialProgress.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


def make_app(link: Link) -> Any:
    """Return the application.

    Args:
        link: Whom to ask.
    """
    app = FastAPI(
        title="schedtuna serve",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would send clients, and their tokens, to whatever host they name
    )

    async def ask(request: Request, verb: str, **arguments: Any) -> dict[str, Any]:
        return await link.call(verb, request.scope["token"], request.scope["peer"], **arguments)

    @app.get("/health", response_model=Health)
    async def health(request: Request) -> Any:
        """Say that the server is there."""
        return await ask(request, "health")

    @app.get("/capabilities", response_model=Capabilities, responses=_REFUSALS)
    async def capabilities(request: Request) -> Any:
        """Say what the server does, and on what machine."""
        return await ask(request, "capabilities")

    @app.get("/schedulers/{name}", response_model=SchedulerAnswer, responses=_REFUSALS)
    async def scheduler(
        request: Request,
        name: Annotated[str, Path(pattern=f"^{SCHEDULER_NAME}$")],
        tunable: bool = False,
        include: Annotated[list[KnobName] | None, Query(max_length=100)] = None,
    ) -> Any:
        """Say what can be set of a scheduler; `tunable`: what a search varies, with knobs to include."""
        return await ask(request, "scheduler", scheduler=name, tunable=tunable, include=include or [])

    @app.post("/trials", response_model=TrialStatus, status_code=202, responses=_REFUSALS)
    async def submit(request: Request, submission: Submission) -> Any:
        """Ask for a trial. Sent again it is the same one, which runs at most once."""
        return await ask(request, "submit", submission=submission.model_dump(mode="json"))

    @app.get("/trials/{trial_id}", response_model=TrialStatus, responses=_REFUSALS)
    async def status(
        request: Request,
        trial_id: TrialId,
        wait_s: Annotated[float, Query(ge=0, le=LONGEST_POLL_S)] = 0,
    ) -> Any:
        """Say where a trial stands, at once or when that changes; and renew the lease of one's own."""
        return await ask(request, "status", trial_id=trial_id, wait_s=wait_s)

    @app.get(
        "/trials/{trial_id}/events",
        response_class=Response,
        responses={**_REFUSALS, 200: _STREAM},
    )
    async def events(
        request: Request, trial_id: TrialId, last_event_id: Annotated[int, Header(ge=0, lt=2**31)] = 0
    ) -> Response:
        """Stream how far a trial is, until its end; what comes after `Last-Event-ID`. It renews no lease."""
        asked = functools.partial(ask, request, "events", trial_id=trial_id)
        return TrialStream(event_texts(asked, await asked(after=last_event_id, wait_s=0), last_event_id))

    @app.delete("/trials/{trial_id}", response_model=TrialStatus, responses=_REFUSALS)
    async def cancel(request: Request, trial_id: TrialId) -> Any:
        """End a trial with its whole tree; answered once all is put back."""
        return await ask(request, "cancel", trial_id=trial_id)

    @app.get("/trials/{trial_id}/trace", response_class=Response, responses=_REFUSALS)
    async def trace(
        request: Request, trial_id: TrialId, offset: Annotated[int, Query(ge=0, lt=2**40)] = 0
    ) -> Response:
        """Send a piece of the archive of a trial's trace, from an offset on; X-Total-Bytes is its size."""
        found = await ask(request, "trace", trial_id=trial_id, offset=offset)
        headers = {"X-Total-Bytes": str(found["nr_bytes"])}
        return Response(base64.b64decode(found["chunk"]), media_type="application/x-tar", headers=headers)

    @app.get("/metrics", response_class=PlainTextResponse, responses=_REFUSALS)
    async def metrics(request: Request) -> Any:
        """Say how much was done, for Prometheus."""
        return PlainTextResponse(
            (await ask(request, "metrics"))["text"], media_type="text/plain; version=0.0.4"
        )

    @app.exception_handler(RefusedError)
    async def refused(_request: Request, error: RefusedError) -> JSONResponse:
        return refusal_response(error)

    @app.exception_handler(HTTPException)
    async def unknown(_request: Request, error: HTTPException) -> JSONResponse:
        return refusal_response(RefusedError(error.status_code, error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return refusal_response(RefusedError(422, f"{where}: {first['msg']}"))

    return Admission(app, link)
