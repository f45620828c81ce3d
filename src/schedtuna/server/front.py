"""Serves HTTP, and nothing else: a process that knows no token, runs nothing, and gives up its privilege.

OVERHEAD: about 60 MiB of memory; while nobody asks, no CPU time.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from schedtuna.configfile import parse_json
from schedtuna.kernel.privilege import give_up_privilege
from schedtuna.server.app import make_app
from schedtuna.server.link import MOST_LINE_BYTES, Link
from schedtuna.server.orders import FrontOrder

READY = "ready"
_HEAD_LIMIT_S = 10.0
_MOST_CONNECTIONS = 1000


class HastyProtocol(H11Protocol):
    """Closes connections whose request's head does not come in time: each would take a place for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(_HEAD_LIMIT_S, self._end_without_request)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._head_timer.cancel()
        super().connection_lost(exc)

    def _end_without_request(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


async def _serve(order: FrontOrder) -> None:
    reader, writer = await asyncio.open_unix_connection(
        sock=socket.socket(fileno=order.link), limit=MOST_LINE_BYTES
    )
    link = Link(reader, writer)
    config = uvicorn.Config(
        make_app(link),
        http=HastyProtocol,
        ws="none",
        lifespan="off",
        ssl_certfile=order.tls_cert or None,
        ssl_keyfile=order.tls_key or None,
        access_log=False,
        log_level="error",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=16 << 10,
    )
    config.load()  # reads the key, which whom we are about to become may not
    give_up_privilege(order.ids)
    server = uvicorn.Server(config)
    listening = asyncio.create_task(link.listen())
    serving = asyncio.create_task(server.serve(sockets=[socket.socket(fileno=order.listening)]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    sys.stdout.write(READY + "\n")
    sys.stdout.flush()
    await asyncio.wait({listening, serving}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving


def main(argument: str) -> None:
    """Serve until the process that decides has gone, or SIGTERM."""
    order: Any = parse_json(argument)
    asyncio.run(_serve(FrontOrder.model_validate(order)))


if __name__ == "__main__":
    main(sys.argv[1])
