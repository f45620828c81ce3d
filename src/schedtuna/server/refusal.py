"""What is a request refused with? An error that has an HTTP status."""

from __future__ import annotations

from schedtuna.errors import SchedtunaError


class RefusedError(SchedtunaError):
    """A request is refused.

    Args:
        status: Of HTTP.
        message: What happened, and what was expected.
        hint: What to do next.
        retry_after_s: When to ask again; None: never.
        kind: Name of the error's class, where it is another one's that travels.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        hint: str | None = None,
        retry_after_s: int | None = None,
        kind: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after_s = retry_after_s
        self.kind = kind
