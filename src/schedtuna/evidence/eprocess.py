"""May one look after every pair of windows, without end? An e-process over ranks: valid whenever one looks.

A unit is a few stretches of time of which chance alone chose the one that differs: a pair with the candidate
in force in one half, or a cycle of slots with the candidate withdrawn in one. Were the candidate without any
effect, the numbers would have been the same whichever was chosen, so a score that only the choice gives its
sign or place has mean 0, whatever came before. Betting a share of what one owns on such scores is a fair
game: the wealth exceeds 1/alpha with probability alpha at most, ever (Ville's inequality). Neither drifts of
the load nor its own rhythm nor dependence between units break that, as none of them knows the choice.

- Sequential signed ranks: M. R. Reynolds, "A sequential signed-rank test for symmetry", Annals of Statistics
  3 (1975); as a game: A. Ramdas et al., "Admissible anytime-valid sequential inference must rely on
  nonnegative martingales" (2020), section on symmetry.
- Harm that begins late: the wealth is put into the game little by little, which is a mixture over the unit at
  which the effect begins: J. Shin, A. Ramdas, A. Rinaldo, "E-detectors: a nonparametric framework for
  sequential change detection", New England Journal of Statistics in Data Science 2 (2023).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from schedtuna.evidence.shift import FloatArray

STAKES = np.array([[0.15], [0.3], [0.5], [0.7], [0.9]])  # shares that are bet; a mixture of gamblers
REMEMBERED = 64  # units that a rank is among: noise may change over hours
_RICHEST = 1e300


def unspent(nr_units: int) -> float:
    """Share of the wealth that is not in the game yet after so many units: it halves ever more slowly."""
    return math.log(2) / math.log(nr_units + 2)


class RankWealth:
    """What gamblers own who bet that scores are positive, in several games side by side.

    Args:
        nr_games: Each tests a hypothesis of its own.

    Attributes:
        nr_units: Scores so far.
        most: The most they ever owned, by game: evidence that stays, whatever comes after.
    """

    def __init__(self, nr_games: int = 1) -> None:
        self.nr_units = 0
        self.most: FloatArray = np.ones(nr_games)
        self._invested: FloatArray = np.zeros((len(STAKES), nr_games))

    def add(self, scores: FloatArray) -> None:
        """Play one round.

        Args:
            scores: By game; -1 to 1, with mean 0 under the hypothesis, given all before.
        """
        fresh = (unspent(self.nr_units) - unspent(self.nr_units + 1)) / len(STAKES)
        self._invested = np.minimum((self._invested + fresh) * (1 + STAKES * scores), _RICHEST)
        self.nr_units += 1
        self.most = np.maximum(self.most, self.e_values)

    @property
    def e_values(self) -> FloatArray:
        """What they own now, of 1 at the start: 1 at most is expected under the hypothesis."""
        owned: FloatArray = unspent(self.nr_units) + self._invested.sum(axis=0)
        return owned


class SizeRanks:
    """How large is a number among the last ones, in several games side by side?"""

    def __init__(self, nr_games: int = 1) -> None:
        self._recent: FloatArray = np.full((REMEMBERED, nr_games), np.nan)
        self._nr_seen = 0

    def rank(self, sizes: FloatArray) -> FloatArray:
        """Add sizes; return their mid-ranks among the last ones with themselves, above 0, below or at 1."""
        self._recent[self._nr_seen % REMEMBERED] = sizes
        self._nr_seen += 1
        among = self._recent[: min(self._nr_seen, REMEMBERED)]
        below, upto = (among < sizes).sum(axis=0), (among <= sizes).sum(axis=0)
        ranks: FloatArray = (below + upto) / 2 / len(among)
        return ranks


def pair_scores(differences: FloatArray, ranks: SizeRanks) -> FloatArray:
    """Scores of a pair of halves: the sign of a difference, the more the larger it is among the last ones.

    The root of the rank found effects of 0.6 to 2 standard deviations with the fewest pairs among the powers
    that were compared.
    """
    scores: FloatArray = np.sign(differences) * np.sqrt(ranks.rank(np.abs(differences)))
    return scores


def slot_scores(values: FloatArray, place: int) -> FloatArray:
    """Scores of a cycle: how low one slot is among all, each less the mean of its neighbours.

    Args:
        values: [slots, games], in the order they ran; 3 slots or more.
        place: Which one chance had chosen.

    Returns:
        By game, -1 to 1; positive when it is lower than the others.
    """
    levels = values - (_neighbours(values, 1) + _neighbours(values, -1)) / 2
    lower, same = (levels < levels[place]).sum(axis=0), (levels == levels[place]).sum(axis=0)
    scores: FloatArray = 1 - 2 * (lower + same / 2) / len(values)
    return scores


def _neighbours(values: FloatArray, step: int) -> NDArray[np.float64]:
    """The values on one side; the ends have their only neighbour on both."""
    places = np.arange(len(values)) + step
    places[places < 0] = 1
    places[places >= len(values)] = len(values) - 2
    return values[places]
