"""A turn of a knob that is planned: what the journal writes down before it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedtuna.knobs.records import Change

Step = Callable[[str], None]  # is told what happens next


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Turn:
    """A turn of a knob that is planned; `Journal.carry_out` writes it down, and then makes it.

    Attributes:
        knob: Name of the knob.
        changes: What may be changed, for the journal; what goes with another knob's change is not in it.
        make: Makes it, and tells its steps. Raises KnobError where the kernel refuses.
        cancel: Gives back what planning took, where it is not to be made.
    """

    knob: str
    changes: Sequence[Change]
    make: Callable[[Step], None]
    cancel: Callable[[], None] = _nothing
