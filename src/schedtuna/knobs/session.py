"""Several knobs turned together: all of them or none, and back again in reverse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from schedtuna.errors import KnobError, SchedtunaError, UnavailableError, UsageError, nearest
from schedtuna.knobs.base import Knob, Target
from schedtuna.knobs.journal import Journal, StaleChangesError, TargetBusyError
from schedtuna.knobs.records import Record
from schedtuna.knobs.registry import all_knobs, knobs_for
from schedtuna.knobs.undo import UndoOutcome, close_pointless, revert_records
from schedtuna.knobs.vital import refuse_vital
from schedtuna.space import ParameterValue

OnStale = Callable[[Sequence[Record]], None]


class Changes:
    """The changes made to one target, to be used with `with`.

    >>> with Changes(Target(Scope.TREE, pid=child), Journal()) as changes:  # doctest: +SKIP
    ...     changes.apply({"nice": 5})

    Args:
        target: What is changed.
        journal: Where changes are written down first.
        on_stale: Called with what a killed run left in force; without it that is an error.

    Attributes:
        undone: Names of knobs that an `undo` had put back before they were reverted here.

    Raises:
        UsageError: Init, the kernel or this process would be changed, and the target does not force it.
    """

    def __init__(self, target: Target, journal: Journal, *, on_stale: OnStale | None = None) -> None:
        refuse_vital(target)
        self.target = target
        self.journal = journal.fresh()
        self._on_stale = on_stale
        self.undone: set[str] = set()

    def apply(self, values: Mapping[str, ParameterValue]) -> None:
        """Turn the named knobs; those that already show their value are left alone.

        Everything is checked before anything is changed. If a knob fails, all are reverted and its
        error is raised; what then could not be reverted is noted on it and stays in the journal.

        Raises:
            UsageError: An unknown knob, or one that does not work in this scope.
            SpaceError: A value that its parameter refuses.
            UnavailableError: A knob that can't be turned here.
            TargetBusyError: A knob that another process turns now.
            StaleChangesError: A killed run left changes in force.
            KnobError: The kernel refused a change.
            JournalError: The journal refused to take it down.
        """
        self._report_stale()
        checked = [(knob, *self._checked(knob, values[knob.name])) for knob in self._known(values)]
        try:
            self.journal.carry_out(
                knob.plan(self.target, value)
                for knob, value, found in checked
                if value != found or not knob.is_uniform(self.target)
            )
        except BaseException as error:
            self._revert_after(error)
            raise

    def revert(self) -> list[UndoOutcome]:
        """Put everything back, newest first. May be called again: what is closed stays closed.

        Raises:
            KnobError: Something could not be put back; the rest was. It stays in the journal.
        """
        outcomes = revert_records(self.journal.begun, self.journal)
        self.undone |= {outcome.record.knob for outcome in outcomes if outcome.before}
        failed = [outcome for outcome in outcomes if not outcome.closed]
        if failed:
            what = "; ".join(f"{outcome.record.knob}: {outcome.reason}" for outcome in failed)
            raise KnobError(f"not everything could be put back: {what}", hint="schedtuna undo")
        return outcomes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.revert()
        else:
            self._revert_after(error)

    def _revert_after(self, error: BaseException) -> None:
        """Put everything back without hiding the error that made it necessary."""
        try:
            self.revert()
        except SchedtunaError as second:
            error.add_note(f"{second}; {second.hint}")

    def _report_stale(self) -> None:
        stale = close_pointless(self.journal)
        if stale and self._on_stale is None:
            raise StaleChangesError(stale)
        if stale and self._on_stale is not None:
            self._on_stale(stale)

    def _known(self, values: Mapping[str, ParameterValue]) -> list[Knob]:
        """The knobs that are named, in the order of application."""
        usable = knobs_for(self.target.scope)
        names = {knob.name for knob in usable}
        for name in values:
            if name not in names and name in {knob.name for knob in all_knobs()}:
                raise UsageError(f"{name} can't be changed in scope {self.target.scope}")
            if name not in names:
                raise UsageError(f"unknown knob {name!r}", hint=nearest(name, names))
        return [knob for knob in usable if knob.name in values]

    def _checked(self, knob: Knob, value: ParameterValue) -> tuple[ParameterValue, ParameterValue]:
        """The value in its parameter's type, and what is found now."""
        found = knob.probe(self.target)
        if found.busy:
            raise TargetBusyError(found.reason, hint=found.hint)
        if not found.ok:
            raise UnavailableError(f"{knob.name} can't be changed: {found.reason}", hint=found.hint or None)
        spec = knob.spec(self.target)
        return spec.validate_value(value), spec.default
