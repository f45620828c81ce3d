"""May this request be answered? Pure: it looks at the headers (names in small letters) that were sent.

Any web page that a browser shows may send requests to this machine's own addresses. What keeps it out:

- `Host` has to be an address of this machine's own: a name that was made to mean 127.0.0.1 (DNS rebinding) is
  another one.
- `Origin` and `Sec-Fetch-Site`, where a browser sends them, have to be this page's; to change something,
  `Origin` has to be there.
- The token comes in `Authorization`, which no browser adds by itself. There is no cookie: cookies know no
  ports, so that whatever else listens on this machine would be sent it, `SameSite` or not.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

MOST_BODY_BYTES = 4096
_JSON = "application/json"


@dataclass(frozen=True)
class PageRefusal:
    """Why a request is not answered.

    Attributes:
        status: Of HTTP.
        message: What happened, and what was expected.
    """

    status: int
    message: str


def strange(headers: Mapping[str, str]) -> PageRefusal | None:
    """Refuse what another site's page makes a browser ask, and what was asked by another name."""
    host = headers.get("host", "")
    if not _is_own(host):
        return PageRefusal(421, "expected an address of this machine's own, such as 127.0.0.1, as Host")
    if headers.get("origin", f"http://{host}") != f"http://{host}":
        return PageRefusal(403, "the request comes from a page of another origin")
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return PageRefusal(403, "the request comes from a page of another site")
    return None


def unknown_client(headers: Mapping[str, str], token_digest: str) -> PageRefusal | None:
    """Refuse who does not have the token."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not hmac.compare_digest(digest(token.strip()), token_digest):
        return PageRefusal(401, "expected the token that `schedtuna agent page` has printed")
    return None


def careless(headers: Mapping[str, str]) -> PageRefusal | None:
    """Refuse a change that does not say which page asks for it, or is of another form than expected."""
    if "origin" not in headers:
        return PageRefusal(403, "expected an Origin: whoever changes something says which page asks for it")
    if headers.get("content-type", "").partition(";")[0].strip() != _JSON:
        return PageRefusal(415, f"expected {_JSON}")
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdecimal()):
        return PageRefusal(411, "expected a Content-Length")
    if len(length) > 9 or int(length) > MOST_BODY_BYTES:
        return PageRefusal(413, f"expected at most {MOST_BODY_BYTES} bytes")
    return None


def digest(token: str) -> str:
    """Return what is kept of a token by who need not know it."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _is_own(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
