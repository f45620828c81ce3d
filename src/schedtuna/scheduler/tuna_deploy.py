"""Which models can scx_tuna decide by, and what of one is sent to it?

A model says of which kind a task's next burst is: its labels are of `LABELS`, its inputs of `FEATURES`. With
one logit, its size says how surely.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schedtuna.errors import ModelError, nearest
from schedtuna.scheduler.tuna_model import FAMILIES, FEATURES, INPUTS, KINDS, pressed

if TYPE_CHECKING:
    from schedtuna.model.model import DecisionModel, ModelInput

# The geometries that scx_tuna's executors are compiled for: bpf/sched/tables.bpf.h.
CLASSES = ("linear", "trees_small", "oblivious", "mlp_small", "step")
LABELS = KINDS[1:]
_SURE = 90  # percent of a model's own rows whose logits are no larger than a whole lead
_INT64_MAX = (1 << 63) - 1


def deploy(model: DecisionModel) -> dict[str, Any]:
    """Return what scx_tuna's loader is given of a model: see `tuna_model.InsideModel.load`.

    Raises:
        ModelError: It looks at something else, says something else, is too large, or has no rows of its own.
    """
    import numpy as np

    from schedtuna.model.kernel.classes import CLASSES as ALL_CLASSES
    from schedtuna.model.kernel.tables import pack

    _require_words(model)
    if model.rows is None or not len(model.rows):
        raise ModelError(f"{model.name} has no rows to check it with", hint="`checked` adds them")
    own = {geometry.family: geometry for geometry in ALL_CLASSES if geometry.name in CLASSES}
    geometry = own[model.core.family]
    if lacks := geometry.lacks(model):
        raise ModelError(
            f"{model.name} is too large for scx_tuna: {', '.join(lacks)}",
            hint="fewer trees, units, inputs or bins make it smaller",
        )
    logits = model.rows.accumulators[:, -model.core.nr_logits :]
    rows = np.concatenate([model.rows.values, model.rows.bins, logits], axis=1).astype("<i8")
    lo, hi = zip(*map(_range, model.inputs), strict=True)
    return {
        "name": model.name,
        "version": model.version,
        "family": FAMILIES[FAMILIES.index(model.core.family)],
        "features": [one.name for one in model.inputs],
        "labels": list(model.labels),
        "nr_logits": model.core.nr_logits,
        "logit_one": max(int(np.percentile(np.abs(logits.astype(np.int64)), _SURE)), 1),
        "lo": lo,
        "hi": hi,
        "table": pressed(pack(model, geometry)),
        "rows": pressed(rows.tobytes()),
    }


def _require_words(model: DecisionModel) -> None:
    for name in (one.name for one in model.inputs):
        if name not in FEATURES:
            raise ModelError(
                f"{model.name} looks at {name!r}, which scx_tuna does not know when it queues a task",
                hint=f"its features are {', '.join(FEATURES)}; {nearest(name, FEATURES)}",
            )
    if unknown := [label for label in model.labels if label not in LABELS]:
        raise ModelError(
            f"{model.name} says {', '.join(unknown)}, which scx_tuna does not know of a task",
            hint=f"its labels are {', '.join(LABELS)}: how long a task will run until it sleeps",
        )
    if len(model.inputs) > INPUTS:
        raise ModelError(f"{model.name} has {len(model.inputs)} inputs; scx_tuna takes {INPUTS}")


def _range(one: ModelInput) -> tuple[int, int]:
    """What an input was made for: as far as its bins go; what is below the first of log2 bins is in it."""
    return (0 if one.bins.kind == "log2" else one.bins.lo), min(one.bins.hi, _INT64_MAX)
