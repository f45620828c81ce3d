"""What can go wrong with the lab."""

from __future__ import annotations

from typing import ClassVar

from schedtuna.errors import SchedtunaError


class LabError(SchedtunaError):
    """The lab, or one of its guests, does not work."""


class BootError(LabError):
    """A guest never came up; the end of its console is in the message."""

    exit_code: ClassVar[int] = 3  # never the command's failure


class GuestError(LabError):
    """A guest that was up died, hung, or refused an order."""
