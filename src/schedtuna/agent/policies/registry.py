"""Which policies there are, by what `--policy` takes: `NAME[:FILE]` of ours, `module:Class[:FILE]` of others.

Such a class keeps the contract of `AgentPolicy`. It is made with the path of FILE where one is named, else
with nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from schedtuna.agent.contract import AgentPolicy, Intent, Need, Sensed, Standing
from schedtuna.errors import UsageError, nearest
from schedtuna.plugins import make

PolicyMaker = Callable[[Path | None], AgentPolicy]


class HandsOffPolicy:
    """Wants nothing: what was in force goes."""

    name = "none"
    needs: frozenset[Need] = frozenset()

    def decide(self, sensed: Sensed, standing: Mapping[str, Standing]) -> list[Intent]:  # noqa: ARG002
        """Return nothing."""
        return []


def _nothing(_file: Path | None) -> AgentPolicy:
    return HandsOffPolicy()


def _rules(file: Path | None) -> AgentPolicy:
    from schedtuna.agent.policies.rules import RulesPolicy, load_rules

    return RulesPolicy(load_rules(file))


def _affinity(file: Path | None) -> AgentPolicy:
    from schedtuna.agent.policies.rules import AFFINITY_FILE, RulesPolicy, load_rules

    return RulesPolicy(load_rules(file, default=AFFINITY_FILE), name="affinity")


def _priority(file: Path | None) -> AgentPolicy:
    from schedtuna.agent.policies.priority import make_priority

    return make_priority(file)


def _params(file: Path | None) -> AgentPolicy:
    from schedtuna.agent.policies.params import ParamsPolicy, load_params

    if file is None:
        raise UsageError(
            "the policy params needs a file that says what is set when", hint="--policy params:FILE"
        )
    return ParamsPolicy(*load_params(file))


def _swap(file: Path | None) -> AgentPolicy:
    from schedtuna.agent.swap.making import make_swap

    return make_swap(file)


def _migrate(file: Path | None) -> AgentPolicy:
    import random

    from schedtuna.agent.decisions.versions import ModelVersions
    from schedtuna.agent.policies.advice_service import AdviceService
    from schedtuna.agent.policies.migrate import MigratePolicy
    from schedtuna.agent.policies.migration_draws import MigrationDraws
    from schedtuna.model.decider import MigrationDecider

    decider = MigrationDecider(ModelVersions("migrate", "migration").in_charge() if file is None else file)
    draws = MigrationDraws(decider, decider.model.version, random.Random())
    return MigratePolicy(AdviceService(draws))


POLICIES: dict[str, PolicyMaker] = {
    "rules": _rules,
    "priority": _priority,
    "affinity": _affinity,
    "params": _params,
    "swap": _swap,
    "migrate": _migrate,
    "none": _nothing,
}
_OWN_HINT = "one of your own is named by its class, module:Class; docs/agent.md has an example"


def make_policy(text: str) -> AgentPolicy:
    """Return the policy that a text such as ``rules``, ``rules:my.toml`` or ``mine.policies:Mine`` names.

    Raises:
        UsageError: There is none of this name, it keeps no contract, or its file is none of its own.
    """
    name, _, rest = text.partition(":")
    if maker := POLICIES.get(name):
        return maker(Path(rest) if rest else None)
    if not rest:
        raise UsageError(f"there is no policy {text!r}: {nearest(name, POLICIES)}", hint=_OWN_HINT)
    return _own(name, *rest.partition(":")[::2])


def _own(module: str, name: str, file: str) -> AgentPolicy:
    """Make a policy of somebody's own class."""
    what = f"policy {module}:{name}"
    made = make(module, name, file, what=what, hint=_OWN_HINT)
    if lacking := [part for part in ("name", "needs", "decide") if not hasattr(made, part)]:
        raise UsageError(f"{what} has no {', '.join(lacking)}", hint=_OWN_HINT)
    if not isinstance(made.needs, frozenset) or not made.needs <= set(Need):
        raise UsageError(f"{what}: its needs are no frozenset of `Need`", hint=_OWN_HINT)
    policy: AgentPolicy = made
    return policy
