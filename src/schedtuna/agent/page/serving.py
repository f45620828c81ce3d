"""How is the page served? Two processes: one asks the agent, the other, without privilege, speaks HTTP."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from schedtuna.agent.listening import own_address
from schedtuna.agent.page.admission import digest
from schedtuna.agent.page.broker import PageBroker
from schedtuna.errors import UnavailableError
from schedtuna.kernel.privilege import unprivileged_ids
from schedtuna.sockets import listen_on

DEFAULT_PORT = 9799
_END_LIMIT_S = 5.0


def serve_page(where: str, ready: Callable[[str, str], None], directory: Path | None = None) -> None:
    """Serve the page until this process is interrupted.

    Args:
        where: ADDRESS:PORT of this machine's own; port 0: any that is free.
        ready: Told the URL and the token, once requests are answered.
        directory: The journal's folder.

    Raises:
        UsageError: There is no such address, others could reach it, or it can't be had.
        UnavailableError: The process that speaks HTTP does not start, or has died.
    """
    token = secrets.token_urlsafe(24)
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(contextlib.closing(_listening(where)))
        ours, theirs = socket.socketpair()
        stack.enter_context(contextlib.closing(ours))
        with contextlib.closing(theirs):
            front = _start_front(listening, theirs, digest(token))
        stack.callback(_end, front)
        assert front.stdout is not None
        if not front.stdout.readline():
            raise UnavailableError("the process that serves the page did not start")
        host, port = listening.getsockname()[:2]
        ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/", token)
        PageBroker(digest(token), directory).serve(ours)
        raise UnavailableError("the process that serves the page has died", hint="start it again")


def _listening(where: str) -> socket.socket:
    family, address = own_address(where, otherwise="")
    hint = "choose another port with --listen; 127.0.0.1:0 takes any that is free"
    return listen_on(family, address, told=where, hint=hint, backlog=64)


def _start_front(listening: socket.socket, link: socket.socket, token_digest: str) -> subprocess.Popen[bytes]:
    order = {
        "listening": listening.fileno(),
        "link": link.fileno(),
        "token_digest": token_digest,
        "ids": unprivileged_ids(),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "schedtuna.agent.page.front", json.dumps(order)],
        pass_fds=(listening.fileno(), link.fileno()),
        stdin=subprocess.PIPE,  # at its end it ends
        stdout=subprocess.PIPE,
        cwd="/",
        start_new_session=True,  # Ctrl-C reaches this process alone, which ends it
    )


def _end(front: subprocess.Popen[bytes]) -> None:
    front.terminate()
    try:
        front.wait(_END_LIMIT_S)
    except subprocess.TimeoutExpired:
        front.kill()
        front.wait()
