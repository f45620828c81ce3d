"""Does a knob keep the contract? Checks that every knob here passes, where it can be turned.

from schedtuna.knobs.conformance import check_knob

check_knob(MyKnob(), Target(Scope.PID, pid=1234), Journal(folder))  # raises ConformanceError
"""

from __future__ import annotations

from schedtuna.errors import ConformanceError
from schedtuna.knobs.base import Knob, Reverted, Target
from schedtuna.knobs.journal import Journal
from schedtuna.space import ParameterSpec, ParameterType, ParameterValue


def check_knob(knob: Knob, target: Target, journal: Journal) -> bool:
    """Turn a knob to every kind of value that it has, and back.

    Args:
        knob: The knob.
        target: What it is turned on, in one of its scopes.
        journal: Where changes are written down; it should hold no others.

    Returns:
        Whether it could be turned for this target; where not, it only had to say why.

    Raises:
        ConformanceError: What it breaks, and how.
    """
    _expect(target.scope in knob.scopes, f"{knob.name} does not work in scope {target.scope}")
    _expect(knob.offered_in <= knob.scopes, f"{knob.name} is offered where it does not work")
    found = knob.probe(target)
    if not found.ok:
        _expect(bool(found.reason), f"{knob.name} can't be turned, and does not say why")
        return False
    spec, before = knob.spec(target), knob.show(target)
    _expect(spec.name == knob.name, f"the parameter of {knob.name} is called {spec.name}")
    _expect(spec.default == before, f"{knob.name} is {before!r}, and its default {spec.default!r}")
    _expect(knob.show(target) == before, f"asking for {knob.name} changed it")
    for value in values_of(spec):
        _turn(knob, target, journal, value)
        now = knob.show(target)
        _expect(now == before, f"{knob.name} was {before!r}, and is {now!r} once it was turned back")
    return True


def values_of(spec: ParameterSpec) -> list[ParameterValue]:
    """Return values beside the default: every choice, both switches, the ends and the middle of a range."""
    if spec.choices:
        found: list[ParameterValue] = list(spec.choices)
    elif spec.min_value is None or spec.max_value is None:
        found = [False, True]
    else:
        ends = (spec.min_value, (spec.min_value + spec.max_value) / 2, spec.max_value)
        whole = spec.type is ParameterType.INTEGER
        found = [spec.validate_value(int(number) if whole else number) for number in ends]
    return [value for value in dict.fromkeys(found) if value != spec.default]


def _turn(knob: Knob, target: Target, journal: Journal, value: ParameterValue) -> None:
    """Turn it to a value and back, twice, as a revert may be cut short and repeated."""
    mine = journal.fresh()
    knob.apply(target, value, mine)
    records = mine.begun
    _expect(bool(records), f"{knob.name} was turned to {value!r} without a record in the journal")
    now = knob.show(target)
    for record in reversed(records):
        _expect(knob.revert(record) in Reverted, f"{knob.name} does not say what became of it")
        knob.revert(record)
    mine.finish({record.id: Reverted.RESTORED for record in records})
    _expect(now == value, f"{knob.name} was turned to {value!r}, and is {now!r}")


def _expect(kept: bool, broken: str) -> None:
    if not kept:
        raise ConformanceError(broken)
