"""How the agent of this machine is to run: /etc/schedtuna/agent.toml, and agent.conf.d/*.toml after it.

Of the same value the last file's counts; options of the command line count before all files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schedtuna.agent.contract import Need
from schedtuna.agent.guard.slo import parse_objectives
from schedtuna.agent.limits import Limits
from schedtuna.agent.loop import LoopOptions
from schedtuna.agent.policies.registry import make_policy
from schedtuna.agent.profiles.holds import BALANCED, PERFORMANCE, POWER_SAVER, PROFILES
from schedtuna.configfile import first_fault, load_config
from schedtuna.errors import ConfigFileError, UsageError
from schedtuna.files import require_trusted

CONFIG_FILE = Path("/etc/schedtuna/agent.toml")
CONFIG_FOLDER = Path("/etc/schedtuna/agent.conf.d")


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LimitsTable(_Data):
    """The table `[limits]`; see `limits.Limits`."""

    changes_per_interval: Annotated[int, Field(ge=1, le=10_000)] = 20
    most_standing: Annotated[int, Field(ge=1, le=100_000)] = 200
    settings: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    proven_only: bool = False


class ProfileTable(_Data):
    """A table `[profiles.NAME]`: what is otherwise while a power profile is active.

    Attributes:
        policy: As `--policy` takes it; empty: as configured.
        limits: In place of the configured ones; None: as configured.
    """

    policy: str = ""
    limits: LimitsTable | None = None


DEFAULT_PROFILES = {
    POWER_SAVER: ProfileTable(policy="none"),
    BALANCED: ProfileTable(),
    PERFORMANCE: ProfileTable(policy="priority"),
}


class AgentConfig(_Data):
    """All of the files together.

    Attributes:
        policy: As `--policy` takes it.
        interval_s: Of the loop.
        advise: Whether it only says what it would change.
        slo: As `--slo` takes them.
        guard: Whether what it does is proven by windows without it, and put back where it harms.
        log_mb: How large the log may become.
        snapshot_every: Intervals from one summary in the log to the next.
        history: Folders of past studies, which say what is proven.
        proof_days: How long what they say holds.
        limits: How much it changes at most.
        profiles: By power profile, what is otherwise while it is active; see `DEFAULT_PROFILES`.
    """

    policy: str = "rules"
    interval_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    advise: bool = False
    slo: tuple[str, ...] = ()
    guard: bool = True
    log_mb: Annotated[int, Field(ge=1, le=10_000)] = 32
    snapshot_every: Annotated[int, Field(ge=1, le=10_000)] = 10
    history: tuple[str, ...] = ()
    proof_days: Annotated[float, Field(gt=0, le=36_500)] = 90
    limits: LimitsTable = LimitsTable()
    profiles: dict[Literal["power-saver", "balanced", "performance"], ProfileTable] = {}

    def under(self, profile: str) -> AgentConfig:
        """What it is while a power profile is active.

        Raises:
            UsageError: There is none of this name.
        """
        if profile not in PROFILES:
            raise UsageError(f"there is no profile {profile[:40]!r}: expected {', '.join(PROFILES)}")
        own = next((table for name, table in self.profiles.items() if name == profile), None)
        table = own or DEFAULT_PROFILES[profile]
        changed = {"policy": table.policy or self.policy, "limits": table.limits or self.limits}
        return self.model_copy(update=changed)

    def options(self) -> LoopOptions:
        """What the loop is told."""
        table = self.limits
        limits = Limits(
            changes_per_interval=table.changes_per_interval,
            most_standing=table.most_standing,
            settings=frozenset(table.settings),
            cgroups=table.cgroups,
            proven_only=table.proven_only,
        )
        return LoopOptions(self.interval_s, self.advise, limits, self.snapshot_every)


def config_files(file: Path = CONFIG_FILE, folder: Path = CONFIG_FOLDER) -> list[Path]:
    """Return the files that are there, in the order in which they are read."""
    found = [file] if file.is_file() else []
    return found + sorted(folder.glob("*.toml"))


def load_agent_config(files: list[Path]) -> AgentConfig:
    """Read files, of the same value the last one's.

    Raises:
        ConfigFileError: One can't be read, or says what no agent can do.
        UnavailableError: Somebody else could have written one.
    """
    together: dict[str, Any] = {}
    for path in files:
        require_trusted(path, "as the agent's configuration", hint="chown root it, and chmod go-w it")
        said = load_config(path)
        try:
            AgentConfig.model_validate(said)  # so that the message names the file
        except ValidationError as error:
            raise ConfigFileError(f"{path}: {first_fault(error)}", hint="see docs/agent.md") from error
        together = _over(together, said)
    config = AgentConfig.model_validate(together)
    make_policy(config.policy)
    for table in config.profiles.values():
        if table.policy and Need.SWAPS in make_policy(table.policy).needs:
            raise ConfigFileError(
                "a power profile can't begin to swap schedulers", hint="name such a policy for all of them"
            )
    parse_objectives(config.slo)
    return config


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for name, value in above.items():
        known = result.get(name)
        result[name] = _over(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result
