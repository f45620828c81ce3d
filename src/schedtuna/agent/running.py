"""A whole agent as a process: what is opened for it, what ends it, what may be asked of it meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from schedtuna.agent.contract import AgentGuard, AgentPolicy, IntentProofs, Need
from schedtuna.agent.control import ControlServer
from schedtuna.agent.decisions.log import open_decisions
from schedtuna.agent.explaining import tell_row
from schedtuna.agent.glancing import Glances
from schedtuna.agent.guard.slo import ServiceObjective
from schedtuna.agent.journald import entry, opened_where_asked
from schedtuna.agent.log import AgentLog
from schedtuna.agent.loop import Agent, LoopOptions
from schedtuna.agent.notify import notify
from schedtuna.agent.profiles.switch import MakeProfile, ProfileSwitch
from schedtuna.agent.sensing import Senses
from schedtuna.agent.status import status_of, view_of
from schedtuna.agent.telling import tell_act
from schedtuna.agent.watcher import Watcher, start_watcher
from schedtuna.errors import SchedtunaError, UsageError
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.undo import UndoResult, put_back_stale
from schedtuna.printable import printable

_KEPT_EVERY = 10  # outcomes that a policy has learned from, until they are written down
_ENDING = (signal.SIGINT, signal.SIGTERM)

Reload = Callable[[], tuple[AgentPolicy, LoopOptions]]


@dataclass(frozen=True)
class AgentRun:
    """What a run of the agent is made of.

    Attributes:
        policy: Decides.
        options: How it runs.
        guard: Watches; None: nobody does.
        objectives: What has to hold meanwhile.
        proofs: Say what past studies have proven; None: nobody knows of any.
        for_s: How long it runs; None: until it is ended.
        log_bytes: How long the log may become.
        reload: Called on SIGHUP; gives policy and options anew.
        under: Gives policy and options while a power profile is active; None: it knows none.
        may_need: What policies of other profiles need.
        needs_kernel: Whether it refuses to run where the kernel's aggregates can't be had.
    """

    policy: AgentPolicy
    options: LoopOptions = field(default_factory=LoopOptions)
    guard: AgentGuard | None = None
    objectives: tuple[ServiceObjective, ...] = ()
    proofs: IntentProofs | None = None
    for_s: float | None = None
    log_bytes: int = 32 << 20
    reload: Reload | None = None
    under: MakeProfile | None = None
    may_need: frozenset[Need] = frozenset()
    needs_kernel: bool = False


@dataclass(frozen=True)
class RunSummary:
    """How a run went.

    Attributes:
        seconds: How long it was.
        counts: What it did, by the names of `loop.AgentCounts`.
        not_put_back: What could not be put back, for people; it is in the journal.
        log: Where its log is.
        mb_per_h: How fast the log grew.
        rows_lost: Rows that the log could not take, such as on a full disk.
        decisions: Of choices among arms: `seen`, `kept` in the log, the last `rate`, `mb_per_h`; empty: none.
        advice: What it would change, where it only advises.
    """

    seconds: float
    counts: Mapping[str, Any]
    not_put_back: tuple[str, ...]
    log: Path
    mb_per_h: float
    rows_lost: int
    decisions: Mapping[str, float]
    advice: tuple[str, ...]


def run_agent(asked: AgentRun, tell: Callable[[str], None]) -> RunSummary:
    """Run an agent until it is ended, and put back all that it changed.

    Args:
        asked: What it is made of.
        tell: Called with lines for people.

    Raises:
        AgentRunningError: There is one already.
        UnavailableError: What it needs can't be had here.
        JournalError: The journal can't be read or trusted: nothing is changed.
    """
    journal = Journal()
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(_signals())  # first: one may come while things are made ready
        holder: list[Agent] = []
        switch = None if asked.under is None else ProfileSwitch(asked.under)
        control = ControlServer(lambda *request: _answer(holder, switch, *request), journal.directory)
        stack.callback(control.close)
        control.wake_on(signals.fileno())
        if not asked.options.advise:
            for remark in put_back_stale(journal):
                tell(remark)
            journal.open_records()  # what can't be read is no journal to write to
        for remark in _prepare(asked.policy, journal.directory):
            tell(remark)
        needs = asked.policy.needs | asked.may_need | ({Need.KERNEL} if asked.needs_kernel else set())
        senses = Senses(frozenset(needs))
        stack.callback(senses.close)
        for name, why in senses.unknown.items():
            tell(f"unknown: {name}: {why}")
        also = _journald(stack)
        log = AgentLog(journal.directory, asked.log_bytes, also=also)
        stack.callback(log.close)
        agent = Agent(asked.policy, senses, journal, log, options=asked.options, guard=asked.guard)
        if also is None:  # else each line would be in the journal twice
            agent.tell = tell
        agent.proofs = asked.proofs
        agent.decisions = open_decisions(journal.directory, most_bytes=asked.log_bytes)
        stack.callback(agent.decisions.close)
        if asked.objectives:
            from schedtuna.agent.guard.slo_sources import SloSources  # brings TLS along

            agent.objectives = stack.enter_context(SloSources(asked.objectives))
        holder.append(agent)
        watcher = _watch(asked, journal, tell)
        if watcher is not None:
            agent.own_tgids |= {watcher.pid}
        agent.start(watcher_lacks=() if watcher is None else watcher.lacks, limits=repr(asked.options.limits))
        began_s = time.monotonic()
        why = _loop(agent, control, signals, asked, switch)
        undone = agent.finish(why)
        _keep(agent, every=1)
        failed = tuple(
            f"{one.standing.intent.setting} of {one.standing.intent.target.tell()}: {one.reason}"
            for one in undone
            if one.result is UndoResult.FAILED
        )
        if watcher is not None and not failed:
            watcher.dismiss()
        return RunSummary(
            seconds=time.monotonic() - began_s,
            counts=dict(vars(agent.counts)),
            not_put_back=failed,
            log=log.directory,
            mb_per_h=log.megabytes_per_h,
            rows_lost=log.nr_lost,
            decisions=agent.decisions.told(),
            advice=tuple(tell_act(act) for act in agent.advice.values()),
        )


def _journald(stack: contextlib.ExitStack) -> Callable[[Mapping[str, Any]], None] | None:
    """What hands rows of the log to systemd's journal, where this is a service of systemd's."""
    journald = opened_where_asked(os.environ)
    if journald is None:
        return None
    stack.callback(journald.close)

    def send(row: Mapping[str, Any]) -> None:
        data = entry(row, printable(tell_row(row)))
        if data is not None:
            journald.send(data)

    return send


def _watch(asked: AgentRun, journal: Journal, tell: Callable[[str], None]) -> Watcher | None:
    if asked.options.advise:
        return None
    watcher = start_watcher(journal.directory)
    for lack in watcher.lacks:
        tell(f"what undoes after a kill could not be made {lack}")
    return watcher


def _loop(
    agent: Agent,
    control: ControlServer,
    signals: socket.socket,
    asked: AgentRun,
    switch: ProfileSwitch | None,
) -> str:
    """Do interval after interval; return why it ended."""
    began_s = time.monotonic()
    end_s = None if asked.for_s is None else began_s + asked.for_s
    next_s = began_s + agent.interval_s
    glances = Glances(agent)
    notify("READY=1", f"STATUS={agent.policy.name}, each {agent.interval_s:g} s")
    while True:
        due_s = next_s if end_s is None else min(next_s, end_s)
        wake_s = glances.wake_s(due_s)
        if control.serve_until(wake_s):
            for number in signals.recv(64):
                if number == signal.SIGHUP:
                    _reload(agent, asked, switch)
                elif number in _ENDING:
                    notify("STOPPING=1")
                    return f"ended by {signal.Signals(number).name}"
            continue
        if wake_s < due_s:
            glances.look()
            continue
        if end_s is not None and time.monotonic() >= end_s:
            return "its time is over"
        if switch is not None:
            switch.expire(agent)
        agent.step()
        _keep(agent, every=_KEPT_EVERY)
        notify("WATCHDOG=1")
        next_s = max(next_s + agent.interval_s, time.monotonic() + 0.1 * agent.interval_s)


def _prepare(policy: AgentPolicy, folder: Path, *, ours: bool = False) -> list[str]:
    """Look what a policy that swaps schedulers can choose here; return what people should know of it."""
    if Need.SWAPS not in policy.needs:
        return []
    from schedtuna.agent.swap.making import prepare

    return prepare(policy, folder, ours=ours)


def _keep(agent: Agent, *, every: int) -> None:
    """Keep what a policy has learned; where that can't be written, go on."""
    if Need.SWAPS not in agent.policy.needs:
        return
    from schedtuna.agent.swap.making import keep_state

    try:
        keep_state(agent.policy, every=every)
    except SchedtunaError as error:
        agent.log.write("state", result="failed", reason=str(error))
        agent.tell(f"what was learned is not kept: {error}")


def _reload(agent: Agent, asked: AgentRun, switch: ProfileSwitch | None) -> None:
    """Take policy and options anew; what is wrong in a file leaves all as it was."""
    if asked.reload is None:
        return
    try:
        policy, options = asked.reload() if switch is None else switch.make(switch.name)
        remarks = _prepare(policy, agent.journal.directory, ours=agent.actor.swaps.runs)
    except SchedtunaError as error:
        agent.tell(f"not reloaded, all stays as it was: {error}")
        agent.log.write("reload", result="failed", reason=str(error))
        return
    for remark in remarks:
        agent.tell(remark)
    _keep(agent, every=1)
    agent.policy = policy
    agent.options = replace(options, advise=agent.options.advise)
    agent.interval_s = options.interval_s
    agent.tell("reloaded")
    agent.log.write("reload", result="done", policy=policy.name)


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Have signals come as bytes on a socket, so that none interrupts a change."""
    here, there = socket.socketpair()
    there.setblocking(False)
    here.setblocking(False)

    def nothing(_number: int, _frame: FrameType | None) -> None:
        pass  # its number is written to the socket

    before = {number: signal.signal(number, nothing) for number in (*_ENDING, signal.SIGHUP)}
    descriptor = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    try:
        yield here
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        here.close()
        there.close()


def _answer(
    holder: list[Agent], switch: ProfileSwitch | None, name: str, arguments: Mapping[str, Any], uid: int
) -> Mapping[str, Any]:
    if not holder:
        raise SchedtunaError("it is starting", hint="ask again in a second")
    agent = holder[0]
    match name:
        case "status":
            return status_of(agent)
        case "view":
            after = arguments.get("after", 0)
            return view_of(agent, after=after if isinstance(after, int) else 0)
        case "undo":
            what = str(arguments.get("id", ""))
            if not agent.actor.find(what):
                raise UsageError(
                    f"nothing that is in force is called {what!r}", hint="schedtuna agent status"
                )
            by = "a click on the page" if arguments.get("on_page") is True else f"`schedtuna undo {what}`"
            undone = agent.undo(what, f"{by} by user {uid}")
            return {"undone": [{"what": one.standing.intent.id, "result": str(one.result)} for one in undone]}
        case "resume":
            agent.resume()
            return {"resumed": True}
        case "profile" if switch is not None:
            return switch.set(agent, str(arguments.get("name", "")))
    raise UsageError(f"an agent is not asked for {name!r}")
