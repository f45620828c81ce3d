"""What could be tuned of a scheduler that nobody registered?

Its `--help` says what it takes, and hardly ever within which bounds: those are guesses, to be mended.
"""

from __future__ import annotations

import re
from typing import Any

from schedtuna.scheduler.help_text import HelpFlag
from schedtuna.space import ParameterSpec, ParameterType

# No settings: what every program has, and options of libbpf's loader that come with its bindings.
COMMON_FLAGS = frozenset(
    {
        "--help",
        "--version",
        "--relaxed-maps",
        "--pin-root-path",
        "--kconfig",
        "--btf-custom-path",
        "--bpf-token-path",
    }
)
# What schedulers print or measure, rather than how they schedule.
NO_SETTINGS = frozenset(
    {
        "--stats",
        "--monitor",
        "--verbose",
        "--debug",
        "--help-stats",
        "--exit-dump-len",
        "--partial",
        "--log-level",
        "--run-id",
        "--print-and-exit",
    }
)
_LONG_FLAG = re.compile(r"--[A-Za-z_][A-Za-z0-9_-]*")
_NUMBER = re.compile(r"(?P<number>[0-9]{1,15}|[0-9]{0,15}\.[0-9]{1,15})(?P<unit>ns|us|ms|s)?")
_AROUND = 10  # a search tries a tenth of a default up to ten times it
# "(0-100)", "from 0 to 100", "between 0 and 100", "range: 0..100"
_RANGE = re.compile(
    r"(?:\bfrom|\bbetween|\brange:?|[(\[]) ?(-?[0-9]{1,15}(?:\.[0-9]{1,15})?) ?(?:to|and|-|\.\.=?|,) ?"
    r"(-?[0-9]{1,15}(?:\.[0-9]{1,15})?)(?![\w.]*\w)"
)
_PERCENT = re.compile(r"\bpercent|pct\b|_pct_", re.IGNORECASE)
_UNITS = (
    ("us", re.compile(r"_us\b|_us_|\bmicroseconds?\b|\busecs?\b")),
    ("ms", re.compile(r"_ms\b|_ms_|\bmilliseconds?\b|\bmsecs?\b")),
    ("ns", re.compile(r"_ns\b|_ns_|\bnanoseconds?\b|\bnsecs?\b")),
    ("s", re.compile(r"_s\b|_secs?\b|\bseconds?\b|\bsecs?\b")),
)


def guess(flag: HelpFlag) -> ParameterSpec | str:
    """Return the parameter that a flag could be in a search, or why it is none."""
    if flag.flag in COMMON_FLAGS | NO_SETTINGS:
        return "it does not say how tasks are scheduled"
    if not _LONG_FLAG.fullmatch(flag.flag):
        return "its name can't be a parameter's"
    if flag.is_deprecated:
        return "it is deprecated"
    if flag.kind == "count" or flag.repeated:
        return "it can be given several times"
    name = flag.flag.lstrip("-").replace("-", "_")
    common: dict[str, Any] = {"name": name, "description": flag.summary()}
    if flag.kind == "switch":
        return ParameterSpec(type=ParameterType.BOOLEAN, default=False, command_arg=flag.flag, **common)
    if flag.default is None:
        return "its default is not known"
    if flag.kind == "boolean":
        common["command_arg"] = f"{flag.flag}={{value}}"
        return ParameterSpec(type=ParameterType.BOOLEAN, default=flag.default == "true", **common)
    common["command_arg"] = flag.flag
    if flag.choices:
        if flag.default not in flag.choices:
            return f"its default {flag.default!r} is none of its values"
        return ParameterSpec(
            type=ParameterType.CATEGORICAL, default=flag.default, choices=flag.choices, **common
        )
    return _number(flag, common)


def _number(flag: HelpFlag, common: dict[str, Any]) -> ParameterSpec | str:
    found = _NUMBER.fullmatch(flag.default or "")
    if found is None:
        return f"its default {(flag.default or '')[:20]!r} is not a number"
    digits, unit = found["number"], found["unit"] or ""
    about = f"{common['name']} {flag.text}"
    whole = digits.isdigit()
    default: float = int(digits) if whole else float(digits)
    bounds = _stated(about, default) or _around(default, whole=whole)
    if bounds is None:
        return f"no bounds follow from a default of {digits}"
    low, high = map(int, bounds) if whole else bounds
    if unit:
        common["command_arg"] = f"{flag.flag}={{value}}{unit}"
    return ParameterSpec(
        type=ParameterType.INTEGER if whole else ParameterType.FLOAT,
        default=default,
        min_value=low,
        max_value=high,
        log=low > 0 and high >= _AROUND * low,
        unit=unit or _unit(about),
        **common,
    )


def _stated(about: str, default: float) -> tuple[float, float] | None:
    """The bounds that the text states."""
    for low, high in _RANGE.findall(about):
        if float(low) <= default <= float(high):
            return float(low), float(high)
    return (0.0, 100.0) if _PERCENT.search(about) and default <= 100 else None


def _around(default: float, *, whole: bool) -> tuple[float, float] | None:
    if not default:
        return None
    return (max(1, default // _AROUND) if whole else default / _AROUND), default * _AROUND


def _unit(about: str) -> str:
    if _PERCENT.search(about):
        return "%"
    return next((unit for unit, words in _UNITS if words.search(about)), "")
