"""What is the process that serves HTTP started with? It imports no HTTP, so that who starts it need not."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrontOrder(BaseModel):
    """What it is started with.

    Attributes:
        listening: Descriptor of the socket that listens.
        link: Descriptor of the socket to the process that decides.
        tls_cert, tls_key: Files of TLS; empty: none.
        ids: User and group as which it runs; None: as it was started.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    listening: int
    link: int
    tls_cert: str = ""
    tls_key: str = ""
    ids: tuple[int, int] | None = None
