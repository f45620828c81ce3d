"""`schedtuna serve`: run workloads on this machine for others, which ask over HTTP."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from schedtuna.cli.bundles import bundled
from schedtuna.cli.common import listed, parse_positive_duration
from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.errors import MissingExtraError, UsageError, nearest

app = typer.Typer(add_completion=False)

_EXTRA = ("fastapi", "uvicorn")
_PORT = 8787
_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")


@app.command()
@bundled
def serve(
    *,
    bind: Annotated[
        str, typer.Option("--bind", metavar="HOST[:PORT]", help="Where to listen; port 0: any that is free.")
    ] = f"127.0.0.1:{_PORT}",
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE.toml",
            help="Who may do what; read again whenever it changes. Default: one in --state, with one client.",
            show_default=False,
        ),
    ] = None,
    add_client: Annotated[
        str | None,
        typer.Option(
            "--add-client",
            metavar="NAME[:ROLE,...]",
            help="Only give a client of --token-file a new token, and print it. Roles: submit (the default), "
            "read, admin.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="30d",
            help="With --add-client: how long the token holds.",
            show_default=False,
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate.", show_default=False)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="Its key.", show_default=False)
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            "--suite",
            metavar="NAME",
            help="Run this bundled workload only. Repeatable. Default: all of them.",
            show_default=False,
        ),
    ] = None,
    allow_commands: Annotated[
        bool, typer.Option("--allow-commands", help="Also run commands of the clients' own; not as root.")
    ] = False,
    user: Annotated[
        str | None,
        typer.Option(
            "--user", metavar="NAME", help="Run workloads as this user; needs root.", show_default=False
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="DIR",
            help="Where trials are kept. Default: `serve` beside the journal.",
            show_default=False,
        ),
    ] = None,
    time_limit: Annotated[
        str, typer.Option("--time-limit", metavar="1h", help="The longest that a trial may take.")
    ] = "1h",
    queue: Annotated[int, typer.Option("--queue", min=0, max=1000, help="How many trials may wait.")] = 16,
    quota: Annotated[int, typer.Option("--quota", min=1, help="MiB that results may take.")] = 256,
    as_json: JsonOption = False,
) -> None:
    """Run workloads on this machine for others, who say `--backend http://HOST:PORT`.

    One trial at a time; bundled workloads only, unless --allow-commands. Whoever asks needs a token;
    listening beyond this machine takes TLS, too: docs/remote.md has it all. Ctrl-C or SIGTERM ends it; what
    runs then is ended, and put back.
    """
    from schedtuna.knobs.state import state_directory

    if add_client is not None:
        _add_client(token_file, add_client, expires, as_json=as_json)
        return
    if expires is not None:
        raise UsageError("--expires needs --add-client")
    if not all(importlib.util.find_spec(name) for name in _EXTRA):
        raise MissingExtraError("serve", "server")
    from schedtuna.server.allowed import Allowed, suite_names
    from schedtuna.server.serving import ServerOptions
    from schedtuna.server.serving import serve as run_server
    from schedtuna.workload.identity import find_identity
    from schedtuna.workload.suite import ROWS

    if user is not None:
        find_identity(user)
    host, port = parse_address(bind)
    options = ServerOptions(
        host=host,
        port=port,
        state=state or state_directory() / "serve",
        allowed=Allowed(
            workloads=suite_names(listed(suite), [row.name for row in ROWS]),
            commands=allow_commands,
            user=user,
            longest_s=parse_positive_duration(time_limit, option="--time-limit"),
            most_waiting=queue,
        ),
        tokens=token_file,
        tls_cert=tls_cert,
        tls_key=tls_key,
        quota_bytes=quota << 20,
    )

    def ready(url: str, own_token: Path | None) -> None:
        if as_json:
            print_json({"url": url, "pid": os.getpid(), "token_file": str(own_token) if own_token else None})
        say(f"serving on {url}; Ctrl-C ends it")
        if own_token is not None:
            say(f"from this machine: --backend {url} --token-file {own_token}")

    run_server(options, say, ready)


def say(text: str) -> None:
    """Tell people something."""
    print_remark("serve", text, file=sys.stderr)


def parse_address(text: str) -> tuple[str, int]:
    """Return the host and port of a text such as ``0.0.0.0:8787`` or ``[::1]``.

    Raises:
        UsageError: It is none.
    """
    found = _ADDRESS.fullmatch(text)
    port = int(found["port"] or _PORT) if found else -1
    if found is None or port > 0xFFFF:
        raise UsageError(
            f"--bind {text}: expected HOST:PORT", hint="--bind 127.0.0.1:8787, --bind [::1]:8787"
        )
    return found["six"] or found["host"], port


def _add_client(path: Path | None, text: str, expires: str | None, *, as_json: bool) -> None:
    from datetime import UTC, datetime, timedelta

    from schedtuna.server.tokens import Role, add_client

    if path is None:
        raise UsageError(
            "--add-client needs --token-file", hint="--token-file FILE.toml; it need not be there"
        )
    name, _, said = text.partition(":")
    for role in filter(None, said.split(",")):
        if role not in list(Role):
            raise UsageError(f"there is no role {role!r}: {nearest(role, Role)}")
    roles = [Role(role) for role in said.split(",") if role] or [Role.SUBMIT]
    seconds = None if expires is None else parse_positive_duration(expires, option="--expires")
    until = None if seconds is None else datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
    token = add_client(path, name, roles, expires=until)
    if as_json:
        print_json(
            {"client": name, "roles": [str(role) for role in roles], "token": token, "file": str(path)}
        )
    else:
        print(token)
    say(f"{name} has a new token, with {', '.join(roles)}; the one that it had is none any more")
