"""What is no tree: a linear model and small nets of ReLU units, on bins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from schedtuna.errors import MissingExtraError, ModelError
from schedtuna.learn.fitted import FittedModel, Settings, made_by
from schedtuna.learn.problem import Floats, LearningProblem, LearningRows
from schedtuna.learn.quantise import quantise_mlp
from schedtuna.model.core import BinArray
from schedtuna.model.model import DecisionModel
from schedtuna.model.nets import Linear
from schedtuna.model.rows import checked

LINEAR_GRID: tuple[Settings, ...] = ({"ridge": 1e-3}, {"ridge": 1e-1}, {"ridge": 10.0})
NET_GRID: tuple[Settings, ...] = (
    {"hidden": (64, 64), "learning_rate": 2e-3},
    {"hidden": (64, 64), "learning_rate": 5e-4},
)
SMALL_NET_GRID: tuple[Settings, ...] = (
    {"hidden": (16, 16), "learning_rate": 3e-3},
    {"hidden": (16, 16), "learning_rate": 1e-3},
)
_NEWTON_STEPS = 30
_LARGEST_WEIGHT = (1 << 15) - 1
_BATCH = 1024
_MOST_EPOCHS, _EPOCH_ROWS = 40, 200_000
_PATIENCE = 5


def fit_linear(problem: LearningProblem, settings: Settings, seed: int) -> FittedModel:
    """A line: least squares of a number, else the logistic regression; both with a ridge."""
    del seed
    slope, base, weights = _line(problem, settings)

    def exact(bins: BinArray) -> Floats:
        return np.asarray(bins @ slope + base, float)

    core, unit = _linear_core(slope, base, problem)
    model = checked(DecisionModel("linear", problem.inputs, problem.labels, core, made_by("linear", problem)))
    gains = dict(zip(problem.names, np.abs(weights[:-1]).tolist(), strict=True))
    return FittedModel("linear", model, unit, exact, settings, {}, gains)


def move_line(
    core: Linear, problem: LearningProblem, start: tuple[float, float], settings: Settings
) -> Linear:
    """Return a line that has moved from where it was as far as the training rows say against a ridge.

    Args:
        core: The line.
        problem: Of numbers or classes.
        start: What a logit is as a score: times the first, plus the second.
        settings: As of `fit_linear`; the ridge draws back to the line, not to 0.
    """
    times, more = start
    old_slope, old_base = core.weights[0] * times, float(core.biases[0]) * times + more
    offset = problem.train.bins @ old_slope + old_base
    slope, base, _ = _line(problem, settings, offset)
    return _linear_core(slope + old_slope, base + old_base, problem)[0]


def _line(
    problem: LearningProblem, settings: Settings, offset: Floats | None = None
) -> tuple[Floats, float, Floats]:
    """Slope and base over bins, and the weights of standardised ones; beside an offset that rows have."""
    rows = problem.train
    centre, spread = rows.bins.mean(axis=0), rows.bins.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    design = np.column_stack([(rows.bins - centre) / spread, np.ones(len(rows))])
    solve = _least_squares if problem.kind == "number" else _logistic
    given = np.zeros(len(rows)) if offset is None else offset
    weights = _with_signs(design, settings.get("monotone"), lambda some: solve(some, rows, settings, given))
    slope = weights[:-1] / spread
    return slope, float(weights[-1] - slope @ centre), weights


def _with_signs(design: Floats, signs: Sequence[int] | None, solve: Callable[[Floats], Floats]) -> Floats:
    """Solve with the signs that weights may have (1, -1; 0: any): those that come out otherwise become 0."""
    wanted = np.append(np.zeros(design.shape[1] - 1) if signs is None else np.asarray(signs, float), 0.0)
    kept = np.ones(design.shape[1], bool)
    while True:
        weights = np.zeros(design.shape[1])
        weights[kept] = solve(design[:, kept])
        wrong = weights * wanted < 0
        if not wrong.any():
            return weights
        kept &= ~wrong


def _ridge(design: Floats, weight: Floats, ridge: float) -> Floats:
    penalty = np.full(design.shape[1], ridge * weight.sum() / max(len(design), 1))
    penalty[-1] = 1e-9
    return np.diag(penalty + 1e-9)


def _least_squares(design: Floats, rows: LearningRows, settings: Settings, offset: Floats) -> Floats:
    weighted = design * rows.weight[:, None]
    normal = design.T @ weighted + _ridge(design, rows.weight, settings["ridge"])
    return np.asarray(np.linalg.solve(normal, weighted.T @ (rows.target - offset)), float)


def _logistic(design: Floats, rows: LearningRows, settings: Settings, offset: Floats) -> Floats:
    """Newton's method, with each step cut to what improves."""
    weights, penalty = np.zeros(design.shape[1]), _ridge(design, rows.weight, settings["ridge"])
    overhead = float(settings.get("penalty", 0.0))  # times the probability, added to each row's loss

    def loss(at: Floats) -> float:
        margins = design @ at + offset
        return float(rows.weight @ (np.logaddexp(0, margins) - rows.target * margins) + at @ penalty @ at / 2)

    before = loss(weights)
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ weights + offset, -40, 40)))
        error = p - rows.target + overhead * p * (1 - p)
        gradient = design.T @ (rows.weight * error) + penalty @ weights
        curvature = design.T @ (design * (rows.weight * np.maximum(p * (1 - p), 1e-9))[:, None]) + penalty
        step = np.linalg.solve(curvature, gradient)
        for _ in range(_NEWTON_STEPS):
            after = loss(weights - step)
            if after <= before:
                break
            step /= 2
        weights = weights - step
        if before - after <= 1e-9 * abs(before):
            break
        before = after
    return weights


def _linear_core(slope: Floats, base: float, problem: LearningProblem) -> tuple[Linear, float]:
    """The same as 16-bit weights: the greatest unit at which weights and their sum fit."""
    largest = float(np.abs(slope).max())
    if not np.isfinite(largest) or not np.isfinite(base):
        raise ModelError("the linear model has weights that are no finite numbers")
    reach = np.abs(slope) @ np.array([one.bins.last for one in problem.inputs]) + abs(base)
    unit = min(_LARGEST_WEIGHT / max(largest, 1e-300), ((1 << 30) - 1) / max(float(reach), 1e-300), 2.0**24)
    return Linear([np.rint(slope * unit).astype(int)], [round(base * unit)]), unit


def require_torch() -> None:
    """Refuse to train nets without torch.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("training nets", "rl") from error


def fit_net(problem: LearningProblem, settings: Settings, seed: int) -> FittedModel:
    """A net with two layers of ReLU units by torch, then its int8 form."""
    require_torch()
    last = np.array([one.bins.last for one in problem.inputs], float)
    centre = problem.train.bins.mean(axis=0)
    scale = 2.0 / np.maximum(problem.train.bins.std(axis=0) * 2, last / 64)
    layers, curve = _train_net(problem, settings, seed, centre, scale)
    weights, biases = [w for w, _ in layers], [b for _, b in layers]

    def exact(bins: BinArray) -> Floats:
        units = (bins - centre) * scale
        for number, (weight, bias) in enumerate(layers):
            units = units @ weight.T + bias
            if number < len(layers) - 1:
                units = np.maximum(units, 0)
        return np.asarray(units[:, 0], float)

    sample = problem.train.bins[:: max(1, len(problem.train) // 20_000)]
    net = quantise_mlp(weights, biases, sample, scale=scale, offset=centre)
    name = "mlp" if max(settings["hidden"]) > 16 else "mlp_small"
    model = checked(DecisionModel(name, problem.inputs, problem.labels, net.core, made_by(name, problem)))
    unit = _unit(net.core.logits(sample)[:, 0].astype(float), exact(sample))
    told = dict(settings) | {"hidden": list(settings["hidden"])}
    return FittedModel(name, model, unit, exact, told, curve)


def _unit(logits: Floats, scores: Floats) -> float:
    """How many of a logit a score of 1 is, by least squares through 0."""
    squares = float(scores @ scores)
    return max(float(logits @ scores) / squares, 1e-9) if squares else 1.0


def _train_net(
    problem: LearningProblem, settings: Settings, seed: int, centre: Floats, scale: Floats
) -> tuple[list[tuple[Floats, Floats]], dict[str, list[float]]]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    sizes = [len(problem.inputs), *settings["hidden"], 1]
    layers: list[Any] = []
    for wide_in, wide_out in pairwise(sizes):
        bound = (6 / wide_in) ** 0.5 if wide_out > 1 else (1 / wide_in) ** 0.5
        weight = (torch.rand(wide_out, wide_in, generator=generator) * 2 - 1) * bound
        layers.append((weight.requires_grad_(), torch.zeros(wide_out, requires_grad=True)))
    optimiser = torch.optim.Adam([one for pair in layers for one in pair], lr=settings["learning_rate"])

    def forward(units: Any) -> Any:
        for number, (weight, bias) in enumerate(layers):
            units = units @ weight.T + bias
            if number < len(layers) - 1:
                units = torch.relu(units)
        return units[:, 0]

    def tensors(rows: LearningRows) -> tuple[Any, Any, Any]:
        made = ((rows.bins - centre) * scale, rows.target, rows.weight / rows.weight.mean())
        return tuple(torch.as_tensor(array, dtype=torch.float32) for array in made)  # type: ignore[return-value]

    def loss(scores: Any, target: Any, weight: Any) -> Any:
        if problem.kind == "number":
            return (weight * (scores - target) ** 2).mean()
        each = torch.nn.functional.binary_cross_entropy_with_logits(scores, target, reduction="none")
        if overhead := float(settings.get("penalty", 0.0)):
            each = each + overhead * torch.sigmoid(scores)
        return (weight * each).mean()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train, validation = tensors(problem.train), tensors(problem.validation)
        curve: dict[str, list[float]] = {"train": [], "validation": []}
        best: tuple[float, Any] = (float("inf"), None)
        since = 0
        for _ in range(_MOST_EPOCHS):
            order = torch.randperm(len(train[0]), generator=generator)[:_EPOCH_ROWS]
            total, seen = 0.0, 0
            for some in torch.split(order, _BATCH):
                optimiser.zero_grad()
                found = loss(forward(train[0][some]), train[1][some], train[2][some])
                found.backward()
                optimiser.step()
                total, seen = total + float(found.detach()) * len(some), seen + len(some)
            with torch.no_grad():
                judged = float(loss(forward(validation[0]), validation[1], validation[2]))
            curve["train"].append(total / max(seen, 1))
            curve["validation"].append(judged)
            since += 1
            if judged < best[0]:
                best = (judged, [(w.detach().clone(), b.detach().clone()) for w, b in layers])
                since = 0
            elif since >= _PATIENCE:
                break
    finally:
        torch.set_num_threads(threads)
    if best[1] is None:
        raise ModelError("the net's loss is no number: its rows are out of all bounds")
    return [(w.double().numpy(), b.double().numpy()) for w, b in best[1]], curve
