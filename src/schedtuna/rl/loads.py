"""Which loads is a policy trained on, chosen by, and judged on, where nobody says?

Families are the same in all three; their members differ, and so do the seeds of every episode.
"""

from __future__ import annotations

from collections.abc import Sequence

from schedtuna.env.registration import ENVIRONMENTS
from schedtuna.errors import UsageError
from schedtuna.rl.policy import Splits

FAMILIES = ("poisson", "heavy-tail", "bursts", "interactive")
LOAD = 0.9  # CPU time asked for per second and CPU: where it matters who is first
MEMBERS = {"train": range(1, 5), "validation": range(101, 103), "test": range(201, 203)}


def splits_for(
    environment: str, train: Sequence[str], validation: Sequence[str], test: Sequence[str]
) -> Splits:
    """Return the loads of a training in an environment.

    Args:
        environment: Its id.
        train: Those that the user chose; if any of the three are, only those are taken.
        validation: The same.
        test: The same.

    Raises:
        UsageError: There are some to train on, and none to choose by.
    """
    if train and not validation:
        raise UsageError(
            "--workload says what is trained on, and nothing what the best stage is chosen by",
            hint=f"name others, or other members: --validate {FAMILIES[0]}:load={LOAD},member=101",
        )
    if train or validation or test or environment not in ENVIRONMENTS:
        return Splits(train=list(train), validation=list(validation), test=list(test))
    return Splits(**{name: default_loads(name) for name in MEMBERS})


def default_loads(split: str) -> list[str]:
    """Return the loads of ``train``, ``validation`` or ``test``."""
    return [f"{family}:load={LOAD},member={member}" for member in MEMBERS[split] for family in FAMILIES]
