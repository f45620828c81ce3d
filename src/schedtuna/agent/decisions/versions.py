"""Which models a policy has learned, which of them is in charge, and why the others are not.

A folder beside the journal has a file for each, and a list to which lines are only added; the last one that
passed the gate is in charge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from schedtuna.agent.decisions.attempt import GatedAttempt, LearnedModel
from schedtuna.configfile import parse_json
from schedtuna.errors import PolicyError
from schedtuna.files import append_to, make_folder
from schedtuna.knobs.state import state_directory
from schedtuna.model.file import read_model, write_model
from schedtuna.model.model import DecisionModel
from schedtuna.model.shipped import find_model

_LIST = "versions.jsonl"


@dataclass(frozen=True)
class ModelVersion:
    """A model that was learned.

    Attributes:
        version: Of it.
        replaces: The version that it was judged against.
        passed: Whether it took that one's place.
        why: The gate's reason.
        gain, low, high: Of its loss against the other's; above zero is better. None: without bound.
        nr_fitted, nr_judged: By how many decisions it was fitted and judged.
        judged_until_s: When the last of these was logged (Unix).
        time_s: When it was learned (Unix).
    """

    version: str
    replaces: str
    passed: bool
    why: str
    gain: float
    low: float | None
    high: float | None
    nr_fitted: int
    nr_judged: int
    judged_until_s: float
    time_s: float


class VersionList:
    """What a policy has learned, version by version.

    Args:
        policy: Its name.
        directory: Where the agent's state is; default: that of the journal.
    """

    def __init__(self, policy: str, directory: Path | None = None) -> None:
        self.folder = (directory or state_directory()) / "models" / policy

    def all(self) -> list[ModelVersion]:
        """Return them, oldest first.

        Raises:
            PolicyError: The list is damaged.
        """
        try:
            lines = (self.folder / _LIST).read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        return [self._parsed(line) for line in lines[:-1]]  # what follows the last newline was cut off

    def judged_until_s(self) -> float:
        """Until when decisions have judged (Unix); 0: none has."""
        return max((one.judged_until_s for one in self.all()), default=0.0)

    def note(self, version: str, replaces: str, attempt: GatedAttempt, time_s: float) -> ModelVersion:
        """Write down what became of an attempt."""
        verdict = attempt.verdict
        bounded = verdict.nr_groups > 1
        row = ModelVersion(
            version=version,
            replaces=replaces,
            passed=verdict.passed,
            why=verdict.why,
            gain=verdict.gain,
            low=verdict.low if bounded else None,
            high=verdict.high if bounded else None,
            nr_fitted=attempt.nr_fitted,
            nr_judged=attempt.nr_judged,
            judged_until_s=attempt.judged_until_s,
            time_s=time_s,
        )
        make_folder(self.folder)
        append_to(self.folder / _LIST, json.dumps(asdict(row)).encode() + b"\n")
        return row

    def _parsed(self, line: bytes) -> ModelVersion:
        hint = f"remove {self.folder}: the model that comes along is in charge then"
        try:
            row: Mapping[str, Any] = parse_json(line)
            found = ModelVersion(**row)
        except (ValueError, TypeError) as error:
            raise PolicyError(f"{self.folder / _LIST} is damaged: {error}", hint=hint) from error
        if not found.version.isalnum():
            raise PolicyError(f"{self.folder / _LIST} is damaged: a version {found.version!r}", hint=hint)
        return found


class ModelVersions(VersionList):
    """The versions of one policy's model.

    Args:
        policy: Its name.
        shipped: The model that comes along, which is in charge before another one is.
        directory: Where the agent's state is; default: that of the journal.
    """

    def __init__(self, policy: str, shipped: str, directory: Path | None = None) -> None:
        super().__init__(policy, directory)
        self._shipped = shipped

    def in_charge(self) -> DecisionModel:
        """Return the model that decides.

        Raises:
            PolicyError: The list, or the file of the one in charge, is damaged or gone.
        """
        passed = [one.version for one in self.all() if one.passed]
        if not passed:
            return find_model(self._shipped)
        path = self.path(passed[-1])
        if not path.is_file():
            raise PolicyError(f"{path} is gone, which is the model in charge", hint=f"remove {self.folder}")
        return read_model(path)

    def path(self, version: str) -> Path:
        """Return the file of a version."""
        return self.folder / f"{version}.model"

    def add(self, learned: LearnedModel, replaces: DecisionModel, time_s: float) -> ModelVersion:
        """Keep a model; where it has passed, it is in charge from then on."""
        make_folder(self.folder)
        write_model(learned.model, self.path(learned.model.version))
        return self.note(learned.model.version, replaces.version, learned.attempt, time_s)
