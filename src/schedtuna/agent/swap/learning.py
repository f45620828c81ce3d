"""A better decider for the policy `swap`: taught by earlier decisions, let in by later ones."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np

from schedtuna.agent.decisions.evaluating import DecisionHistory, JudgedDecision
from schedtuna.agent.decisions.judged import ArmChooser
from schedtuna.agent.decisions.learning import gated
from schedtuna.agent.decisions.versions import ModelVersion, VersionList
from schedtuna.agent.swap.deciders import SwapDecider
from schedtuna.agent.swap.judging import SwapChooser
from schedtuna.agent.swap.making import make_decider
from schedtuna.agent.swap.state import save_state
from schedtuna.agent.swap.table import load_swap
from schedtuna.errors import UsageError
from schedtuna.features.loss import complete_weights


def learn_swap(history: DecisionHistory, file: Path, versions: VersionList, *, seed: int = 0) -> ModelVersion:
    """Teach a new decider, and keep it as the file's `state` if later decisions show that it is better.

    Args:
        history: What was drawn, by whichever decider.
        file: The policy's table, which learns by the gate alone.
        versions: What became of earlier attempts; this one is noted there.
        seed: Of a network's first weights.

    Raises:
        UsageError: The file has nothing that could be taught, or it learns by itself.
        EvidenceError: Too few decisions are there to teach by, or to judge.
        PolicyError: The state is damaged, or can't be written.
    """
    table = load_swap(file)
    if not table.state or table.learn != "gated":
        raise UsageError(
            f"{file} keeps nothing that is learned by the gate", hint='write learn = "gated", and a state'
        )
    old, new = SwapChooser(file), make_decider(table, np.random.default_rng(seed), file.parent)

    def taught(usable: list[JudgedDecision]) -> ArmChooser:
        for one in usable:
            assert one.loss is not None
            action = one.row.arms.index(one.row.action)
            new.learn(old.sight(one.row), action, one.row.propensity or 1.0, one.loss)
        return SwapChooser(file, new)

    attempt = gated(history, old, taught, versions.judged_until_s())
    if attempt.verdict.passed:
        weights = complete_weights(table.weights or None)
        save_state(file.parent / table.state, new, table.known_as, weights)
    return versions.note(_version(new), _version(old.decider), attempt, time.time())


def _version(decider: SwapDecider) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(decider.state().items()):
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
