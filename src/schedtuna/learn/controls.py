"""Can a dataset be trusted: is chance chance, does a feature give the label away, do its parts share runs?

Each control is a finding: what was looked for, what was found, and whether that is a flaw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import MissingExtraError
from schedtuna.learn.dataset_form import Dataset
from schedtuna.learn.decisions import VIRTUAL_FEATURES
from schedtuna.learn.scoring import hits_of_choices

TOO_GOOD = 0.95  # an area under the curve that a feature alone should not reach
_MOST_ROWS = 40_000  # that a probe is trained on, and judged on
_DEVIATIONS = 3.3  # how far from chance is too far: of 1,000 sound datasets one is blamed
_ROUNDS = 40
_DRAWS = 200
_SIDES = ("train", "validation", "test")
_UNIT = {"family": "family", "run": "group", "host": "host"}

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DatasetControl:
    """What one control found.

    Attributes:
        name: What was looked for.
        outcome: `ok`, `flaw`, `told` (to be known, no flaw by itself) or `not judged`.
        told: What was found.
        value: Its figure, if it has one.
    """

    name: str
    outcome: str
    told: str
    value: float | None = None


def check_dataset(data: Dataset, *, seed: int = 1) -> list[DatasetControl]:
    """Run all controls.

    Args:
        data: The dataset.
        seed: Of permutations and of the rows that probes see.

    Raises:
        MissingExtraError: LightGBM, which the probes are trained with, is not installed.
    """
    _require_trees()
    rng = np.random.default_rng(seed)
    return [
        *_parts_are_apart(data),
        *_labels_are_in_training(data),
        *_alone(data),
        _permuted(data, rng),
        _run_identity(data, rng),
        _time_alone(data),
    ]


def _require_trees() -> None:
    try:
        import lightgbm  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("the probes of `dataset check`", "learn") from error


def _parts_are_apart(data: Dataset) -> Iterator[DatasetControl]:
    """Do training, validation and test share what they should not?"""
    name, by = "parts share nothing", data.card.split
    present = [side for side in _SIDES if len(data.part(side))]
    if missing := set(_SIDES) - set(present):
        yield DatasetControl(name, "flaw", f"no rows for {', '.join(sorted(missing))}")
    hashes = [run.sha256 for run in data.card.runs]
    split, group = data.column("split"), data.column("group")
    for digest in sorted({digest for digest in hashes if hashes.count(digest) > 1}):
        names = ", ".join(run.name for run in data.card.runs if run.sha256 == digest)
        yield DatasetControl(name, "flaw", f"one trace is in it more than once: {names}")
    if by in _UNIT:
        units = data.column(_UNIT[by])
        shared = [str(unit) for unit in np.unique(units) if len(set(split[units == unit]) - {"none"}) > 1]
        told = f"{', '.join(shared[:5])} in more than one part" if shared else f"each {by} is in one part"
        yield DatasetControl(name, "flaw" if shared else "ok", told)
    elif by == "time":
        yield _parts_follow(data, split, group)


def _parts_follow(data: Dataset, split: Any, group: Any) -> DatasetControl:
    name, time = "parts share nothing", data.column("time_ns")
    end = time + (data.labels() if data.task.name == "burst" else 0)
    nr_over = 0
    for number in np.unique(group):
        for before, after in (("train", "validation"), ("validation", "test")):
            later = time[(group == number) & (split == after)]
            if len(later):
                nr_over += int((end[(group == number) & (split == before)] >= later.min()).sum())
    if nr_over:
        return DatasetControl(
            name, "flaw", f"{nr_over:,} labels of a part end when the next one has begun", nr_over
        )
    return DatasetControl(name, "ok", "each part's labels end before the next part begins")


def _labels_are_in_training(data: Dataset) -> Iterator[DatasetControl]:
    if data.task.label == "number":
        return
    seen = set(data.part("train").labels().tolist())
    names = data.card.classes or ["others", "chosen"]
    unseen = sorted(set(data.labels().tolist()) - seen)
    if unseen:
        told = f"no row of {', '.join(names[label] for label in unseen)} is in training"
        yield DatasetControl("labels are in training", "flaw", told)
    else:
        yield DatasetControl("labels are in training", "ok", "each label is")


def _alone(data: Dataset) -> Iterator[DatasetControl]:
    """Does one feature alone tell the label? By the mean label of each of its bins, fitted in training."""
    name = "no feature tells the label alone"
    worst, who = 0.5, ""
    train, rest = data.part("train"), data.where(data.column("split") != "train")
    if not len(train) or not len(rest):
        yield DatasetControl(name, "not judged", "there is nothing beside training")
        return
    bins = (train.bins(), rest.bins())
    for target in _targets(data):
        truth = (target(train), target(rest))
        for k, feature in enumerate(data.feature_names):
            score = _of_bins(bins[0][:, k], truth[0], bins[1][:, k])
            area = _mean_area(truth[1], score, rest.column("group"))
            if area is not None and area > worst:
                worst, who = area, feature
    if data.task.label == "choice":
        yield _tells_choices(data)
    if worst > TOO_GOOD:
        yield DatasetControl(name, "flaw", f"{who} alone reaches an AUC of {worst:.3f}", worst)
    else:
        yield DatasetControl(name, "ok", f"the best, {who or 'none'}, reaches an AUC of {worst:.3f}", worst)


def _tells_choices(data: Dataset) -> DatasetControl:
    """Is whoever has most, or least, of one feature always the chosen one?

    Not asked of `VIRTUAL_FEATURES`: by these the kernel decides, and where slices are alike one may do.
    """
    name, worst, who = "no feature tells choices alone", 0.0, ""
    choice = data.column("group").astype(np.int64) << 32 | data.column("candidate_set").astype(np.int64)
    is_chosen = data.labels() == 1
    for feature in data.feature_names:
        if feature in VIRTUAL_FEATURES:
            continue
        values = data.rows[feature].to_numpy().astype(float)
        for sign, which in ((1, "most"), (-1, "least")):
            share = float(hits_of_choices(choice, is_chosen, sign * values)[0].mean())
            if share > worst:
                worst, who = share, f"who has {which} {feature}"
    told = f"{who} is the chosen one in {worst:.1%} of choices"
    return DatasetControl(name, "flaw" if worst > TOO_GOOD else "ok", told, worst)


def _targets(data: Dataset) -> list[Any]:
    """Return what is to be told apart: each class from the others, long bursts from short ones."""
    if data.task.label == "number":
        middle = float(np.median(data.labels()))
        return [lambda part: part.labels() > middle]
    classes = range(len(data.card.classes)) if data.card.classes else (1,)
    present = set(data.labels().tolist())
    return [lambda part, k=k: part.labels() == k for k in classes if k in present]


def _of_bins(train: Any, truth: Flags, rest: Any) -> Floats:
    size = int(max(train.max(), rest.max())) + 1
    count = np.bincount(train, minlength=size)
    total = np.bincount(train, truth, minlength=size)
    # A bin that training never saw is as good as its nearest that it saw.
    seen = np.flatnonzero(count)
    nearest = seen[np.abs(seen[:, None] - np.arange(size)).argmin(axis=0)]
    score: Floats = (total[nearest] / count[nearest])[rest]
    return score


def _permuted(data: Dataset, rng: np.random.Generator) -> DatasetControl:
    """Labels permuted within runs: whoever still foretells them does so by the dataset's make."""
    name = "permuted labels give chance"
    target = _targets(data)[0]
    train, rest = _some(data.part("train"), rng), _some(data.where(data.column("split") != "train"), rng)
    if not len(train) or not len(rest):
        return DatasetControl(name, "not judged", "there is nothing beside training")
    parts = [(part, _shuffled(target(part), _blocks(part), rng)) for part in (train, rest)]
    if any(len(np.unique(truth)) < 2 for _, truth in parts):
        return DatasetControl(name, "not judged", "one side has a single label")
    score = _trained(parts[0][0].bins(), parts[0][1])(parts[1][0].bins())
    low, high, mean = _by_chance(parts[1][0], parts[1][1], score, rng)
    if mean is None:
        return DatasetControl(name, "not judged", "no run has both labels")
    told = f"AUC within runs {mean:.3f}; by chance {low:.3f} to {high:.3f}"
    return DatasetControl(name, "ok" if low <= mean <= high else "flaw", told, mean)


def _by_chance(
    data: Dataset, truth: Flags, score: Floats, rng: np.random.Generator
) -> tuple[float, float, float | None]:
    """Return what chance gives, by shuffling the labels again, from where to where; and what was found."""
    group, blocks = data.column("group"), _blocks(data)
    found = _mean_area(truth, score, group)
    if found is None:
        return 0.0, 0.0, None
    drawn = [_mean_area(_shuffled(truth, blocks, rng), score, group) or 0.5 for _ in range(_DRAWS)]
    middle, reach = float(np.mean(drawn)), _DEVIATIONS * float(np.std(drawn))
    return middle - reach, middle + reach, found


def _blocks(data: Dataset) -> Any:
    """Within what labels are exchanged: runs; of choices, those who compete."""
    group = data.column("group").astype(np.int64)
    if data.task.label == "choice":
        return group << 32 | data.column("candidate_set").astype(np.int64)
    return group


def _run_identity(data: Dataset, rng: np.random.Generator) -> DatasetControl:
    """How well do features tell the run? What tells runs may stand for what differs between them."""
    name = "features do not name the run"
    group = data.column("group")
    if len(np.unique(group)) < 2:
        return DatasetControl(name, "not judged", "there is one run")
    middle = {number: np.median(data.column("time_ns")[group == number]) for number in np.unique(group)}
    is_early = data.column("time_ns") < np.array([middle[number] for number in group.tolist()])
    early, late = _some(data.where(is_early), rng), _some(data.where(~is_early), rng)
    if not len(early) or not len(late):
        return DatasetControl(name, "not judged", "a run has rows of one moment alone")
    numbers, known = np.unique(early.column("group"), return_inverse=True)
    if len(numbers) < 2:
        return DatasetControl(name, "not judged", "there is one run in the first half")
    scores = _trained(early.bins(), known, nr_classes=len(numbers))(late.bins())
    predicted = scores.argmax(axis=1) if scores.ndim > 1 else (scores > 0.5).astype(int)
    hit = float((numbers[predicted] == late.column("group")).mean())
    counts = np.bincount(late.column("group"))
    told = f"trained on each run's first half, the run is told in {hit:.0%} of rows of the second; "
    told += f"always naming the largest would in {counts.max() / counts.sum():.0%}"
    return DatasetControl(name, "told", told, hit)


def _time_alone(data: Dataset) -> DatasetControl:
    """Does the label drift with time? A model that sees time by a feature would learn the day."""
    name = "labels do not follow the time"
    target, time = _targets(data)[0](data), data.column("time_ns").astype(float)
    area = _mean_area(target, time, data.column("group"))
    if area is None:
        return DatasetControl(name, "not judged", "no run has both labels")
    told = f"within runs, the time alone reaches an AUC of {max(area, 1 - area):.3f}"
    if max(area, 1 - area) > TOO_GOOD:
        return DatasetControl(name, "flaw", told, area)
    return DatasetControl(name, "ok", told, area)


def _some(data: Dataset, rng: np.random.Generator) -> Dataset:
    """Return some of the rows, of choices whole ones."""
    if len(data) <= _MOST_ROWS:
        return data
    blocks = _blocks(data) if data.task.label == "choice" else np.arange(len(data))
    names = np.unique(blocks)
    kept = rng.choice(names, max(int(len(names) * _MOST_ROWS / len(data)), 1), replace=False)
    return data.where(np.isin(blocks, kept))


def _shuffled(truth: Any, blocks: Any, rng: np.random.Generator) -> Any:
    """Permute within blocks."""
    order = np.lexsort((rng.random(len(truth)), blocks))
    target = np.argsort(blocks, kind="stable")
    mixed = np.empty_like(truth)
    mixed[target] = truth[order]
    return mixed


def _trained(bins: Any, truth: Any, nr_classes: int = 2) -> Any:
    """Train a few small trees, and return what scores bins: [rows], or [rows, classes] of more than two."""
    import lightgbm

    settings: dict[str, Any] = {"verbosity": -1, "num_threads": 1, "seed": 1, "deterministic": True}
    settings |= {"num_leaves": 15, "learning_rate": 0.2, "force_row_wise": True}
    if nr_classes > 2:
        settings |= {"objective": "multiclass", "num_class": nr_classes}
    else:
        settings |= {"objective": "binary"}
    rows = lightgbm.Dataset(bins.astype(np.float32), label=np.asarray(truth, float))
    booster = lightgbm.train(settings, rows, num_boost_round=_ROUNDS)
    return lambda of: booster.predict(of.astype(np.float32))


def _mean_area(truth: Flags, score: Floats, group: Any) -> float | None:
    """The area under the ROC curve within each run, averaged over runs with both labels."""
    areas = [
        area for number in np.unique(group) if (area := _area(truth, score, group == number)) is not None
    ]
    return float(np.mean(areas)) if areas else None


def _area(truth: Flags, score: Floats, which: Flags) -> float | None:
    from scipy.stats import rankdata

    truth = truth[which]
    nr_true, nr_false = int(truth.sum()), int((~truth).sum())
    if not nr_true or not nr_false:
        return None
    ranks = rankdata(score[which])
    return float((ranks[truth].sum() - nr_true * (nr_true + 1) / 2) / (nr_true * nr_false))
