"""In which environment is a policy trained or judged, and on which machine? Options of `schedtuna rl`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from schedtuna.cli.options import TokenFileOption
from schedtuna.errors import UsageError

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEYWORD=VALUE",
        help="A keyword of the environment, such as cpus=2 or decision_ns=500; values are JSON or text. "
        "Repeatable.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class LivePlaceOptions:
    """Where an environment runs that measures."""

    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            metavar="host|vm|URL",
            help="Where schedtuna/LiveSwap-v0 runs its loads; of another machine the URL of its `schedtuna "
            "serve`. Default: host.",
            show_default=False,
        ),
    ] = None
    token_file: TokenFileOption = None

    def parameters(self, environment: str = "") -> dict[str, Any]:
        """Return the keywords of the environment that say so.

        Args:
            environment: Its id; empty: not known yet.

        Raises:
            UsageError: It is simulated, or the place is none.
        """
        if self.backend is None and self.token_file is None:
            return {}
        from schedtuna.backend.places.registry import make_place
        from schedtuna.env.registration import LIVE

        if environment and environment not in LIVE:
            raise UsageError(
                f"{environment} is simulated, and is nowhere",
                hint=f"--backend is for what measures: {', '.join(LIVE)}",
            )
        place = {} if self.backend is None else {"place": self.backend}
        token = {} if self.token_file is None else {"token_file": str(self.token_file.absolute())}
        if self.backend is not None:
            make_place(self.backend, {"token_file": self.token_file})
        return place | token


def set_parameters(texts: list[str] | None) -> dict[str, Any]:
    """The keywords that ``KEYWORD=VALUE`` texts mean; a value that is no JSON is a text."""
    from schedtuna.configfile import parse_json

    found: dict[str, Any] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier()):
            raise UsageError(f"--set {text}: expected KEYWORD=VALUE", hint="--set cpus=2")
        if name in found:
            raise UsageError(f"--set sets {name} twice", hint="leave one of them out")
        try:
            found[name] = parse_json(value)
        except ValueError:
            found[name] = value
    return found
