"""How the text of the kernel's setting files and the values of parameters become each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from schedtuna.space import ParameterType, ParameterValue


@dataclass(frozen=True)
class Format:
    """How a file's text and a parameter's value become each other.

    Attributes:
        type: Kind of the parameter.
        read: Text to value.
        write: Value to text.
        low: Smallest value offered (numbers).
        high: Largest value offered (numbers).
        log: Whether ratios matter.
        unit: Of the value.
        choices: All choices, given the file's text (categorical).
    """

    type: ParameterType
    read: Callable[[str], ParameterValue]
    write: Callable[[ParameterValue], str]
    low: int | None = None
    high: int | None = None
    log: bool = False
    unit: str = ""
    choices: Callable[[str], tuple[str, ...]] = lambda _: ()


def number(low: int, high: int, *, scale: int = 1, unit: str = "", log: bool = True) -> Format:
    """A whole number; the file has it `scale` times as large (1000 for us kept in ns)."""
    return Format(
        ParameterType.INTEGER,
        read=lambda text: round(int(text) / scale),
        write=lambda value: str(int(value) * scale),  # type: ignore[arg-type]  # the spec makes it an int
        low=low,
        high=high,
        log=log,
        unit=unit,
    )


SWITCH = Format(
    ParameterType.BOOLEAN,
    read=lambda text: {"0": False, "1": True}[text.strip()],
    write=lambda value: "1" if value else "0",
)
# sched/preempt shows "none voluntary (full) lazy"
BRACKETED = Format(
    ParameterType.CATEGORICAL,
    read=lambda text: (re.findall(r"\((\w+)\)", text) or [text.strip()])[0],
    write=str,
    choices=lambda text: tuple(re.findall(r"\w+", text)),
)
_SCALINGS = ("none", "log", "linear")  # enum sched_tunable_scaling
SCALING = Format(
    ParameterType.CATEGORICAL,
    read=lambda text: _SCALINGS[int(text)],
    write=lambda value: str(_SCALINGS.index(str(value))),
    choices=lambda _: _SCALINGS,
)


def feature(name: str) -> Format:
    """One bit of sched/features, which shows NAME or NO_NAME and takes either."""
    return Format(
        ParameterType.BOOLEAN,
        read=lambda text: name in text.split(),
        write=lambda value: name if value else f"NO_{name}",
    )
