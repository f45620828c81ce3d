"""Runs the demonstration's loads under each arm, in blocks of a random order."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from schedtuna.agent.contract import AgentPolicy
from schedtuna.agent.demo.arms import NONE, ONE_LINER, ORACLE, PLACEBO, OnlyOf, Roles, told_policy
from schedtuna.agent.demo.figures import DemoRun
from schedtuna.agent.demo.loads import DemoLoad
from schedtuna.agent.glancing import Glances
from schedtuna.agent.limits import Limits
from schedtuna.agent.log import AgentLog
from schedtuna.agent.loop import Agent, LoopOptions
from schedtuna.agent.policies.registry import make_policy
from schedtuna.agent.sensing import Senses
from schedtuna.configfile import parse_json
from schedtuna.errors import WorkloadError
from schedtuna.knobs.journal import Journal
from schedtuna.resources import resource_path

if TYPE_CHECKING:
    from numpy.random import Generator

    from schedtuna.agent.demo.kept import KeptRuns

INTERVAL_S = 0.4
_BESIDES_S = 0.4  # of each run: it starts, draws its requests and ends
_PROGRAM = "workload/programs/mix.py"
_MOST_CHANGES = 1000
_GRACE_S = 30.0


@dataclass(frozen=True)
class DemoPlan:
    """What is run.

    Attributes:
        load: The load.
        policies: Arms under test, as `--policy` takes them.
        nr_blocks: Of all arms, each.
        seed: Of all that is random.
        simulated: Whether a simulated machine runs it, of as many CPUs.
    """

    load: DemoLoad
    policies: tuple[str, ...]
    nr_blocks: int
    seed: int
    simulated: bool = False

    @property
    def arms(self) -> tuple[str, ...]:
        """All arms: where nothing can be gained, doing nothing and the policies."""
        if not self.load.can_gain:
            return (NONE, *self.policies)
        placebo = (PLACEBO,) if self.load.has_placebo else ()
        return (NONE, *placebo, ONE_LINER, *self.policies, ORACLE)

    @property
    def expected_s(self) -> float:
        """About how long it takes on this machine."""
        return len(self.arms) * self.nr_blocks * (self.load.seconds + _BESIDES_S)


def run_plan(
    plan: DemoPlan, on_run: Callable[[DemoRun], None], *, kept: KeptRuns | None = None
) -> list[DemoRun]:
    """Run all blocks; what is kept already is not run again.

    Args:
        plan: What to run.
        on_run: Called after each run.
        kept: Where runs are kept; None: nowhere.

    Raises:
        WorkloadError: The load did not run.
        UsageError: There is no such policy.
        UnavailableError: Threads can't be sensed here, or the installation lacks the simulator.
    """
    runs = []
    with contextlib.ExitStack() as stack:
        run_arm = _simulating(plan) if plan.simulated else _running(plan, stack)
        for block in range(plan.nr_blocks):
            # Of each block anew: one that goes on draws the same.
            rng = np.random.default_rng([plan.seed, block, *plan.load.name.encode()])
            for place in rng.permutation(len(plan.arms)).tolist():
                arm = plan.arms[place]
                placebo = np.random.default_rng([plan.seed, block, place])
                run = kept.of(plan.load.name, arm, block) if kept else None
                if run is None:
                    run = run_arm(arm, block, placebo)
                    if kept:
                        kept.add(plan.load.name, run)
                runs.append(run)
                on_run(run)
    return runs


RunArm = Callable[[str, int, "Generator"], DemoRun]


def _simulating(plan: DemoPlan) -> RunArm:
    from schedtuna.agent.demo.simulated import simulate_arm  # brings the simulator along

    def run_arm(arm: str, block: int, rng: Generator) -> DemoRun:
        seed = plan.seed + block
        return simulate_arm(plan.load, arm, block, seed, rng, nr_cpus=nr_cpus(), interval_s=INTERVAL_S)

    return run_arm


def _running(plan: DemoPlan, stack: contextlib.ExitStack) -> RunArm:
    senses = Senses()
    stack.callback(senses.close)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="schedtuna-demo-")))

    def run_arm(arm: str, block: int, rng: Generator) -> DemoRun:
        return _run_arm(plan.load, arm, block, plan.seed + block, rng, senses, folder)

    return run_arm


def nr_cpus() -> int:
    """How many CPUs loads are sized for: those that this process may use."""
    return len(os.sched_getaffinity(0))


def _run_arm(  # noqa: PLR0917  # one run, all of it
    load: DemoLoad, arm: str, block: int, seed: int, rng: Generator, senses: Senses, folder: Path
) -> DemoRun:
    command = [sys.executable, "-I", str(resource_path(_PROGRAM)), *load.arguments(nr_cpus(), seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = _parsed(process.stdout.readline(), process)
            roles = Roles(tuple(told["interactive"]), tuple(told["batch"]), int(told["swap_ns"]))
            policy = told_policy(arm, roles, rng) or OnlyOf(make_policy(arm), roles.everybody)
            acted_on, agent = _run_agent(policy, roles, int(told["end_ns"]), senses, folder)
            figures = _parsed(process.communicate(timeout=_GRACE_S)[0], process)
        finally:
            process.kill()
    return DemoRun(
        arm,
        block,
        figures,
        len(acted_on),
        len(roles.everybody),
        100 * agent.counts.cpu_s / load.seconds,
    )


def _run_agent(
    policy: AgentPolicy, roles: Roles, end_ns: int, senses: Senses, folder: Path
) -> tuple[set[int], Agent]:
    """Let an agent with this policy run until the load ends; return whom it changed."""
    limits = Limits(
        changes_per_interval=_MOST_CHANGES, most_standing=_MOST_CHANGES, tgids=frozenset(roles.everybody)
    )
    log = AgentLog(folder)
    acted_on: set[int] = set()
    try:
        options = LoopOptions(interval_s=INTERVAL_S, limits=limits)
        agent = Agent(policy=policy, senses=senses, journal=Journal(), log=log, options=options)
        senses.read()  # what was before the run belongs to no interval of it
        try:
            glances = Glances(agent)
            while time.monotonic_ns() < end_ns:
                agent.step()
                acted_on |= {one.intent.target.tid for one in agent.actor.standing.values()}
                due_s = min(time.monotonic() + agent.interval_s, end_ns / 1e9)
                while (wake_s := glances.wake_s(due_s)) < due_s:
                    time.sleep(max(0.0, wake_s - time.monotonic()))
                    glances.look()
                time.sleep(max(0.0, due_s - time.monotonic()))
        finally:
            agent.finish("the run is over")
    finally:
        log.close()
    return acted_on, agent


def _parsed(text: str, process: subprocess.Popen[str]) -> dict[str, Any]:
    """The last line as JSON."""
    try:
        found: dict[str, Any] = parse_json(text.splitlines()[-1])
    except (ValueError, IndexError) as error:
        process.kill()
        said = (process.communicate()[1] or "").strip().splitlines()
        raise WorkloadError(
            f"the load ended without figures: {said[-1] if said else 'it said nothing'}",
            hint="is there memory and room for some dozens of small processes?",
        ) from error
    return found


def known_policies(asked: Sequence[str]) -> tuple[list[str], str]:
    """Return the policies to compare, and what to say of one that is left out.

    Args:
        asked: As the caller named them; empty: `rules`, and `priority` where its model ships.

    Raises:
        UsageError: One that was asked for can't be made.
    """
    if asked:
        for text in asked:
            make_policy(text)
        return list(asked), ""
    from schedtuna.agent.policies.priority import DEFAULT_MODEL
    from schedtuna.model.shipped import SHIPPED

    if DEFAULT_MODEL in SHIPPED:
        return ["rules", "priority"], ""
    return ["rules"], "no model ships with this version, so `priority` is left out"
