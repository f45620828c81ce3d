"""Who is it, and what may they do? Tokens of clients, in a file that is read again whenever it changes.

The file has a table per client, and no token: only what its SHA-256 is.

    [clients.learner]
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    roles = ["submit", "read"]
    expires = 2027-01-31T12:00:00Z
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from schedtuna.configfile import first_fault, load_config
from schedtuna.errors import ConfigFileError, UntrustedError, UsageError
from schedtuna.files import distrusted, write_bytes

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_TOKEN_BYTES = 32


class Role(StrEnum):
    """What a client may do."""

    SUBMIT = "submit"  # run trials, and see and end those of its own
    READ = "read"  # see every trial, and the metrics
    ADMIN = "admin"  # all of that, and end every trial


class ClientRow(BaseModel):
    """A row of the file.

    Attributes:
        sha256: Of the token, in hexadecimal.
        roles: What it may do.
        expires: From when on the token is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    expires: AwareDatetime | None = None

    def may(self, *roles: Role) -> bool:
        """Whether it has one of some roles."""
        return Role.ADMIN in self.roles or not set(roles).isdisjoint(self.roles)


def _named(clients: dict[str, ClientRow]) -> dict[str, ClientRow]:
    for name in clients:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name: expected letters, digits, - and _")
    return clients


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    clients: Annotated[dict[str, ClientRow], Field(max_length=1000), AfterValidator(_named)] = {}


class TokenFile:
    """The clients of a file.

    Args:
        path: The file.

    Raises:
        UntrustedError: Somebody else can write it.
        ConfigFileError: It can't be read, or is malformed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] = ()
        self._clients: dict[str, ClientRow] = {}
        self.problem = ""
        self._read()

    def find(self, token: str, *, now_s: float | None = None) -> tuple[str, ClientRow] | None:
        """Return the client that has a token, and its name; None: nobody, not any more, or too late.

        How long it takes does not depend on the token: all clients are compared, each in constant time.
        """
        self._read_again()
        digest = digest_of(token)
        now = datetime.fromtimestamp(time.time() if now_s is None else now_s, UTC)
        found = None
        for name, client in self._clients.items():
            if hmac.compare_digest(client.sha256, digest):
                found = name, client
        if found is None or (found[1].expires is not None and found[1].expires <= now):
            return None
        return found

    def _read_again(self) -> None:
        """Read the file if it has changed. One that can't be read lets nobody in: no token outlives it."""
        try:
            if self._identity() != self._seen:
                self._read()
        except (ConfigFileError, UntrustedError) as error:
            self._clients, self._seen, self.problem = {}, (), str(error)

    def _read(self) -> None:
        if self.path.exists() and (problem := distrusted(self.path.resolve())):
            raise UntrustedError(
                f"{self.path} says who may run what here, but {problem}",
                hint="keep it in a folder of yours alone",
            )
        self._seen, self._clients, self.problem = self._identity(), read_clients(self.path), ""

    def _identity(self) -> tuple[int, ...]:
        try:
            status = os.stat(self.path)  # noqa: PTH116 - its fields
        except OSError as error:
            raise ConfigFileError(
                f"can't read {self.path}: {error.strerror}",
                hint="`schedtuna serve --add-client NAME` writes a file of tokens",
            ) from None
        return status.st_ino, status.st_mtime_ns, status.st_size, status.st_ctime_ns


def read_clients(path: Path) -> dict[str, ClientRow]:
    """Return the clients of a file.

    Raises:
        ConfigFileError: It can't be read, or is malformed.
    """
    try:
        return _Content.model_validate(load_config(path, ".toml")).clients
    except ValidationError as error:
        raise ConfigFileError(
            f"{path}: {first_fault(error)}", hint="`schedtuna serve --add-client NAME` writes such a file"
        ) from None


def add_client(
    path: Path, name: str, roles: Sequence[Role] = (Role.SUBMIT,), *, expires: datetime | None = None
) -> str:
    """Give a client a new token, in place of one that it has, and return it: nothing else has it.

    Raises:
        UsageError: It can't be called so.
        ConfigFileError: The file is malformed.
        OSError: It can't be written.
    """
    import tomli_w

    if not _NAME.fullmatch(name):
        raise UsageError(f"a client can't be called {name!r}", hint="take letters, digits, - and _")
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    clients = read_clients(path) if path.exists() else {}
    clients[name] = ClientRow(sha256=digest_of(token), roles=tuple(roles), expires=expires)
    content: dict[str, Any] = {
        "clients": {
            key: {
                "sha256": one.sha256,
                "roles": [str(role) for role in one.roles],
                **({"expires": one.expires} if one.expires else {}),
            }
            for key, one in clients.items()
        }
    }
    write_bytes(path, tomli_w.dumps(content).encode(), mode=0o600)
    return token


def digest_of(token: str) -> str:
    """Return what the file has of a token."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
