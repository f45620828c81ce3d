"""What becomes of each request? Nothing of HTTP is in here, and nothing of how trials are run.

A submission is written down before it is answered. It goes on for as long as its client asks for it now and
then: whoever does not has gone, and its lease is up.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from schedtuna.configfile import first_fault
from schedtuna.server.allowed import Allowed
from schedtuna.server.counters import RequestCounts
from schedtuna.server.gate import Gate, require
from schedtuna.server.machine import capabilities
from schedtuna.server.refusal import RefusedError
from schedtuna.server.store import TrialEntry, TrialStore, content_digest
from schedtuna.server.tokens import ClientRow, Role
from schedtuna.server.turns import Turns
from schedtuna.server.worker import WorkerOrder
from schedtuna.wire import (
    LONGEST_POLL_S,
    Capabilities,
    Health,
    SchedulerAnswer,
    Submission,
    TrialState,
    TrialStatus,
)

_CHUNK_BYTES = 256 << 10


class Service:
    """What a server answers.

    Args:
        allowed: What clients may have run.
        store: Where trials are kept.
        gate: Who may do what.
        turns: What runs them.
    """

    def __init__(self, allowed: Allowed, store: TrialStore, gate: Gate, turns: Turns) -> None:
        self._allowed, self._store, self._gate, self._turns = allowed, store, gate, turns
        self._counts = turns.counts
        self._can = capabilities(allowed)
        self._verbs: dict[str, Callable[..., Awaitable[BaseModel | dict[str, Any]]]] = {
            "submit": self._submit,
            "status": self._status,
            "events": self._events,
            "cancel": self._cancel,
            "trace": self._trace,
            "capabilities": self._capabilities,
            "scheduler": self._scheduler,
            "metrics": self._metrics,
        }

    @property
    def counts(self) -> RequestCounts:
        """What was counted so far."""
        return self._counts

    async def call(self, verb: str, token: str, peer: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request.

        Args:
            verb: One of those above; ``admit``, which only looks at the token; or ``health``, which alone
                needs none.
            token: What the client sent.
            peer: Its address.
            arguments: By name.

        Raises:
            RefusedError: The request is refused.
        """
        try:
            if verb == "health":
                return _told(Health(now=time.time()))
            found = self._gate.admit(token, peer, counted=verb == "admit")
            if verb == "admit":
                return {}
            self._counts.add("requests", verb)
            answer = await self._verbs[verb](*found, **arguments)
        except ValidationError as error:
            raise RefusedError(422, first_fault(error)) from None
        except RefusedError as error:
            self._counts.add("refused", str(error.status))
            raise
        return answer if isinstance(answer, dict) else _told(answer)

    async def _submit(self, name: str, client: ClientRow, *, submission: dict[str, Any]) -> TrialStatus:
        require(client, Role.SUBMIT)
        asked = Submission.model_validate(submission)
        known = self._store.find(asked.submit_id)
        if known is not None:
            return self._again(name, known, asked)
        self._allowed.require(asked)
        self._turns.require_room()
        now = time.time()
        self._store.make_room(now)
        entry = self._store.put(TrialEntry(submission=asked, client=name, submitted_at=now))
        await self._turns.add(entry)
        return self._turns.status(entry)

    def _again(self, name: str, known: TrialEntry, asked: Submission) -> TrialStatus:
        if known.client != name or content_digest(known.submission) != content_digest(asked):
            raise RefusedError(
                409,
                f"the submit id {asked.submit_id} has been used for another trial",
                hint="draw a new one for each trial",
            )
        self._turns.hear(known)
        return self._turns.status(known)

    async def _status(self, name: str, client: ClientRow, *, trial_id: str, wait_s: float = 0) -> TrialStatus:
        entry = self._visible(name, client, trial_id, Role.READ)
        is_mine = entry.client == name
        if is_mine:
            self._turns.hear(entry)
        if wait_s > 0:
            # No longer than half the lease: so a client that is cut off meanwhile is gone when it is up.
            await self._turns.wait_for_news(entry, min(wait_s, LONGEST_POLL_S, entry.submission.lease_s / 2))
            entry = self._visible(name, client, trial_id, Role.READ)
        if is_mine:
            self._turns.hear(entry)
            if entry.state.is_end and entry.fetched_at is None:
                entry = self._store.put(entry.model_copy(update={"fetched_at": time.time()}))
        return self._turns.status(entry)

    async def _events(
        self, name: str, client: ClientRow, *, trial_id: str, after: int, wait_s: float
    ) -> dict[str, Any]:
        """Tell a trial's events after one. It renews no lease: a line may stay open to who has gone."""
        entry = self._visible(name, client, trial_id, Role.READ)
        found = await self._turns.wait_for_events(entry, after, min(wait_s, LONGEST_POLL_S))
        is_over = self._visible(name, client, trial_id, Role.READ).state.is_end
        return {"events": [_told(event) for event in found], "is_over": is_over}

    async def _cancel(self, name: str, client: ClientRow, *, trial_id: str) -> TrialStatus:
        entry = self._visible(name, client, trial_id, Role.ADMIN)
        await self._turns.stop(entry, TrialState.CANCELLED, f"cancelled by {name}")
        return self._turns.status(self._visible(name, client, trial_id, Role.ADMIN))

    async def _trace(self, name: str, client: ClientRow, *, trial_id: str, offset: int = 0) -> dict[str, Any]:
        entry = self._visible(name, client, trial_id, Role.READ)
        path = self._store.archive(entry.id)
        nr_bytes = None if entry.outcome is None else entry.outcome.trace_bytes
        if nr_bytes is None or not path.exists():
            raise RefusedError(404, "this trial has no trace", hint='submit one with "trace": true')
        with path.open("rb") as file:
            file.seek(offset)
            return {"chunk": base64.b64encode(file.read(_CHUNK_BYTES)).decode(), "nr_bytes": nr_bytes}

    async def _capabilities(self, _name: str, client: ClientRow) -> Capabilities:
        require(client, Role.SUBMIT, Role.READ)
        return self._can.model_copy(update={"now": time.time()})

    async def _scheduler(
        self, _name: str, client: ClientRow, *, scheduler: str, tunable: bool, include: tuple[str, ...]
    ) -> SchedulerAnswer:
        require(client, Role.SUBMIT)
        return await self._turns.ask(WorkerOrder(scheduler=scheduler, tunable=tunable, include=include))

    async def _metrics(self, _name: str, client: ClientRow) -> dict[str, Any]:
        require(client, Role.READ)
        return {"text": self._counts.text(self._turns.gauges())}

    def _visible(self, name: str, client: ClientRow, trial_id: str, role: Role) -> TrialEntry:
        """Return a trial of a client's own, or for a role anybody's; else there is none for all it knows."""
        entry = self._store.find(trial_id)
        if entry is None or not (entry.client == name or client.may(role)):
            raise RefusedError(404, f"there is no trial {trial_id}", hint="a trial's id is its submit id")
        return entry


def _told(form: BaseModel) -> dict[str, Any]:
    return form.model_dump(mode="json")
