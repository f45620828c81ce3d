"""How does a server listen?"""

from __future__ import annotations

import socket
from typing import Any

from schedtuna.errors import UsageError


def listen_on(
    family: socket.AddressFamily, address: Any, *, told: str, hint: str, backlog: int
) -> socket.socket:
    """Return a socket that listens.

    Args:
        family: Of the address.
        address: As `bind` takes it.
        told: What people call that.
        hint: What to do where it can't.
        backlog: How many connections may wait to be accepted.

    Raises:
        UsageError: It can't be listened on: somebody does, or the address is not this machine's.
    """
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(backlog)
    except OSError as error:
        found.close()
        raise UsageError(f"can't listen on {told}: {error.strerror}", hint=hint) from None
    return found
