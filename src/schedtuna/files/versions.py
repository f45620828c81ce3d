"""Which version of its format is a stored file of, and how does its content become today's?

Every kind of file that outlives a run has one `StoredFormat`, called `STORED`, beside the model that reads
it. Its table says, for each former version, what makes the next one of it. To change a format:

1. Write one function beside the table. It takes the content of the version that was the newest, as
   plain JSON values, and returns that of the next; the version itself is seen to.
2. Add one row to the table: the version that the function takes, and the function. What is written has
   the newest version, which follows from the table.
3. Add files of the former version to `tests/data/old`; the tests there read all that they find.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schedtuna.errors import SchedtunaError

FIRST = 1

Content = dict[str, Any]
Migration = Callable[[Content], Content]


@dataclass(frozen=True)
class StoredFormat:
    """The versions of one kind of file.

    Attributes:
        error: What is raised for a file that can't be used.
        migrations: Version -> what makes the next one's content of it, from `FIRST` on without gaps.
        key: What the content calls its version. A content without it is of version `FIRST`.
    """

    error: type[SchedtunaError]
    migrations: Mapping[int, Migration] = field(default_factory=dict)
    key: str = "version"

    @property
    def newest(self) -> int:
        """The version that is written."""
        return FIRST + len(self.migrations)

    def version_of(self, content: Content, where: Path | str) -> int:
        """Return the version of a content.

        Args:
            content: What the file, or its first line, holds: plain JSON values.
            where: Names it in messages.

        Raises:
            SchedtunaError: `error`: no version of it is known.
        """
        version = content.get(self.key, FIRST)
        if not isinstance(version, int) or isinstance(version, bool) or version < FIRST:
            raise self.error(f"{where} is damaged: its {self.key} is {version!r}")
        if version > self.newest:
            writer = repr(str(content["schedtuna_version"])[:40]) if "schedtuna_version" in content else "one"
            raise self.error(
                f"{where} has {self.key.replace('_', ' ')} {version}, and this program knows those up to "
                f"{self.newest}",
                hint=f"update schedtuna: a newer {writer} wrote it",
            )
        return version

    def upgrade(self, content: Any, where: Path | str) -> Content:
        """Return the content of a file as one of the newest version; what is given stays as it is.

        Args:
            content: What the file holds: plain JSON values.
            where: Names it in messages.

        Raises:
            SchedtunaError: `error`: no version of it is known, or it lacks what its version has.
        """
        if not isinstance(content, Mapping):
            raise self.error(f"{where} is damaged: expected names and values, not {type(content).__name__}")
        content = dict(content)
        version = self.version_of(content, where)
        try:
            return {**self.upgrade_line(content, version), self.key: self.newest}
        except ValueError as error:
            raise self.error(f"{where} is damaged: {error}") from None

    def upgrade_line(self, content: Any, version: int) -> Content:
        """Return one of a file's lines as one of the newest version: the first line says which it is of.

        Raises:
            ValueError: It lacks what that version has.
        """
        try:
            for former in range(version, self.newest):
                content = self.migrations[former](copy.deepcopy(content))
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"it is not of version {version}: {error!r}") from None
        return dict(content)
