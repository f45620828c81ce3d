"""The policy `swap` on this machine: made from a file, with those schedulers left out that can't run here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from schedtuna.agent.contract import AgentPolicy
from schedtuna.agent.swap.acting import DEFAULT_ARM, require_candidate
from schedtuna.agent.swap.deciders import FLOOR, LinUcbDecider, RegimeDecider, SwapDecider
from schedtuna.agent.swap.policy import SwapPolicy
from schedtuna.agent.swap.quarantine import Quarantine
from schedtuna.agent.swap.softmax import SoftmaxDecider
from schedtuna.agent.swap.state import load_state, save_state
from schedtuna.agent.swap.table import SwapArm, SwapTable, load_swap, require_possible
from schedtuna.agent.swap.trained import load_trained
from schedtuna.errors import MissingExtraError, SchedtunaError, UnavailableError
from schedtuna.features.loss import complete_weights
from schedtuna.features.observed import OBSERVED
from schedtuna.scheduler.host import HostMachine
from schedtuna.scheduler.probe import installed
from schedtuna.scheduler.registry import names
from schedtuna.scheduler.scx import DISABLED, read_state


def make_swap(file: Path | None, arms: Sequence[str] = (), *, seed: int | None = None) -> SwapPolicy:
    """Make the policy.

    Args:
        file: Its table; None: a bandit over `arms`, or over all schedulers that are installed.
        arms: Beside the default.
        seed: Of its draws.

    Raises:
        ConfigFileError: The file says what can't be.
        UsageError: So do the arms.
        PolicyError: What was learned is of other arms or features, or damaged.
    """
    if file is not None:
        table = load_swap(file)
    else:
        named = arms or [name for name in names() if name in installed()]
        table = SwapTable(arm=tuple(SwapArm(scheduler=name) for name in named))
        require_possible(table)
    rng = np.random.default_rng(seed)
    folder = Path() if file is None else file.parent
    if table.state or table.policy:
        _require_extra()
    decider = make_decider(table, rng, folder)
    state = folder / table.state
    if table.state and state.exists():
        load_state(state, decider, table.known_as, complete_weights(table.weights or None))
    elif table.learn == "gated":  # nothing was shown to be better than the default
        decider = RegimeDecider([], len(table.arms), floor=FLOOR)
    policy = SwapPolicy(table, decider, nr_cpus=len(os.sched_getaffinity(0)), rng=rng)
    policy.state_file = state if table.state else None
    return policy


def make_decider(table: SwapTable, rng: np.random.Generator, folder: Path) -> SwapDecider:
    """Make what a table names, before it has learned anything.

    Args:
        table: It.
        rng: Draws a network's first weights.
        folder: Where the files are that it names.

    Raises:
        PolicyError: The policy that it names is none that fits.
    """
    nr_arms = len(table.arms)
    nr_observed = len(OBSERVED) + nr_arms
    match table.decider:
        case "rules":
            regimes = [(one.holds, table.labels.index(one.arm)) for one in table.regime]
            return RegimeDecider(regimes, nr_arms, windows=table.windows, floor=table.floor)
        case "bandit":
            return LinUcbDecider(nr_arms, nr_observed)
        case "softmax":
            return SoftmaxDecider(nr_arms, nr_observed, rng)
    return load_trained(folder / table.policy, table.known_as)


def _require_extra() -> None:
    if find_spec("safetensors") is None:
        raise MissingExtraError("keeping what was learned of schedulers", "swap")


def keep_state(policy: AgentPolicy, *, every: int = 1) -> None:
    """Write down what a policy `swap` has learned, where its file says so, and it was so many outcomes.

    Raises:
        PolicyError: It can't be written.
    """
    if not isinstance(policy, SwapPolicy) or policy.state_file is None:
        return
    if policy.decider.nr_learned - policy.nr_kept >= every:
        weights = complete_weights(policy.table.weights or None)
        save_state(policy.state_file, policy.decider, policy.table.known_as, weights)
        policy.nr_kept = policy.decider.nr_learned


def prepare(policy: AgentPolicy, folder: Path, *, ours: bool = False) -> list[str]:
    """Look which schedulers of a policy `swap` can run here; returns what people should know of it.

    Args:
        policy: Any; others need nothing.
        folder: That of the journal, where the quarantine is.
        ours: Whether the scheduler in charge is the agent's own.

    Raises:
        UnavailableError: None can, or another one is in charge.
    """
    if not isinstance(policy, SwapPolicy):
        return []
    try:
        state = read_state(HostMachine())
    except UnavailableError as error:
        raise UnavailableError(
            f"the policy swaps schedulers, and {error}",
            hint="`schedtuna doctor` says which kernels have it; benchmarks/swap_regret.py lets the same "
            "deciders choose on a simulated machine",
        ) from error
    if state.state != DISABLED and not ours:
        raise UnavailableError(
            f"{state.ops or 'a scheduler'} is in charge, which this agent has not started",
            hint="stop it first: `schedtuna schedulers stop`, or where it was started",
        )
    if os.geteuid() != 0:
        raise UnavailableError("only root may put a scheduler in charge", hint="run as root")
    quarantine = Quarantine(folder)
    for arm in policy.arms:
        if arm == DEFAULT_ARM:
            continue
        try:
            require_candidate(arm, quarantine)
        except SchedtunaError as error:
            policy.why_not[arm] = f"{error}; {error.hint}" if error.hint else str(error)
    remarks = [f"{arm} can't be chosen: {why}" for arm, why in policy.why_not.items()]
    if len(policy.why_not) == len(policy.arms) - 1:
        told = "; ".join(remarks) or "no sched_ext scheduler is installed"
        raise UnavailableError(
            f"there is nothing to choose beside the default: {told}",
            hint="name schedulers with --arm or in a file, and have them in PATH or SCHEDTUNA_SCX_PATH",
        )
    return remarks
