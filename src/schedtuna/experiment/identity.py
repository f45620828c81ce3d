"""Are these trials of the same? What trials are trials of, and how two of it differ, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from schedtuna.errors import StudyError

Identity = Mapping[str, str]


def require_same(path: Path, *, there: Identity, here: Identity) -> None:
    """Refuse to continue what was begun under another identity.

    Args:
        path: The file in the folder that says it.
        there: What that says.
        here: What is asked now.

    Raises:
        StudyError: They differ; it says in what.
    """
    differing = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    if differing:
        details = "; ".join(
            f"{name} was {_short(there.get(name), here.get(name))}, "
            f"is {_short(here.get(name), there.get(name))}"
            for name in differing
        )
        raise StudyError(
            f"{path.parent} holds trials of another {_listing(differing)}: {details}",
            hint="repeat the command that started it, or start anew in another folder",
        )


def _short(text: str | None, other: str | None, limit: int = 60) -> str:
    """The part of a long text where it begins to differ from another."""
    if text is None:
        return "absent"
    pairs = enumerate(zip(text, other or "", strict=False))
    first = next((at for at, (mine, theirs) in pairs if mine != theirs), 0)
    start = max(0, first - 20) if len(text) > limit else 0
    return (
        ("..." if start else "") + text[start : start + limit] + ("..." if len(text) > start + limit else "")
    )


def _listing(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
