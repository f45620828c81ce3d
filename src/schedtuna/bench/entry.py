"""What does the file of an entry hold? What competed, what it claims, and what that was measured with."""

from __future__ import annotations

from datetime import date
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schedtuna.bench.parts import hash_of
from schedtuna.configfile import first_fault, parse_json
from schedtuna.errors import BenchError
from schedtuna.files import write_text
from schedtuna.files.versions import StoredFormat

STORED = StoredFormat(BenchError)
MOST_BYTES = 4 << 20
_HASH = Field(pattern=r"^[0-9a-f]{64}$")


class PlayedEpisode(BaseModel):
    """An episode, and what came of it.

    Attributes:
        family: Of its load.
        load: As `sim run` takes it.
        seed: Of its arrivals.
        turnaround, latency: The entry's over the default scheduler's; lower is better.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: str
    load: str
    seed: int = Field(ge=0)
    turnaround: float = Field(gt=0, allow_inf_nan=False)
    latency: float = Field(gt=0, allow_inf_nan=False)


class BenchEntry(BaseModel):
    """A file's content.

    Attributes:
        version: Of this format.
        benchmark: Of SchedBench.
        benchmark_sha256: Of all its parts.
        schedtuna_version: What wrote it.
        track: In which it competes.
        entry: A scheduler with its values; of a policy, its name.
        policy_file: Beside this file; empty: a scheduler.
        policy_sha256: Of that file.
        made_on: The day, UTC.
        material: What its episodes were drawn from.
        episodes: All that were played.
        sha256: Of everything above.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = STORED.newest
    benchmark: int = Field(ge=1)
    benchmark_sha256: str = _HASH
    schedtuna_version: str
    track: str
    entry: str
    policy_file: str = Field(default="", pattern=r"^[^/\x00]{0,255}$")
    policy_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    made_on: date
    material: str
    episodes: list[PlayedEpisode] = Field(min_length=1, max_length=100_000)
    sha256: str = ""

    def own_hash(self) -> str:
        """Return the hash of everything but the hash."""
        return hash_of(self.model_dump(mode="json", exclude={"sha256"}))

    def sealed(self) -> BenchEntry:
        """Return the same with its hash."""
        return self.model_copy(update={"sha256": self.own_hash()})


def save_entry(entry: BenchEntry, path: Path) -> None:
    """Write an entry, whole or not at all."""
    write_text(path, entry.model_dump_json(indent=1) + "\n")


def load_entry(path: Path) -> tuple[BenchEntry, str]:
    """Read an entry, and return it with the hash of its file.

    Raises:
        BenchError: There is none, it is damaged, or a newer version wrote it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BenchError(
            f"{path} can't be read: {error.strerror}", hint="`schedtuna bench run` writes one"
        ) from error
    if len(data) > MOST_BYTES:
        raise BenchError(f"{path} is no entry of SchedBench: it has more than {MOST_BYTES >> 20} MB")
    try:
        content = parse_json(data)
    except ValueError as error:
        raise BenchError(f"{path} is no entry of SchedBench: {error}") from error
    if not isinstance(content, dict):
        raise BenchError(f"{path} is no entry of SchedBench: expected an object")
    try:
        entry = BenchEntry.model_validate(STORED.upgrade(content, path))
    except ValidationError as error:
        raise BenchError(f"{path} is no entry of SchedBench: {first_fault(error)}") from None
    return entry, sha256(data).hexdigest()
