"""How long may a search go on under a time limit, and what is left for the confirmation?

Settings that are slow, or that time out, make runs much longer than the default's were, and samplers
take time to think: the clock decides, not the number of runs that the default's duration promised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from schedtuna.evidence.design import RUNS_PER_BLOCK, minimum_blocks
from schedtuna.experiment.triallog import TrialRecord

LEAST_RUNS = 3  # of a search, however late it is
TIME_SLACK = 0.9  # the part of the time left that is planned for


@dataclass(frozen=True)
class TimeLimit:
    """A study's time, earlier sessions included.

    Attributes:
        limit_s: All of it, in seconds.
        elapsed_s: Says how much is gone.
        search_share: The part that the default's runs and the search may take.
    """

    limit_s: float
    elapsed_s: Callable[[], float]
    search_share: float

    def search_is_over(self, nr_runs: int) -> bool:
        """Whether no run of the search should start after these."""
        return nr_runs >= LEAST_RUNS and self.elapsed_s() >= self.search_share * self.limit_s

    def expected_runs(self, nr_runs: int, nr_baseline: int) -> int:
        """How many runs the search will have made by its end, at the pace so far."""
        gone_s = self.elapsed_s()
        pace_s = max(gone_s / max(1, nr_runs + nr_baseline), 1e-3)
        return nr_runs + max(1, int((self.search_share * self.limit_s - gone_s) / pace_s))

    def confirmation_runs(self, baseline: Sequence[TrialRecord], candidate: Sequence[TrialRecord]) -> int:
        """How many runs of the default, the default again and the candidate the time left has room for."""
        default_s = median(record.trial.duration_s for record in baseline)
        others_s = [record.trial.duration_s for record in candidate] or [default_s]
        block_s = max((RUNS_PER_BLOCK - 1) * default_s + median(others_s), 1e-3)
        blocks = int(TIME_SLACK * (self.limit_s - self.elapsed_s()) / block_s)
        return RUNS_PER_BLOCK * max(blocks, minimum_blocks())
