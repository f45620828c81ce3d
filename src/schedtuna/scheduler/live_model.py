"""The model inside the scheduler in charge of a machine or guest: load it, switch it, ask how it does."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.scheduler.live import ask, ask_all
from schedtuna.scheduler.objects import OURS
from schedtuna.scheduler.scx import Machine, read_state
from schedtuna.scheduler.tuna_model import checked_settings

if TYPE_CHECKING:
    from schedtuna.model.model import DecisionModel
    from schedtuna.scheduler.host import HostMachine

_PART_BYTES = 48 << 10  # of a request
_AT_A_TIME = 16  # requests on one command line


@dataclass(frozen=True)
class ModelStatus:
    """What the model inside does.

    Attributes:
        name: The model's; empty: none is loaded.
        model_version: Its version, 16 hexadecimal digits.
        family: Of which it is.
        mode: ``off``, ``shadow`` or ``act``.
        settings: How it is used: `tuna_model.SETTINGS`.
        given_up: Why the scheduler goes on without it; empty: it holds.
        given_up_s: Since when, in seconds.
        counted: Since it was switched: `tuna_model.COUNTERS`.
        nr_rows: Right after loading: how many of its own rows were checked on this kernel.
    """

    name: str
    model_version: str
    family: str
    mode: str
    settings: dict[str, int]
    given_up: str = ""
    given_up_s: float | None = None
    counted: dict[str, int] = field(default_factory=dict)
    nr_rows: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """For programs; shares that nothing was counted for are None."""
        return {**asdict(self), "agreement": self.agreement, "mean_ns": self.mean_ns}

    @property
    def agreement(self) -> float | None:
        """Which part of its decisions the scheduler itself expected, too."""
        return self._part("nr_agreed", "nr_decided")

    @property
    def accuracy(self) -> float | None:
        """Which part of the bursts after its decisions were as it said."""
        return self._part("nr_right", "nr_outcomes")

    @property
    def scheduler_accuracy(self) -> float | None:
        """Which part of the same bursts were as the scheduler itself expected."""
        return self._part("nr_scheduler_right", "nr_outcomes")

    @property
    def mean_ns(self) -> float | None:
        """What a decision took, of those that were timed."""
        return self._part("timed_ns", "nr_timed")

    def _part(self, counter: str, whole: str) -> float | None:
        number = self.counted.get(whole, 0)
        return self.counted[counter] / number if number else None


def load(machine: Machine, python: str, scheduler: str, model: DecisionModel) -> ModelStatus:
    """Put a model into the scheduler in charge; it decides nothing before it is switched on.

    Args:
        machine: Where the scheduler is in charge.
        python: The machine's Python.
        scheduler: scx_tuna, by either of its names.
        model: The model: see `tuna_deploy`.

    Raises:
        ModelError: scx_tuna can't decide by it.
        UsageError: This kernel computes it wrongly.
        UnavailableError: Another scheduler is in charge, or it does not answer.
    """
    from schedtuna.scheduler.tuna_deploy import deploy

    text = json.dumps(deploy(model))
    _require_in_charge(machine, scheduler)
    requests: list[tuple[str, Mapping[str, Any]]] = [
        ("model", {"part": text[start : start + _PART_BYTES]}) for start in range(0, len(text), _PART_BYTES)
    ]
    requests.append(("model", {"do": "load"}))
    for first in range(0, len(requests), _AT_A_TIME):
        said = ask_all(machine, python, requests[first : first + _AT_A_TIME])
    return ModelStatus(**said[-1])


def switch(
    machine: Machine, python: str, scheduler: str, mode: str, settings: Mapping[str, int]
) -> ModelStatus:
    """Let the model inside predict (shadow), act, or do nothing (off).

    Raises:
        UsageError: No model is loaded, or a setting is out of bounds.
        UnavailableError: Another scheduler is in charge, or it does not answer.
    """
    checked_settings(settings)
    _require_in_charge(machine, scheduler)
    return ModelStatus(**ask(machine, python, "model", {"do": mode, "settings": dict(settings)}))


def status(machine: Machine, python: str, scheduler: str) -> ModelStatus:
    """Return what the model inside does.

    Raises:
        UnavailableError: Another scheduler is in charge, or it does not answer.
    """
    _require_in_charge(machine, scheduler)
    return ModelStatus(**ask(machine, python, "model", {"do": "status"}))


def carry_out(  # noqa: PLR0917 - where, of what, what, and with what
    machine: Machine,
    python: str,
    scheduler: str,
    action: str,
    model: DecisionModel | None,
    settings: Mapping[str, int],
) -> ModelStatus:
    """Load a model, switch the one that is loaded, or ask how it does.

    Args:
        machine: Where the scheduler is in charge.
        python: The machine's Python.
        scheduler: Its name.
        action: ``load``, ``status``, or one of `tuna_model.MODES`.
        model: For ``load``.
        settings: For a mode: of `tuna_model.SETTINGS`.

    Raises:
        UsageError, ModelError, UnavailableError: As `load`, `switch` and `status`.
    """
    if action == "status":
        return status(machine, python, scheduler)
    if action != "load":
        return switch(machine, python, scheduler, action, settings)
    if model is None:
        raise UsageError("no model is named", hint="name its file, or one that comes along: short_tasks")
    return load(machine, python, scheduler, model)


def hint(machine: Machine, python: str, scheduler: str, arguments: Mapping[str, Any]) -> None:
    """Say of which class a task or a control group of the machine is.

    Args:
        machine: Where the scheduler is in charge.
        python: The machine's Python.
        scheduler: Its name.
        arguments: ``class``, and ``tid`` or ``group``: see `tuna_advice.Hints.set`.

    Raises:
        UsageError: There is no such class or group.
        UnavailableError: Another scheduler is in charge, or it does not answer.
    """
    _require_in_charge(machine, scheduler)
    ask(machine, python, "hint", arguments)


def on_this_machine(
    scheduler: str, action: str, model: DecisionModel | None, settings: Mapping[str, int]
) -> ModelStatus:
    """Do something with the model inside the scheduler in charge of this machine; see `carry_out`."""
    with _this_machine() as machine:
        return carry_out(machine, sys.executable, scheduler, action, model, settings)


def hint_here(scheduler: str, arguments: Mapping[str, Any]) -> None:
    """Say of which class a task or a control group of this machine is; see `hint`."""
    with _this_machine() as machine:
        hint(machine, sys.executable, scheduler, arguments)


def require_in_charge_here(scheduler: str) -> None:
    """Refuse a scheduler that is not in charge of this machine, or has no model inside.

    Raises:
        UsageError, UnavailableError: It is not.
    """
    with _this_machine() as machine:
        _require_in_charge(machine, scheduler)


def _this_machine() -> closing[HostMachine]:
    from schedtuna.scheduler.host import HostMachine

    return closing(HostMachine())


def _require_in_charge(machine: Machine, scheduler: str) -> None:
    if scheduler not in OURS:
        raise UsageError(
            f"{scheduler} has no model inside: {' and '.join(OURS)} have one, which are the same"
        )
    state = read_state(machine)
    if state.ops != scheduler:
        raise UnavailableError(
            f"{state.ops or 'no sched_ext scheduler'} is in charge, not {scheduler}",
            hint=f"schedtuna schedulers {'switch' if state.ops else 'start'} {scheduler}",
        )
