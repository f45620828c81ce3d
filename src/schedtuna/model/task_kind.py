"""Of which kind is a task's next burst? A model made by hand, for what decides about tasks one by one."""

from __future__ import annotations

from schedtuna.model.bins import Bins
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.nets import Linear
from schedtuna.model.rows import checked

LABELS = ("batch", "interactive")
SHORT_NS = 2_000_000  # what sleeps earlier is interactive
_TIME = Bins("log2", 2**10, 2**34, 97, per_octave=4)


def made_by_hand() -> DecisionModel:
    """A linear model that nothing was trained for: who ran shortly will run shortly.

    logit = 3 bin(2 ms) - 2 bin(mean burst) - bin(last burst), in bins of a quarter of an octave.
    """
    inputs = tuple(ModelInput(name, _TIME) for name in ("mean_burst_ns", "burst_ns"))
    edge = int(_TIME.quantise([SHORT_NS])[0])
    core = Linear([[-2, -1]], [3 * edge])
    return checked(DecisionModel("short_tasks", inputs, LABELS, core, "made by hand, not trained"))
