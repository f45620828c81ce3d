"""What does a search by halves keep of itself in its folder, so that it can be continued?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from schedtuna.configfile import first_fault, parse_json
from schedtuna.errors import StudyError
from schedtuna.evidence.result import Verdict
from schedtuna.experiment.identity import require_same
from schedtuna.files import write_text
from schedtuna.files.versions import StoredFormat

FILE_NAME = "bisect.json"
STORED = StoredFormat(StudyError)


class Made(BaseModel):
    """A comparison that was begun.

    Attributes:
        default: What the candidate is held against: a place in the list.
        candidate: The one that may be better, likewise.
        folder: Name of its folder, which is in the search's.
        told: What came of it, in a sentence; empty until it ended.
        verdict: What it proved; None until it ended.
    """

    default: int = Field(ge=0)
    candidate: int = Field(ge=0)
    folder: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
    told: str = ""
    verdict: Verdict | None = None


class BisectionFile(BaseModel):
    """Where a search stands.

    Attributes:
        releases: What is searched, oldest first.
        asked: What every verdict depends on; a search is never continued under another one.
        seed: Of the first comparison.
        comparisons: Those that were begun, in order.
        ended: How the search ended; empty until then.
        sentence: What it found.
    """

    releases: list[str]
    asked: dict[str, str]
    seed: int = Field(ge=0)
    comparisons: list[Made] = []
    ended: str = ""
    sentence: str = ""

    @model_validator(mode="after")
    def _within_the_list(self) -> Self:
        if any(max(made.default, made.candidate) >= len(self.releases) for made in self.comparisons):
            raise ValueError("a comparison is of a release that is not in the list")
        return self

    def write(self, folder: Path) -> None:
        """Keep it in a search's folder."""
        content = {STORED.key: STORED.newest, **self.model_dump(mode="json")}
        write_text(folder / FILE_NAME, json.dumps(content, indent=2) + "\n")


def read_bisection(folder: Path, *, releases: list[str], asked: Mapping[str, str]) -> BisectionFile:
    """Read where a search stands that is to be continued.

    Raises:
        StudyError: The folder has none, or one of other releases or of another question.
    """
    path = folder / FILE_NAME
    try:
        found = BisectionFile.model_validate(STORED.upgrade(parse_json(path.read_bytes()), path))
    except ValidationError as error:
        raise StudyError(f"{path} is damaged: {first_fault(error)}") from None
    except (OSError, ValueError) as error:
        raise StudyError(
            f"{path} can't be read: {error}", hint="name a folder of `schedtuna bisect`"
        ) from None
    if found.releases != releases:
        raise StudyError(
            f"{folder} bisects {', '.join(found.releases)}, not {', '.join(releases)}",
            hint="repeat the command that started it, or start anew",
        )
    require_same(path, there=found.asked, here=asked)
    return found
