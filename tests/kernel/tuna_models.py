"""Models for scx_tuna, and the files by which `tuna_loads.py` gives them to its loader."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from tests import models

from schedtuna.features.table import FEATURES
from schedtuna.model.bins import Bins
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.nets import Linear
from schedtuna.model.rows import checked
from schedtuna.scheduler.tuna_deploy import deploy
from schedtuna.scheduler.tuna_model import FEATURES as FEATURES_OF_TASKS

NEVER = {"budget_ns": 0, "most_out_permille": 0, "worse_permille": 0}  # it is not given up
LARGER = ("trees", "oblivious", "mlp", "step")  # families other than linear


def linear(
    name: str,
    weights: Sequence[int],
    bias: int,
    inputs: Sequence[str] = ("mean_burst_ns", "burst_ns"),
    bins: Bins | None = None,
) -> DecisionModel:
    """A model of one logit; `weights` are of the inputs' bins."""
    described = tuple(ModelInput(one, bins or FEATURES[one].bins) for one in inputs)
    return checked(DecisionModel(name, described, ("batch", "interactive"), Linear([weights], [bias]), ""))


def short_last() -> DecisionModel:
    """The opposite of short_tasks: who ran for long is interactive."""
    edge = int(FEATURES["burst_ns"].bins.quantise([2_000_000])[0])
    return linear("short_last", [2, 1], -3 * edge)


def of_family(kind: str) -> DecisionModel:
    """A random model of a family, outside of whose range nothing is."""
    made = models.make(kind)
    inputs = tuple(
        ModelInput(name, _as_wide_as_can_be(one.bins))
        for name, one in zip(FEATURES_OF_TASKS, made.inputs, strict=False)
    )
    labels = ("batch", "interactive", "normal")[: max(2, made.core.nr_logits)]
    return checked(DecisionModel(kind, inputs, labels, made.core, ""))


def _as_wide_as_can_be(bins: Bins) -> Bins:
    """The same number of bins, outside of which nothing is."""
    return replace(bins, lo=0 if bins.kind == "log2" else -(1 << 60), hi=1 << 60)


def sent(*of: DecisionModel) -> dict[str, str]:
    """Models as files of the guest."""
    return {f"{model.name}.json": json.dumps(deploy(model)) for model in of}
