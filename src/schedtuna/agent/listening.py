"""Where may what shows the agent to others listen? On this machine's own addresses alone."""

from __future__ import annotations

import ipaddress
import socket

from schedtuna.errors import UsageError


def own_address(where: str, *, otherwise: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return the family and address that a text names.

    Args:
        where: ADDRESS:PORT of 127.0.0.0/8 or ::1.
        otherwise: What the text could be, too, for the error: empty, or such as `` and no path``.

    Raises:
        UsageError: It names none, or others could reach it.
    """
    host, _, port = where.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        number = int(port)
    except ValueError:
        raise UsageError(f"{where!r} is no ADDRESS:PORT{otherwise}", hint="such as 127.0.0.1:9798") from None
    if not address.is_loopback:
        raise UsageError(
            f"{address} can be reached from other machines, and what is served names what runs here",
            hint="bind 127.0.0.1, and tunnel (ssh -L) or put a proxy that asks who it is in front",
        )
    if not 0 <= number <= 65535:
        raise UsageError(f"there is no port {number}", hint="from 1 to 65535")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    return family, (str(address), number)
