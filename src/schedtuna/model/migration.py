"""Does a task migrate to another group of CPUs, or stay? The decision's inputs, and a model made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schedtuna.errors import ModelError
from schedtuna.model.bins import Bins
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.nets import Linear
from schedtuna.model.rows import checked

LABELS = ("stay", "migrate")
LOAD_SCALE = 1000  # a load of 1, as an integer
# The inputs that there are: their bins are the ones of the model made by hand, and others may have others.
# A load's bins are the tenths that it is rounded to.
_COUNT = Bins("log2", 0, 1023, 36, per_octave=4)
_LOAD = Bins("linear", -50, 1049, 11)
INPUTS: dict[str, Bins] = {
    "cpu": Bins("linear", 0, 4095, 4096),
    "nr_idle_cpus": _COUNT,
    "nr_busy_cpus": _COUNT,
    "src_load_permille": _LOAD,
    "dst_load_permille": _LOAD,
}


def group_load(busy_ns: Sequence[float], capacity: Sequence[float], window_ns: float) -> float:
    """The load of a group of CPUs: utilisation weighted by capacity, 0 to 1.

    Args:
        busy_ns: How long each of them ran anything but its idle task, or steal, within the window.
        capacity: Of each, in any unit that is the same for all (the kernel's cpu_capacity).
        window_ns: How long it was looked at.

    Raises:
        ModelError: There is no CPU or no time, or a number is negative or none.
    """
    busy, weight = np.asarray(busy_ns, float), np.asarray(capacity, float)
    if busy.shape != weight.shape or busy.ndim != 1 or not weight.sum() > 0 or not 0 < window_ns < np.inf:
        raise ModelError("a load needs CPUs of some capacity, the time that each was busy, and a window")
    if not (np.isfinite(busy).all() and np.isfinite(weight).all() and min(busy.min(), weight.min()) >= 0):
        raise ModelError("times and capacities are finite and at least 0")
    return min(float((busy * weight).sum() / (weight.sum() * window_ns)), 1.0)


def made_by_hand() -> DecisionModel:
    """A linear model that nothing was trained for: a difference of loads against a fixed cost.

    logit = 12 (source - destination load, in tenths) + idle - busy CPUs (as bins, four an octave) - 36. With
    as many idle CPUs as busy ones it takes a difference of 0.4; more idle CPUs need less, and to where the
    load is not lower nothing ever migrates.
    """
    names = ("nr_idle_cpus", "nr_busy_cpus", "src_load_permille", "dst_load_permille")
    inputs = tuple(ModelInput(name, INPUTS[name]) for name in names)
    core = Linear([[1, -1, 12, -12]], [-36])
    return checked(DecisionModel("migration", inputs, LABELS, core, "made by hand, not trained"))
