"""A guest that is up, in spite of the odd boot that fails."""

from __future__ import annotations

from schedtuna.lab.errors import BootError
from schedtuna.lab.store import Lab
from schedtuna.lab.vm import Guest, GuestSpec


def boot(lab: Lab, spec: GuestSpec) -> tuple[Guest, int]:
    """Boot a guest, trying a second time where the first does not come up.

    Returns:
        The guest, and how many boots failed.

    Raises:
        BootError: Neither came up.
        UsageError: A program or the shared folder can't be had.
    """
    try:
        return Guest(lab, spec), 0
    except BootError:
        return Guest(lab, spec), 1
