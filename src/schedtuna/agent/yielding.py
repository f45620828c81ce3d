"""What is no more the agent's to change: somebody else has set it since, or it is gone."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from schedtuna.agent.acting import is_in_force, is_there, value_now
from schedtuna.agent.contract import ADVICE, ChangeTarget, Sensed, Standing, SwapEvent, SwapResult
from schedtuna.agent.log import intent_row
from schedtuna.agent.ownership import SENSED_SETTINGS
from schedtuna.agent.swap.acting import SCHEDULER, SWAP_KEY
from schedtuna.errors import KnobError
from schedtuna.printable import printable

if TYPE_CHECKING:
    from schedtuna.agent.loop import Agent  # it needs this module


def let_go(agent: Agent, sensed: Sensed) -> None:
    """Let go what is in force and is somebody else's by now, or has no target any more.

    Args:
        agent: Whose changes they are.
        sensed: The interval.

    Raises:
        JournalError: It can't be written.
    """
    _close(agent, agent.actor.ended())
    _yield_what_is_taken(agent, sensed)
    living = set(zip(sensed.tasks["tid"].tolist(), sensed.tasks["start_time_ns"].tolist(), strict=True))

    sessions = frozenset(sensed.tasks["session"].tolist())

    def is_gone(target: ChangeTarget) -> bool:
        if target.kind == "session":
            return target.tid not in sessions
        if target.kind == "cgroup":
            return not is_there(target.cgroup)
        return target.kind == "thread" and (target.tid, target.start_time_ns) not in living

    standing = agent.actor.standing
    _close(agent, [key for key, one in standing.items() if is_gone(one.intent.target)])  # heirs may live on
    agent.advice = {key: act for key, act in agent.advice.items() if not is_gone(act.intent.target)}


def see_swaps(agent: Agent) -> tuple[SwapEvent, ...]:
    """Return what has become of schedulers since the last interval, and write it down.

    One that was thrown out is in quarantine by then; where somebody has stopped one, the choice is theirs.
    """
    agent.actor.swaps.look()
    events = agent.actor.swaps.take_events()
    for event in events:
        agent.log.write("swap", **vars(event))
        if event.result is SwapResult.EJECTED:
            agent.tell(printable(f"{event.arm} was thrown out, and is in quarantine: {event.reason}"))
        if event.result is SwapResult.TAKEN:
            agent.ownership.taken[SWAP_KEY] = event.reason
            agent.counts.yielded += 1
            agent.tell(printable(f"yielded the choice of the scheduler: {event.reason}"))
    return events


def _yield_what_is_taken(agent: Agent, sensed: Sensed) -> None:
    standing = agent.actor.standing
    taken = agent.ownership.see(sensed.tasks, agent.senses.touches, standing)
    for one in taken:
        agent.counts.yielded += 1
        agent.log.write("yield", who=one.who, what=one.what, **intent_row(standing[one.key].intent))
        agent.tell(printable(f"yielded {standing[one.key].intent.target.tell()}: {one.tell()}"))
    if taken:
        agent.actor.let_go([one.key for one in taken])
    for key, held in standing.items():
        is_sensed = held.intent.target.kind == "thread" and held.intent.setting in SENSED_SETTINGS
        is_read = not is_sensed and held.intent.setting not in (ADVICE, SCHEDULER)
        if is_read and key in agent.actor.standing:
            _yield_if_changed(agent, key, held)


def _yield_if_changed(agent: Agent, key: str, one: Standing) -> None:
    try:
        now = value_now(one.intent)
    except KnobError:
        return
    if now is None or is_in_force(one.intent, now):
        return
    what = f"{one.intent.setting} to {now}"
    agent.ownership.taken[key] = f"somebody, unseen, set {what}"
    agent.counts.yielded += 1
    agent.log.write("yield", who="somebody, unseen", what=what, **intent_row(one.intent))
    agent.tell(printable(f"yielded {one.intent.target.tell()}: somebody set {what}"))
    agent.actor.let_go([key])


def _close(agent: Agent, gone: Collection[str]) -> None:
    """Close what has no target any more."""
    if gone:
        for undone in agent.actor.put_back(gone):
            agent.log.write("gone", result=str(undone.result), **intent_row(undone.standing.intent))
