"""Requests of JSON, one a line, become decisions, many at a time. Who reads and writes lines is elsewhere.

A request names a model's inputs, `{"id": 1, "values": {"cpu": 4, ...}}`, whole numbers as bins are made of.
Of a model that decides about migrations it may have the fields of `MigrationFeatures`, `{"features": {...}}`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from schedtuna.configfile import parse_json
from schedtuna.errors import ModelError, SchedtunaError
from schedtuna.model.decider import WIDTH, MigrationDecider
from schedtuna.model.migration import INPUTS, LABELS
from schedtuna.model.model import DecisionModel
from schedtuna.model.runtime import ModelRuntime

_FIELDS = ("cpu", "cpu_idle", "cpu_not_idle", "src_dom_load", "dst_dom_load")
_MOST_COUNT = 1 << 24  # a float32 tells them apart
_INT64 = 1 << 63
_EXPECTED = 'expected {"id": ..., "values": {...}} in one line of JSON'


class ModelAnswers:
    """Answers requests by one model.

    Args:
        model: Decides.

    Raises:
        ModelError: The native runtime computes the model's rows other than the reference does.
        UnavailableError: The native runtime is missing.

    Attributes:
        nr_requests: How many there were.
        nr_refused: How many of them were none.
    """

    def __init__(self, model: DecisionModel) -> None:
        self.model = model
        self._names = [one.name for one in model.inputs]
        self._runtime = ModelRuntime(model)
        decides = model.labels == LABELS and all(name in INPUTS for name in self._names)
        self._decider = MigrationDecider(model) if decides else None
        self.nr_requests = self.nr_refused = 0

    def answer(self, lines: Sequence[bytes]) -> list[bytes]:
        """Answer requests, all together: a line of JSON for each, in their order.

        A line that is no request is answered by what is wrong with it, and costs the others nothing.
        """
        told: list[dict[str, Any]] = []
        values: list[tuple[int, list[int]]] = []
        features: list[tuple[int, list[float]]] = []
        for number, line in enumerate(lines):
            answer: dict[str, Any] = {}
            told.append(answer)
            try:
                request = _parsed(line)
                answer |= {"id": request["id"]} if "id" in request else {}
                if "features" in request:
                    features.append((number, self._features(request["features"])))
                else:
                    values.append((number, self._values(request.get("values"))))
            except SchedtunaError as error:
                answer["error"] = str(error)
                self.nr_refused += 1
        self.nr_requests += len(lines)
        if values:
            bins = self._runtime.quantise(np.array([row for _, row in values], np.int64))
            self._tell(told, values, self._runtime.decide(bins).tolist())
        if features and self._decider is not None:
            rows = np.zeros((len(features), WIDTH), np.float32)
            rows[:, : len(_FIELDS)] = [row for _, row in features]
            self._tell(told, features, self._decider.decide_batch(rows).tolist())
        return [json.dumps(answer).encode() + b"\n" for answer in told]

    def _tell(self, told: list[dict[str, Any]], asked: Sequence[tuple[int, Any]], found: list[int]) -> None:
        for (number, _), label in zip(asked, found, strict=True):
            told[number]["decision"] = self.model.labels[label]

    def _values(self, given: Any) -> list[int]:
        found = _named(given, self._names, "values")
        for name, value in zip(self._names, found, strict=True):
            if isinstance(value, bool) or not isinstance(value, int) or not -_INT64 <= value < _INT64:
                raise ModelError(f"{name} is {_shown(value)}, expected a whole number of 64 bits")
        return found

    def _features(self, given: Any) -> list[float]:
        if self._decider is None:
            raise ModelError(
                f"{self.model.name} decides nothing about migrations: give it values, not features"
            )
        found = _named(given, _FIELDS, "features")
        for number, (name, value) in enumerate(zip(_FIELDS, found, strict=True)):
            if not _is_finite(value):
                raise ModelError(f"{name} is {_shown(value)}, which is no finite number")
            if number < 3 and (not 0 <= value <= _MOST_COUNT or value != int(value)):
                raise ModelError(
                    f"{name} is {_shown(value)}, which is no whole number from 0 to {_MOST_COUNT}"
                )
        return [min(max(float(value), -1e30), 1e30) for value in found]


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        request = parse_json(line, any_text=True)
    except ValueError as error:
        raise ModelError(f"no request: {error}; {_EXPECTED}") from None
    if not isinstance(request, dict):
        raise ModelError(f"no request: {_EXPECTED}")
    if unknown := set(request) - {"id", "values", "features"}:
        raise ModelError(
            f"{_shown(min(unknown))} is no part of a request: expected id, and values or features"
        )
    if "values" in request and "features" in request:
        raise ModelError("a request has values or features, not both")
    if not isinstance(request.get("id"), str | int | None):
        raise ModelError("an id is a text or a whole number")
    return request


def _named(given: Any, names: Sequence[str], kind: str) -> list[Any]:
    if not isinstance(given, dict):
        raise ModelError(f"{kind} are named numbers: {', '.join(names)}")
    if missing := [name for name in names if name not in given]:
        raise ModelError(f"{missing[0]} is missing from {kind}: expected {', '.join(names)}")
    if len(given) > len(names):
        unknown = next(name for name in given if name not in names)
        raise ModelError(f"{_shown(unknown)} is none of the {kind}: expected {', '.join(names)}")
    return [given[name] for name in names]


def _is_finite(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def _shown(value: Any) -> str:
    return repr(value)[:60]
