"""What is a refused request answered with?"""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.responses import JSONResponse

from schedtuna.server.refusal import RefusedError
from schedtuna.wire import Problem


def refusal_response(error: RefusedError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return what a refused request is answered with, with more headers."""
    problem = Problem(kind=error.kind or "RefusedError", message=str(error), hint=error.hint or "")
    headers = {**(headers or {}), **({"WWW-Authenticate": "Bearer"} if error.status == 401 else {})}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return JSONResponse(problem.model_dump(mode="json"), status_code=error.status, headers=headers)
