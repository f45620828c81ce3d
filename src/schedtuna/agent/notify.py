"""Telling systemd that a service is ready, alive or stopping (sd_notify(3)); nothing where none asks."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(*lines: str) -> bool:
    """Send lines such as ``READY=1`` to the socket that NOTIFY_SOCKET names; return whether there is one."""
    place = os.environ.get("NOTIFY_SOCKET")
    if not place:
        return False
    address = f"\0{place[1:]}" if place.startswith("@") else place
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.connect(address)
        line.sendall("\n".join(lines).encode())
        return True
    return False
