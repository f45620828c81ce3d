"""The runs of a demonstration as they are kept: a JSON object a line, so that what ended early goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from schedtuna import __version__
from schedtuna.agent.demo.figures import DemoRun
from schedtuna.configfile import parse_json
from schedtuna.errors import StudyError, naming
from schedtuna.files.versions import StoredFormat
from schedtuna.files.whole import append_to, write_text

STORED = StoredFormat(StudyError, key="format_version")


class _KeptRun(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    load: str
    arm: str
    block: int
    figures: dict[str, float]
    nr_acted_on: int
    nr_threads: int
    own_cpu_percent: float | None

    def run(self) -> DemoRun:
        return DemoRun(**{name: value for name, value in self if name != "load"})


class KeptRuns:
    """A file of runs.

    Args:
        path: The file; it is made where there is none.
        facts: What all of its runs have in common, such as the seed: one that exists must have the same.

    Raises:
        StudyError: The file is of other facts, of another version, or damaged.
        OSError: It can't be read or written.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self._path = path
        self._runs: dict[tuple[str, str, int], DemoRun] = {}
        head = {STORED.key: STORED.newest, "schedtuna_version": __version__, "facts": facts}
        if not path.exists():
            write_text(path, json.dumps(head) + "\n")
            return
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        self._require_same(lines[0] if lines else "", facts)
        whole = [lines[0]]
        for number, line in enumerate(lines[1:], 2):
            try:
                kept = _KeptRun.model_validate(parse_json(line))
            except (ValueError, ValidationError) as error:
                if number == len(lines):
                    break  # it was being written when all ended
                raise StudyError(f"{path}, line {number}, is damaged: {error}") from error
            self._runs[kept.load, kept.arm, kept.block] = kept.run()
            whole.append(line)
        write_text(path, "\n".join(whole) + "\n")

    def _require_same(self, line: str, facts: dict[str, Any]) -> None:
        try:
            head = STORED.upgrade(parse_json(line), self._path)
        except ValueError as error:
            raise StudyError(f"{self._path} holds no runs of `schedtuna demo agent`") from error
        found = head.get("facts")
        if found != facts:
            raise StudyError(
                f"{self._path} holds runs of {json.dumps(found)}, and these are of {json.dumps(facts)}",
                hint="give the same --seed on the same machine to go on with it, or another file",
            )

    def of(self, load: str, arm: str, block: int) -> DemoRun | None:
        """Return a run that is there."""
        return self._runs.get((load, arm, block))

    def add(self, load: str, run: DemoRun) -> None:
        """Keep a run.

        Raises:
            OSError: It can't be written.
        """
        row = _KeptRun(load=load, **{**vars(run), "figures": dict(run.figures)})
        with naming(self._path):
            append_to(self._path, row.model_dump_json().encode() + b"\n")
        self._runs[load, run.arm, run.block] = run
