"""How does a server begin and end? This process decides, and starts the one that serves HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.files import make_folder, open_for_writing, write_text
from schedtuna.kernel.privilege import unprivileged_ids
from schedtuna.server.allowed import Allowed
from schedtuna.server.gate import Gate
from schedtuna.server.link import MOST_LINE_BYTES, answer_all
from schedtuna.server.orders import FrontOrder
from schedtuna.server.service import Service
from schedtuna.server.store import TrialStore
from schedtuna.server.tokens import Role, TokenFile, add_client
from schedtuna.server.turns import Turns
from schedtuna.sockets import listen_on

TOKENS_NAME, OWN_TOKEN_NAME = "tokens.toml", "token"
_OWN_CLIENT = "local"
_READY_LIMIT_S = 300.0  # where it fails it ends, which is seen at once; an emulated machine imports for long
_END_LIMIT_S = 5.0


@dataclass(frozen=True)
class ServerOptions:
    """What a server is started with.

    Attributes:
        host, port: Where it listens; port 0: any that is free.
        state: Its folder.
        allowed: What clients may have run.
        tokens: The file of tokens; None: one in its folder, with one client whose token is beside it.
        tls_cert, tls_key: Files of TLS.
        quota_bytes: How much all results may take.
    """

    host: str
    port: int
    state: Path
    allowed: Allowed
    tokens: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    quota_bytes: int = 256 << 20

    @property
    def scheme(self) -> str:
        """Of its URL."""
        return "https" if self.tls_cert else "http"

    def anywhere(self) -> ServerOptions:
        """Return the same with absolute paths: its processes work in folders of their own."""
        paths = {name: getattr(self, name) for name in ("state", "tokens", "tls_cert", "tls_key")}
        return replace(self, **{name: path.absolute() for name, path in paths.items() if path is not None})

    def require_sound(self) -> None:
        """Refuse what would be open to strangers.

        Raises:
            UsageError: It would listen beyond this machine without tokens and TLS, or run commands as root.
        """
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("TLS takes a certificate and its key", hint="give --tls-cert and --tls-key")
        for file in (self.tls_cert, self.tls_key):
            if file is not None and not file.is_file():
                raise UsageError(f"there is no file {file}")
        if not is_loopback(self.host) and (self.tokens is None or self.tls_cert is None):
            raise UsageError(
                f"{self.host} can be reached from other machines: that takes tokens of your own and TLS",
                hint="give --token-file, --tls-cert and --tls-key; or listen on 127.0.0.1, and tunnel: "
                "ssh -L 8787:127.0.0.1:8787 HOST",
            )
        if self.allowed.commands and os.geteuid() == 0 and (self.allowed.user or "root") == "root":
            raise UsageError(
                "clients' commands are not run as root", hint="say as whom: --allow-commands --user NAME"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name may mean any, but for `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    options: ServerOptions, say: Callable[[str], None], ready: Callable[[str, Path | None], None]
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        options: See there.
        say: Told what people should know, a line at a time.
        ready: Told the URL, and where a token for this machine is, once requests are answered.

    Raises:
        UsageError: The options contradict each other, or the address can't be had.
        UnavailableError: Another server has the folder, or the process that serves HTTP does not start.
    """
    options.require_sound()
    options = options.anywhere()
    make_folder(options.state, mode=0o700)
    with _locked(options.state), contextlib.closing(_listening(options.host, options.port)) as listening:
        tokens, own_token = _tokens(options)
        asyncio.run(_serve(options, listening, Gate(tokens), say, lambda url: ready(url, own_token)))


async def _serve(
    options: ServerOptions,
    listening: socket.socket,
    gate: Gate,
    say: Callable[[str], None],
    ready: Callable[[str], None],
) -> None:
    store = TrialStore(options.state / "trials", quota_bytes=options.quota_bytes)
    turns = Turns(options.allowed, store, say)
    service = Service(options.allowed, store, gate, turns)
    await turns.recover()
    ours, theirs = socket.socketpair()
    front = _start_front(options, listening, theirs)
    theirs.close()
    reader, writer = await asyncio.open_unix_connection(sock=ours, limit=MOST_LINE_BYTES)
    tasks = {
        asyncio.create_task(answer_all(reader, writer, service.call, say)),
        asyncio.create_task(turns.work()),
        asyncio.create_task(_ended_by_signal()),
    }
    try:
        await _until_ready(front)
        host, port = listening.getsockname()[:2]
        ready(f"{options.scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
        _end(front)
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
    if front.returncode not in (0, -signal.SIGTERM):
        raise UnavailableError(f"the process that serves HTTP has died (exit code {front.returncode})")


async def _ended_by_signal() -> None:
    """Return once this process is told to end."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, told.set)
    await told.wait()


def _start_front(
    options: ServerOptions, listening: socket.socket, link: socket.socket
) -> subprocess.Popen[str]:
    order = FrontOrder(
        listening=listening.fileno(),
        link=link.fileno(),
        tls_cert=str(options.tls_cert or ""),
        tls_key=str(options.tls_key or ""),
        ids=unprivileged_ids(),
    )
    return subprocess.Popen(
        [sys.executable, "-m", "schedtuna.server.front", order.model_dump_json()],
        pass_fds=(listening.fileno(), link.fileno()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        start_new_session=True,  # Ctrl-C reaches this process alone, which ends it last
    )


async def _until_ready(front: subprocess.Popen[str]) -> None:
    assert front.stdout is not None
    try:
        line = await asyncio.wait_for(asyncio.to_thread(front.stdout.readline), _READY_LIMIT_S)
    except TimeoutError:
        line = ""
    if not line:
        raise UnavailableError(
            "the process that serves HTTP did not start",
            hint="what it printed is above; are cert and key a pair?",
        )


def _end(front: subprocess.Popen[str]) -> None:
    front.terminate()
    try:
        front.wait(_END_LIMIT_S)
    except subprocess.TimeoutExpired:
        front.kill()
        front.wait()


def _tokens(options: ServerOptions) -> tuple[TokenFile, Path | None]:
    """Return the file of tokens, and where a token of it is; without one, both are made."""
    if options.tokens is not None:
        return TokenFile(options.tokens), None
    path, own = options.state / TOKENS_NAME, options.state / OWN_TOKEN_NAME
    if not (path.exists() and own.exists()):
        token = add_client(path, _OWN_CLIENT, (Role.ADMIN,))
        write_text(own, token + "\n", mode=0o600)
    return TokenFile(path), own


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(f"can't listen on {host}: {error.strerror}") from None
    hint = "choose another one with --bind HOST:PORT"
    return listen_on(family, address, told=f"{host}:{port}", hint=hint, backlog=512)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = open_for_writing(folder / "lock", os.O_RDWR | os.O_CREAT, mode=0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnavailableError(
                f"another server works in {folder}", hint="end it, or choose another folder with --state"
            ) from None
        yield
    finally:
        os.close(descriptor)
