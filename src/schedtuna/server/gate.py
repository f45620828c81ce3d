"""May this client ask for this, now? Tokens, roles and rates."""

from __future__ import annotations

import time

from schedtuna.server.rates import RequestRates
from schedtuna.server.refusal import RefusedError
from schedtuna.server.tokens import ClientRow, Role, TokenFile

PER_S, BURST = 100.0, 500.0  # of one client
FAILURES_PER_S, FAILURES_BURST = 0.2, 20.0  # tokens that are none, of one address


class Gate:
    """Who may do what.

    Args:
        tokens: Everybody who may do anything.
    """

    def __init__(self, tokens: TokenFile) -> None:
        self._tokens = tokens
        self._rates = RequestRates(PER_S, BURST)
        self._failures = RequestRates(FAILURES_PER_S, FAILURES_BURST)

    def admit(self, token: str, peer: str, *, counted: bool) -> tuple[str, ClientRow]:
        """Return the client that a token is of, and its name.

        Args:
            token: What was sent.
            peer: The address that it came from.
            counted: Whether this is a request of its own, and not the second look at one.

        Raises:
            RefusedError: It is nobody's, or its client asks too often.
        """
        now_s = time.monotonic()
        if not self._failures.may(peer, now_s):
            raise RefusedError(
                429, "too many wrong tokens came from this address", hint="wait", retry_after_s=10
            )
        found = self._tokens.find(token)
        if found is None:
            self._failures.take(peer, now_s)
            raise RefusedError(
                401,
                "expected a token: 'Authorization: Bearer TOKEN', of a client of this server, not expired",
                hint="`schedtuna serve --add-client NAME` on the server gives one",
            )
        if counted and not self._rates.take(found[0], now_s):
            raise RefusedError(
                429, f"more than {PER_S:g} requests a second", hint="ask less often", retry_after_s=1
            )
        return found


def require(client: ClientRow, *roles: Role) -> None:
    """Refuse a client that has none of some roles.

    Raises:
        RefusedError: It has none.
    """
    if not client.may(*roles):
        raise RefusedError(
            403,
            f"this takes the role {' or '.join(roles)}, and the token has {', '.join(client.roles)}",
            hint="the server's file of tokens says who has which",
        )
