"""How a program is installed on this distribution."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from schedtuna.machine.probe import Probe


@dataclass(frozen=True)
class Package:
    """Where a program comes from.

    Attributes:
        debian: Package of Debian and Ubuntu; empty: none.
        fedora: Package of Fedora; empty: none.
        ubuntu: Package of Ubuntu where it differs from Debian's.
        otherwise: What to do where there is no package.
    """

    debian: str = ""
    fedora: str = ""
    ubuntu: str = ""
    otherwise: str = ""


def distribution(probe: Probe) -> set[str]:
    """The distribution's ID and the IDs that it is like, from /etc/os-release."""
    text = probe.read("etc/os-release") or probe.read("usr/lib/os-release") or ""
    ids: set[str] = set()
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name in ("ID", "ID_LIKE"):
            ids.update(value.strip("\"' ").lower().split())
    return ids


def install_hint(probe: Probe, package: Package) -> str:
    """The command that installs a package here; elsewhere, the packages' names."""
    ids = distribution(probe)
    if "ubuntu" in ids and (package.ubuntu or package.debian):
        return f"apt install {shlex.quote(package.ubuntu or package.debian)}"
    if "debian" in ids and package.debian:
        return f"apt install {shlex.quote(package.debian)}"
    if "fedora" in ids and package.fedora:
        return f"dnf install {shlex.quote(package.fedora)}"
    if not ids & {"debian", "ubuntu", "fedora"} and (package.debian or package.fedora):
        named = {"Debian": package.debian, "Fedora": package.fedora}
        return "package " + " or ".join(f"{name} ({who})" for who, name in named.items() if name)
    return package.otherwise
