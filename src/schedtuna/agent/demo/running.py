"""Runs the demonstration's loads under each arm, in blocks of a random order."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schedtuna.agent.contract import AgentPolicy
from schedtuna.agent.demo.arms import NONE, ONE_LINER, ORACLE, PLACEBO, OnlyOf, Roles, told_policy
from schedtuna.agent.demo.figures import DemoRun
from schedtuna.agent.demo.loads import DemoLoad
from schedtuna.agent.glancing import Glances
from schedtuna.agent.limits import Limits
from schedtuna.agent.log import AgentLog
from schedtuna.agent.loop import Agent, LoopOptions
from schedtuna.agent.policies import make_policy
from schedtuna.agent.sensing import Senses
from schedtuna.configfile import parse_json
from schedtuna.errors import WorkloadError
from schedtuna.knobs.journal import Journal
from schedtuna.resources import resource_path

if TYPE_CHECKING:
    from numpy.random import Generator

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
    """

    load: DemoLoad
    policies: tuple[str, ...]
    nr_blocks: int
    seed: int

    @property
    def arms(self) -> tuple[str, ...]:
        """All arms: where nothing can be gained, doing nothing and the policies."""
        if not self.load.can_gain:
            return (NONE, *self.policies)
        placebo = (PLACEBO,) if self.load.has_placebo else ()
        return (NONE, *placebo, ONE_LINER, *self.policies, ORACLE)

    @property
    def expected_s(self) -> float:
        """About how long it takes."""
        return len(self.arms) * self.nr_blocks * (self.load.seconds + _BESIDES_S)


def run_plan(plan: DemoPlan, rng: Generator, on_run: Callable[[DemoRun], None]) -> list[DemoRun]:
    """Run all blocks.

    Args:
        plan: What to run.
        rng: Draws the order within blocks, and the placebo.
        on_run: Called after each run.

    Raises:
        WorkloadError: The load did not run.
        UsageError: There is no such policy.
        UnavailableError: Threads can't be sensed here.
    """
    runs = []
    senses = Senses()
    try:
        with tempfile.TemporaryDirectory(prefix="schedtuna-demo-") as folder:
            for block in range(plan.nr_blocks):
                seed = plan.seed + block
                for place in rng.permutation(len(plan.arms)).tolist():
                    run = _run_arm(plan.load, plan.arms[place], block, seed, rng, senses, Path(folder))
                    runs.append(run)
                    on_run(run)
    finally:
        senses.close()
    return runs


def _run_arm(  # noqa: PLR0917  # one run, all of it
    load: DemoLoad, arm: str, block: int, seed: int, rng: Generator, senses: Senses, folder: Path
) -> DemoRun:
    nr_cpus = len(os.sched_getaffinity(0))
    command = [sys.executable, "-I", str(resource_path(_PROGRAM)), *load.arguments(nr_cpus, seed)]
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
    from schedtuna.agent.priority import DEFAULT_MODEL
    from schedtuna.model.shipped import SHIPPED

    if DEFAULT_MODEL in SHIPPED:
        return ["rules", "priority"], ""
    return ["rules"], "no model ships with this version, so `priority` is left out"
