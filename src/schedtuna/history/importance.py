"""Which parameters matter, and which of them only together? Functional ANOVA over a surrogate.

The surrogate is the default sampler's Gaussian process: it pools repeats, knows the noise, and has
one length scale per parameter. A function f of its posterior is split over the whole space into what each
parameter does alone, what pairs do beyond that, and the rest (Sobol' 2001; Hutter, Hoos &
Leyton-Brown 2014). With x uniform over the space,

    main     V_j  = Var(E[f | x_j])
    pair     V_jk = Var(E[f | x_j, x_k]) - V_j - V_k
    total    T_j  = E[Var(f | x_-j)]        everything that x_j has a part in

and all of them are given as parts of Var(f). Figures are medians and percentiles over functions drawn from
the posterior of runs that were drawn anew with replacement: so an estimate lies within its interval, and
what is uncertain does not vanish from it, as it would from the split of the smooth posterior mean
(Oakley & O'Hagan 2004). Whether a parameter matters at all is a permutation test (see `relevance`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from schedtuna.errors import StudyError
from schedtuna.history.anova import Data, Parts, Split, Surrogate, explained, interaction
from schedtuna.history.relevance import ALPHA, corrected, relevance
from schedtuna.history.replay import ScoredStudy, one_space
from schedtuna.samplers.observation import Observation
from schedtuna.space import ParameterSpace, ParameterValue

LEAST_SCALE = 1e-9  # of a log ratio: below it, differences are rounding
LEAST_SETTINGS = 10  # distinct ones below which a surrogate means nothing
MOST_SETTINGS = 250  # its price grows with their cube
MOST_PAIRED = 5  # parameters whose pairs are looked at: those with the largest totals
NR_DRAWS = 200

Interval = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """What one parameter does alone, averaged over the others.

    Attributes:
        settings: Its settings.
        changes: Expected cost at each, over that at the default: log ratios.
        changes_95: Intervals.
    """

    settings: tuple[ParameterValue, ...]
    changes: tuple[float, ...]
    changes_95: tuple[Interval, ...]


@dataclass(frozen=True)
class Importance:
    """How much one parameter matters.

    Attributes:
        name: The parameter.
        main: Part of the variance that it explains alone.
        main_95: Interval.
        total: Part of the variance that it has a part in.
        total_95: Interval.
        p: Chance of so much evidence for the parameter if it had no effect, corrected for the number of
            parameters that were tested (Holm 1979).
        matters: Whether that is at most 5%.
        curve: What its settings do.
    """

    name: str
    main: float
    main_95: Interval
    total: float
    total_95: Interval
    p: float
    matters: bool
    curve: Curve


@dataclass(frozen=True)
class Interaction:
    """What two parameters do together beyond what each does alone, as part of the variance."""

    names: tuple[str, str]
    part: float
    part_95: Interval


@dataclass(frozen=True)
class ImportanceAnalysis:
    """What runs say about a space.

    Attributes:
        nr_runs: Runs used.
        nr_settings: Distinct assignments among them.
        nr_clipped: Runs that cost far more than the rest.
        clipped_at: What these, and failures, count as: a log ratio.
        explained: Part of the settings' variance that the surrogate predicts for a setting that it
            has not seen; at or below 0 it predicts nothing.
        effect_sd: Standard deviation of the expected cost over the space: a log ratio.
        noise_sd: Of single runs, likewise.
        parameters: The largest total first.
        interactions: The largest first.
        unvaried: Parameters that ran at one setting only, of which nothing is known.
    """

    nr_runs: int
    nr_settings: int
    nr_clipped: int
    clipped_at: float
    explained: float
    effect_sd: float
    noise_sd: float
    parameters: tuple[Importance, ...]
    interactions: tuple[Interaction, ...]
    unvaried: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return asdict(self)


def analyse(space: ParameterSpace, runs: Sequence[Observation], *, seed: int = 0) -> ImportanceAnalysis:
    """Split what settings did over the parameters.

    Args:
        space: What was searched.
        runs: What ran; a failure counts as the worst run.
        seed: Of everything that is drawn.

    Raises:
        StudyError: Too few distinct settings ran, or all costs are equal.
    """
    rng = np.random.default_rng([seed, 6])
    nr_settings = len({space.key(run.values) for run in runs})
    if nr_settings < LEAST_SETTINGS:
        raise StudyError(
            f"only {nr_settings} different settings ran, too few to tell parameters apart",
            hint=f"analyse at least {LEAST_SETTINGS}, better five times as many as there are parameters",
        )
    data = Data.of(space, runs, most=MOST_SETTINGS, rng=rng)
    if data.scale < LEAST_SCALE:
        raise StudyError("all runs cost the same, so no parameter can matter")
    fit = data.fit()
    surrogate = Surrogate(data, fit, rng)
    split = Split(surrogate, rng)
    weights = np.array(list(surrogate.draws(NR_DRAWS, rng)))
    drawn = [split.parts(row) for row in weights]
    p_values = corrected({name: relevance(data, name, rng) for name in data.varied})
    found = [_importance(name, split, drawn, p=p) for name, p in p_values.items()]
    found.sort(key=lambda row: -row.total)
    return ImportanceAnalysis(
        nr_runs=len(data.costs),
        nr_settings=len(data.settings),
        nr_clipped=data.nr_clipped,
        clipped_at=data.worst,
        explained=explained(fit),
        effect_sd=data.scale * math.sqrt(float(np.median([parts.variance for parts in drawn]))),
        noise_sd=data.scale * math.sqrt(surrogate.noise),
        parameters=tuple(found),
        interactions=_interactions(split.pairs([row.name for row in found[:MOST_PAIRED]]), weights, drawn),
        unvaried=tuple(name for name in space.names if name not in data.varied),
    )


@dataclass(frozen=True)
class StudiesAnalysis:
    """What past studies of one space say together.

    Attributes:
        studies: Those that were used.
        space: What they searched.
        found: What their runs say about it.
        notes: What else differs between them.
    """

    studies: tuple[ScoredStudy, ...]
    space: ParameterSpace
    found: ImportanceAnalysis
    notes: tuple[str, ...]

    @property
    def goal(self) -> str:
        """What they optimised; of several goals each once."""
        return " or ".join(dict.fromkeys(one.goal for one in self.studies))

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            **self.found.to_dict(),
            "scheduler": self.studies[0].study.plan.scheduler.name,
            "metrics": self.goal,
            "studies": [str(one.study.folder) for one in self.studies],
            "notes": list(self.notes),
        }


def analyse_studies(studies: Sequence[ScoredStudy], *, seed: int = 0) -> StudiesAnalysis:
    """Split what settings did over the parameters, by all runs of past studies.

    Args:
        studies: From `history.replay.score`.
        seed: Of everything that is drawn.

    Raises:
        UsageError: They searched several spaces.
        StudyError: Too few distinct settings ran, or all costs are equal.
    """
    space, runs, notes = one_space(studies)
    return StudiesAnalysis(tuple(studies), space, analyse(space, runs, seed=seed), tuple(notes))


def _importance(name: str, split: Split, drawn: Sequence[Parts], *, p: float) -> Importance:
    main, main_95 = _estimate([_part(parts.main[name], parts) for parts in drawn])
    total, total_95 = _estimate([_part(parts.total[name], parts) for parts in drawn])
    curve = _curve(name, split, drawn)
    return Importance(name, main, main_95, total, total_95, p, matters=p <= ALPHA, curve=curve)


def _curve(name: str, split: Split, drawn: Sequence[Parts]) -> Curve:
    scale = split.surrogate.data.scale
    curves = np.array([parts.curves[name][1:] - parts.curves[name][0] for parts in drawn])
    changes, changes_95 = zip(*map(_estimate, scale * curves.T), strict=True)
    return Curve(split.settings[name], changes, changes_95)


def _interactions(
    tables: Mapping[tuple[str, str], np.ndarray], weights: np.ndarray, drawn: Sequence[Parts]
) -> tuple[Interaction, ...]:
    found = [
        Interaction(
            names,
            *_estimate(
                [_part(interaction(table @ row), parts) for row, parts in zip(weights, drawn, strict=True)]
            ),
        )
        for names, table in tables.items()
    ]
    return tuple(sorted(found, key=lambda row: -row.part))


def _part(variance: float, parts: Parts) -> float:
    return min(variance / parts.variance, 1.0) if parts.variance > 0 else 0.0


def _estimate(values: Sequence[float] | np.ndarray) -> tuple[float, Interval]:
    """Median and 95% interval of what the drawn functions say."""
    low, middle, high = np.percentile(values, (2.5, 50, 97.5))
    return float(middle), (float(low), float(high))
