"""What is known of the schedulers that this package ships data of: what does each release of them understand?

One TOML file per scheduler in `data/` states its flags, the releases that had them, and which of
them make sense to search.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Container, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from schedtuna.errors import UsageError
from schedtuna.printable import exact
from schedtuna.resources import resource_path
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import Constraint, ParameterSpec, ParameterType, ParameterValue, spell_value
from schedtuna.space.parameter import FALSE_WORDS, TRUE_WORDS

FlagKind = Literal["switch", "value", "boolean", "count"]
_NUMBER = re.compile(r"[0-9]{1,300}(?:\.[0-9]{1,300})?")


class DatedDefault(BaseModel):
    """A flag's default, from a release on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    since: str
    value: str


class Flag(BaseModel):
    """One command-line flag of a scheduler.

    Attributes:
        flag: Its long name with dashes; the short one where it has no long one.
        short: Its short name.
        kind: `switch` takes no value, `boolean` takes true or false, `count` may be repeated.
        since: First release that has it; empty: the first one known.
        until: Last release that has it; empty: the newest one known.
        deprecated: Accepted, but without effect or about to go.
        defaults: What it is when it is not given, by release.
        parameter: How to search it; None where that makes no sense.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flag: str
    short: str = ""
    kind: FlagKind
    since: str = ""
    until: str = ""
    deprecated: bool = False
    defaults: tuple[DatedDefault, ...] = ()
    parameter: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name of its parameter."""
        return str((self.parameter or {}).get("name", self.flag.lstrip("-").replace("-", "_")))

    @property
    def command_arg(self) -> str:
        """How a value is put on the command line."""
        return f"{self.flag}={{value}}" if self.kind == "boolean" else self.flag


class Rename(BaseModel):
    """A flag that goes on under another name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    old: str
    new: str
    since: str


class OlderName(BaseModel):
    """A parameter that older tools used, and what it means for the real binary.

    Attributes:
        name: The older name.
        parameter: What it maps to.
        min_value: Bounds of the older name's number.
        max_value: As above.
        when_true: What true means; without it the value is a number.
        when_false: What false means.
        reason: Why the older name is not the parameter's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    parameter: str
    min_value: float | None = None
    max_value: float | None = None
    when_true: ParameterValue | None = None
    when_false: ParameterValue | None = None
    reason: str

    def translate(self, value: Any) -> ParameterValue:
        """Return the value of the real parameter; a text where the value is one.

        Raises:
            UsageError: The older name can't have meant this value.
        """
        meant = self._meant(value)
        return spell_value(meant) if isinstance(value, str) else meant

    def _meant(self, value: bool | float | str) -> ParameterValue:
        if self.when_true is not None and self.when_false is not None:
            word = str(value).lower() if isinstance(value, bool | str) else ""
            if word in TRUE_WORDS:
                return self.when_true
            if word in FALSE_WORDS:
                return self.when_false
            raise self._refusal(value, "true or false")
        if isinstance(value, str):
            number = float(value) if _NUMBER.fullmatch(value) else math.nan
        else:
            number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else value
        if math.isnan(number):
            raise self._refusal(value, "a number")
        low, high = self.min_value, self.max_value
        if low is not None and high is not None and not low <= number <= high:
            raise self._refusal(value, f"{exact(low)} to {exact(high)}")
        return value

    def _refusal(self, value: Any, expected: str) -> UsageError:
        return UsageError(
            f"{self.name}={value}: expected {expected}", hint=f"it means {self.parameter}: {self.reason}"
        )


class Entry(BaseModel):
    """What is known of one scheduler.

    Attributes:
        name: Name of its binary.
        summary: One sentence.
        releases: Known ones, oldest first.
        flags: Every flag that any of them has.
        constraints: Rules between parameters.
        traps: What to know before using it.
        renames: Flags that changed their name.
        older_names: Names that older tools used.
        policy: The argument that names its policy file, where it does not start without one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    summary: str = ""
    releases: tuple[str, ...] = Field(min_length=1)
    flags: tuple[Flag, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    traps: tuple[str, ...] = ()
    renames: tuple[Rename, ...] = ()
    older_names: tuple[OlderName, ...] = ()
    policy: str = ""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of `data/`."""
        return cls.model_validate(tomllib.loads(path.read_text()))

    def release(self, version: str | None = None) -> str:
        """Return the known release that a version is, or the newest one that is not newer.

        A version that is newer than all tagged releases counts as the newest tagged one: what it
        really has, `probe` reads from the binary.
        """
        tagged = [release for release in self.releases if release != "HEAD"]
        if version is None:
            return tagged[-1]
        if version in self.releases:
            return version
        older = [release for release in tagged if version_key(release) <= version_key(version)]
        return older[-1] if older else tagged[0]

    def flags_of(self, release: str) -> dict[str, Flag]:
        """Return the flags that a known release has, by their long names."""
        at = self.releases.index(release)
        return {
            flag.flag: flag
            for flag in self.flags
            if self._at(flag.since, 0) <= at <= self._at(flag.until, len(self.releases) - 1)
        }

    def _at(self, release: str, otherwise: int) -> int:
        return self.releases.index(release) if release else otherwise

    def default_of(self, flag: Flag, release: str) -> str | None:
        """Return a flag's default in a release, as text; None where it has none."""
        at = self.releases.index(release)
        known = [dated.value for dated in flag.defaults if self.releases.index(dated.since) <= at]
        return known[-1] if known else None

    def config(
        self,
        version: str | None = None,
        *,
        binary: Path | None = None,
        printed: Mapping[str, str | None] | None = None,
    ) -> SchedulerConfig:
        """Return the scheduler with the parameters of a release; default: the newest tagged one.

        Args:
            version: Of the program.
            binary: Its path.
            printed: The flags that it really has, with the defaults that it prints. A build from a
                repository has the version of the release before, and flags of the next one.
        """
        release = self.release(version)
        known = self.flags_of(release) if printed is None else {flag.flag: flag for flag in self.flags}
        flags = [flag for flag in known.values() if flag.parameter and not flag.deprecated]
        if printed is not None:
            flags = [flag for flag in flags if flag.flag in printed]
        defaults = {flag.flag: self.default_of(flag, release) for flag in flags}
        told = {name: default for name, default in (printed or {}).items() if default is not None}
        parameters = {flag.name: self._spec(flag, (defaults | told).get(flag.flag)) for flag in flags}
        return SchedulerConfig(
            name=self.name,
            binary_path=binary,
            parameters=parameters,
            constraints=tuple(rule for rule in self.constraints if set(rule.names) <= set(parameters)),
            description=self.summary,
        )

    def _spec(self, flag: Flag, default: str | None) -> ParameterSpec:
        content = {"name": flag.name, "command_arg": flag.command_arg, **(flag.parameter or {})}
        kind = content.get("type")
        if default is not None and kind != ParameterType.LIST:
            if kind in (ParameterType.INTEGER, ParameterType.FLOAT):
                number = float(int(default, 0)) if default.startswith("0x") else float(default)
                content["default"] = int(number) if kind == ParameterType.INTEGER else number
                # Another release's default may lie outside the bounds that suit the newest.
                content["min_value"] = min(content["min_value"], content["default"])
                content["max_value"] = max(content["max_value"], content["default"])
                content["log"] = content.get("log", False) and content["min_value"] > 0
            else:
                content["default"] = default == "true" if kind == ParameterType.BOOLEAN else default
        return ParameterSpec.model_validate(content)

    def translate(self, values: Mapping[str, Any], known: Container[str] = ()) -> dict[str, Any]:
        """Return an assignment with older names replaced by the parameters they mean.

        Args:
            values: The assignment.
            known: What is a parameter's own name, and so no older one.

        Raises:
            UsageError: An older name with an impossible value, or beside what it maps to.
        """
        older = {row.name: row for row in self.older_names if row.name not in known}
        translated = {name: value for name, value in values.items() if name not in older}
        for name, row in older.items():
            if name not in values:
                continue
            if row.parameter in translated:
                raise UsageError(
                    f"{name} and {row.parameter} are the same parameter of {self.name}",
                    hint=f"leave one of them out: {row.reason}",
                )
            translated[row.parameter] = row.translate(values[name])
        return translated


def version_key(version: str) -> tuple[int, ...]:
    """Return what orders versions: ``1.0.9`` before ``1.0.10``."""
    return tuple(int(part) for part in version.split(".") if part.isdecimal() and len(part) < 20)


@cache
def entries() -> Mapping[str, Entry]:
    """Return every scheduler that ships with its data, by name."""
    folder = resource_path("scheduler/data")
    return {entry.name: entry for entry in map(Entry.read, sorted(folder.glob("*.toml")))}
