"""Which schedulers were thrown out here, so that they are not started into the same stall again?

A row holds for one program, by its contents, under one kernel: an upgrade of either gives it another chance.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schedtuna.configfile import parse_json
from schedtuna.errors import UsageError
from schedtuna.files import Folder, make_folder, read_all, write_text

FILE_NAME = "quarantine.json"
_DIGITS = 12


class QuarantineError(UsageError):
    """The list of quarantined schedulers can't be read, so none may be started by itself."""


class QuarantinedScheduler(BaseModel):
    """One that was thrown out.

    Attributes:
        name: Without values: whatever they are, it is the same program.
        version: `program_version` of its program.
        ops: What the kernel called it, which mostly has its own version in it.
        kernel: The kernel's release.
        arm: With which values it ran.
        reason: Why it was thrown out.
        time: When, Unix time in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1)]
    version: str
    ops: str = ""
    kernel: str
    arm: str = ""
    reason: str
    time: float

    def tell(self) -> str:
        """What is known of it, for people."""
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.time))
        what = f"{self.arm or self.name} (program {self.version})"
        return f"{what} was ejected on {when} under {self.kernel}: {self.reason}"


class Quarantine:
    """The list in one folder; every call reads or writes the file anew.

    Args:
        folder: That of the journal.
        kernel: The release; default: that of this kernel.
    """

    def __init__(self, folder: Path, *, kernel: str | None = None) -> None:
        self._folder = folder
        self.kernel = kernel or os.uname().release

    def rows(self) -> list[QuarantinedScheduler]:
        """Return all of them, of other kernels and programs, too.

        Raises:
            QuarantineError: The file is damaged.
        """
        return list(self._read())

    def find(self, name: str, version: str) -> QuarantinedScheduler | None:
        """Return why a program may not be started under this kernel; None: it may."""
        wanted = name, version, self.kernel
        return next((row for row in self._read() if (row.name, row.version, row.kernel) == wanted), None)

    def add(self, arm: str, version: str, *, ops: str, reason: str) -> QuarantinedScheduler:
        """Write one down that was just thrown out, in place of what was said of it before."""
        name = arm.partition(":")[0]
        new = QuarantinedScheduler(
            name=name, version=version, ops=ops, kernel=self.kernel, arm=arm, reason=reason, time=time.time()
        )
        same = name, version, self.kernel
        self._write([*(row for row in self._read() if (row.name, row.version, row.kernel) != same), new])
        return new

    def lift(self, name: str) -> list[QuarantinedScheduler]:
        """Take a scheduler from the list, whatever its program and kernel; returns what was said of it."""
        rows = self.rows()
        lifted = [row for row in rows if row.name == name]
        if lifted:
            self._write([row for row in rows if row.name != name])
        return lifted

    def _read(self) -> Iterator[QuarantinedScheduler]:
        try:
            with Folder(self._folder, own=False) as folder:
                file = folder.open(FILE_NAME, os.O_RDONLY)
        except FileNotFoundError:
            return
        try:
            text = read_all(file)
        finally:
            os.close(file)
        try:
            yield from [QuarantinedScheduler.model_validate(row) for row in parse_json(text)["ejected"]]
        except (ValueError, TypeError, KeyError, ValidationError) as error:
            raise QuarantineError(
                f"{self._folder / FILE_NAME} is damaged: {str(error).splitlines()[0]}",
                hint="remove it, if no scheduler was ever ejected here",
            ) from error

    def _write(self, rows: list[QuarantinedScheduler]) -> None:
        content = {"version": 1, "ejected": [row.model_dump(mode="json") for row in rows]}
        make_folder(self._folder, mode=0o700)
        write_text(self._folder / FILE_NAME, json.dumps(content, indent=1) + "\n")


def program_version(program: Path) -> str:
    """Return twelve digits that are others for each build of a program."""
    digest = hashlib.sha256()
    with program.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:_DIGITS]
