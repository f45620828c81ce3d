"""Which policies can be judged by what another one has logged: what they would draw, decision by decision.

Ours are named `always:ARM`, `uniform`, `kernel` (what the kernel itself decided or had), `migrate:MODEL` and
`swap:FILE`; somebody's own is a class, `module:Class[:FILE]`, which keeps the contract of `ArmChooser`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from schedtuna.agent.decisions.rows import DecisionRow
from schedtuna.errors import EvidenceError, UsageError, nearest
from schedtuna.plugins import make

if TYPE_CHECKING:
    from schedtuna.model.model import DecisionModel

_HINT = "one of your own is named by its class, module:Class; docs/agent-learning.md has an example"


@runtime_checkable
class ArmChooser(Protocol):
    """What can be judged.

    Attributes:
        name: For people.
    """

    name: str

    def probabilities(self, row: DecisionRow) -> Sequence[float]:
        """Return with which probability it would have drawn each of a decision's arms, summing to 1.

        It may look at arms, features, subject, time and the kernel's decision; not at what was drawn.
        """
        ...


class AlwaysChooser:
    """One arm, whatever is seen."""

    def __init__(self, arm: str) -> None:
        self.arm, self.name = arm, f"always:{arm}"

    def probabilities(self, row: DecisionRow) -> Sequence[float]:
        """Return 1 for the arm."""
        if self.arm not in row.arms:
            raise EvidenceError(
                f"{self.arm} is no arm of decision {row.id}: {nearest(self.arm, row.arms)}",
                hint=f"its arms are {', '.join(row.arms)}",
            )
        return [float(arm == self.arm) for arm in row.arms]


class UniformChooser:
    """Each arm that could be drawn alike: what learning has to beat."""

    name = "uniform"

    def probabilities(self, row: DecisionRow) -> Sequence[float]:
        """Return one over their number."""
        possible = [one > 0 for one in row.propensities or [1.0] * len(row.arms)]
        return [one / sum(possible) for one in possible]


class KernelChooser:
    """What the kernel decided."""

    name = "kernel"

    def probabilities(self, row: DecisionRow) -> Sequence[float]:
        """Return 1 for it."""
        if row.kernel_action not in row.arms:
            raise EvidenceError(
                f"decision {row.id} does not tell what the kernel would have done",
                hint="judge always:ARM; for schedulers, the kernel's own is always:default",
            )
        return [float(arm == row.kernel_action) for arm in row.arms]


class MigrationChooser:
    """A model of migrations, drawn from as the policy `migrate` does.

    Args:
        model: It.
    """

    def __init__(self, model: DecisionModel) -> None:
        self.name = f"migrate:{model.name}/{model.version}"
        self._model = model

    def probabilities(self, row: DecisionRow) -> Sequence[float]:
        """Return a floor for each arm, and the rest for what the model says."""
        from schedtuna.agent.policies.migration_draws import MIGRATE, STAY, with_floors

        if STAY not in row.arms:
            raise EvidenceError(
                f"decision {row.id} is none of migrations: its arms are {', '.join(row.arms)}",
                hint="--logged-by migrate",
            )
        try:
            values = [[round(row.features[one.name]) for one in self._model.inputs]]
        except KeyError as error:
            raise EvidenceError(
                f"decision {row.id} does not tell {error.args[0]}, which {self.name} needs"
            ) from None
        go = bool(self._model.decide(self._model.quantise(values))[0])
        return with_floors(row.arms, MIGRATE if go and MIGRATE in row.arms else STAY)


def _migrate(rest: str) -> ArmChooser:
    from schedtuna.agent.decisions.versions import ModelVersions
    from schedtuna.model.shipped import find_model

    return MigrationChooser(find_model(rest) if rest else ModelVersions("migrate", "migration").in_charge())


def _swap(rest: str) -> ArmChooser:
    from schedtuna.agent.swap.judging import SwapChooser

    if not rest:
        raise UsageError("swap needs its file", hint="--policy swap:FILE; or always:ARM")
    return SwapChooser(Path(rest))


def _always(rest: str) -> ArmChooser:
    if not rest:
        raise UsageError("always needs an arm", hint="--policy always:default")
    return AlwaysChooser(rest)


def _alone(make: Callable[[], ArmChooser]) -> Callable[[str], ArmChooser]:
    def made(rest: str) -> ArmChooser:
        if rest:
            raise UsageError(f"{make().name} takes nothing after a colon")
        return make()

    return made


CHOOSERS: dict[str, Callable[[str], ArmChooser]] = {
    "always": _always,
    "uniform": _alone(UniformChooser),
    "kernel": _alone(KernelChooser),
    "migrate": _migrate,
    "swap": _swap,
}


def make_chooser(text: str) -> ArmChooser:
    """Return what a text such as ``always:default`` or ``mine.policies:Mine`` names.

    Raises:
        UsageError: There is nothing of this name, or it can't be judged.
        SchedtunaError: Its file is none of its own.
    """
    name, _, rest = text.partition(":")
    if maker := CHOOSERS.get(name):
        return maker(rest)
    if not rest:
        raise UsageError(f"there is no policy {text!r} to judge: {nearest(name, CHOOSERS)}", hint=_HINT)
    return _own(name, *rest.partition(":")[::2])


def _own(module: str, name: str, file: str) -> ArmChooser:
    what = f"policy {module}:{name}"
    made = make(module, name, file, what=what, hint=_HINT)
    if not isinstance(made, ArmChooser):
        raise UsageError(f"{what} has no name and probabilities(row)", hint=_HINT)
    return made
