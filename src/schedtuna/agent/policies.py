"""Which policies there are, by the names that `--policy NAME[:FILE]` takes. Other packages add theirs.

A package registers one as an entry point of the group `schedtuna.agent_policies`: a function that takes the
FILE (a path, or None) and returns an `AgentPolicy`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from schedtuna.agent.contract import AgentPolicy
from schedtuna.errors import UsageError, nearest

PolicyMaker = Callable[[Path | None], AgentPolicy]


def _rules(file: Path | None) -> AgentPolicy:
    from schedtuna.agent.rules import RulesPolicy, load_rules

    return RulesPolicy(load_rules(file))


def _priority(file: Path | None) -> AgentPolicy:
    from schedtuna.agent.priority import make_priority

    return make_priority(file)


POLICIES: dict[str, PolicyMaker] = {"rules": _rules, "priority": _priority}


def make_policy(text: str) -> AgentPolicy:
    """Return the policy that a text such as ``rules`` or ``rules:my.toml`` names.

    Raises:
        UsageError: There is none of this name, or its file is none of its own.
    """
    name, _, file = text.partition(":")
    maker = POLICIES.get(name)
    if maker is None:
        raise UsageError(f"there is no policy {name!r}", hint=nearest(name, POLICIES))
    return maker(Path(file) if file else None)
