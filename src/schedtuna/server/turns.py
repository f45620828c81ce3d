"""Who is next? Trials run one at a time, in the order in which they came, each at most once.

That a trial runs is on disk before its worker begins: one that a server finds running when it starts was
interrupted by the end of the server before, and is not run again, whatever became of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from schedtuna.errors import SchedtunaError
from schedtuna.files import move, remove_folder
from schedtuna.server.allowed import Allowed, longest_s
from schedtuna.server.counters import RequestCounts
from schedtuna.server.progress import ProgressBook
from schedtuna.server.refusal import RefusedError
from schedtuna.server.runner import Worker, end_process, put_back
from schedtuna.server.store import TrialEntry, TrialStore
from schedtuna.server.worker import TRACE_NAME, WorkerOrder, read_answer
from schedtuna.wire import SchedulerAnswer, TrialOutcome, TrialProgress, TrialState, TrialStatus

INTERRUPTED = "interrupted: the server ended meanwhile; it is not run again"
_SLACK_S = 60.0  # beyond a trial's own time limits: imports, and what is read afterwards
_ASK_LIMIT_S = 180.0  # an emulated machine imports and probes for minutes
_ASK_PATIENCE_S = 10.0
_LOOK_S = 0.25  # between two looks at the leases


class Turns:
    """What runs, and what waits.

    Args:
        allowed: What clients may have run.
        store: Where trials are kept.
        say: Told what people should know, a line at a time.

    Attributes:
        problem: Why nothing may run: what a killed run left could not be put back. Empty: it may.
        counts: What was counted so far.
    """

    def __init__(self, allowed: Allowed, store: TrialStore, say: Callable[[str], None]) -> None:
        self._allowed, self._store, self._say = allowed, store, say
        self.problem = ""
        self.counts = RequestCounts()
        self._queue: list[str] = []  # the first one may run
        self._heard_s: dict[str, float] = {}
        self._ended_as: dict[str, tuple[TrialState, str]] = {}
        self._worker: Worker | None = None
        self._alone = asyncio.Lock()  # whoever has it starts workers
        self._changed = asyncio.Condition()
        self._progress = ProgressBook()

    async def recover(self) -> None:
        """Take up what a former server has left: its workers are ended, and all is put back."""
        for entry in self._store:
            if entry.state is TrialState.RUNNING:
                if entry.worker is not None:
                    await end_process(entry.worker)
                self._conclude(entry, TrialState.FAILED, INTERRUPTED)
                self._say(f"trial {entry.id} was running when the server ended, and counts as failed")
            elif entry.state is TrialState.QUEUED:
                self._queue.append(entry.id)
                self.hear(entry)
        self._store.clear_scratch()
        await self._put_back()

    async def work(self) -> None:
        """Run trial after trial. Cancelled, it ends the one that runs, and has all put back."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_leases())
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda: bool(self._queue))
                async with self._alone:
                    if self._queue and (entry := self._store.find(self._queue[0])) is not None:
                        await self._attempt(entry)

    def require_room(self) -> None:
        """Refuse another trial where too many wait, or none may run.

        Raises:
            RefusedError: It can't be taken.
        """
        if self.problem:
            raise RefusedError(503, f"nothing may run here: {self.problem}", hint="start the server again")
        if len(self._queue) > self._allowed.most_waiting:
            raise RefusedError(
                429,
                f"{self._allowed.most_waiting} trials wait already, the most that may",
                hint="ask again later",
                retry_after_s=5,
            )

    async def add(self, entry: TrialEntry) -> None:
        """Let a trial wait for its turn."""
        self._queue.append(entry.id)
        self.hear(entry)
        self.counts.add("trials", "submitted")
        await self._tell()

    def hear(self, entry: TrialEntry) -> None:
        """Its client is there: the lease begins anew."""
        if not entry.state.is_end:
            self._heard_s[entry.id] = time.monotonic()

    def status(self, entry: TrialEntry) -> TrialStatus:
        """Return what a client is told of a trial."""
        nr_before = self._queue.index(entry.id) if entry.id in self._queue else 0
        return entry.status(now=time.time(), nr_before=nr_before)

    def gauges(self) -> dict[str, float]:
        """Return what is so at the moment, by the names of `counters.GAUGES`."""
        running = sum(entry.state is TrialState.RUNNING for entry in self._store)
        return {
            "trials_waiting": len(self._queue) - running,
            "trials_running": running,
            "stored_bytes": self._store.used_bytes,
        }

    async def wait_for_news(self, entry: TrialEntry, limit_s: float) -> None:
        """Wait until a trial's state, or its place among those that wait, is another one; or for so long."""
        seen = self.status(entry)

        def is_news() -> bool:
            now = self._store.find(entry.id)
            return (
                now is None
                or (told := self.status(now)).state != seen.state
                or told.nr_before != seen.nr_before
            )

        if entry.state.is_end:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s), self._changed:
                await self._changed.wait_for(is_news)

    async def wait_for_events(self, entry: TrialEntry, number: int, limit_s: float) -> list[TrialProgress]:
        """Return a trial's events after one, as soon as there are any; none after so long."""

        def news() -> list[TrialProgress]:
            now = self._store.find(entry.id) or entry
            return self._progress.after(entry.id, number, self.status(now))

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s), self._changed:
                await self._changed.wait_for(lambda: bool(news()))
        return news()

    async def stop(self, entry: TrialEntry, state: TrialState, reason: str) -> None:
        """End a trial, whether it waits or runs; returns once it has ended."""
        if entry.state.is_end:
            return
        if entry.state is TrialState.QUEUED:
            self._conclude(entry, state, reason)
            await self._tell()
            return
        self._ended_as.setdefault(entry.id, (state, reason))
        if self._worker is not None:
            await self._worker.end()
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_over(entry.id))

    async def ask(self, order: WorkerOrder) -> SchedulerAnswer:
        """Have a worker tell something of this machine, between trials: none is disturbed.

        Raises:
            RefusedError: A trial runs, or there is no answer.
        """
        try:
            await asyncio.wait_for(self._alone.acquire(), _ASK_PATIENCE_S)
        except TimeoutError:
            raise RefusedError(
                503, "a trial is running, which must not be disturbed", hint="ask again", retry_after_s=2
            ) from None
        try:
            folder = self._store.scratch("question")
            worker = Worker(order, folder)
            try:
                await worker.start()
                await worker.wait(_ASK_LIMIT_S)
                answer = read_answer(folder, SchedulerAnswer)
            except TimeoutError:
                raise RefusedError(500, f"asking this machine took longer than {_ASK_LIMIT_S:g} s") from None
            finally:
                await worker.end()
            if isinstance(answer, SchedulerAnswer):
                return answer
            if isinstance(answer, TrialOutcome) and answer.problem is not None:
                problem = answer.problem
                status = 404 if problem.kind == "UsageError" else 409
                raise RefusedError(status, problem.message, hint=problem.hint, kind=problem.kind)
            raise RefusedError(500, f"there was no answer: {worker.tail()}")
        finally:
            self._alone.release()

    async def _attempt(self, entry: TrialEntry) -> None:
        """Run a trial; one whose state can't be written down ends, and none follows it."""
        try:
            if self.problem:
                await self._put_back()
            if self.problem:
                self._conclude(entry, TrialState.FAILED, f"nothing may run here: {self.problem}")
                await self._tell()
            else:
                await self._run(entry)
        except (OSError, SchedtunaError) as error:
            if entry.id in self._queue:
                self._queue.remove(entry.id)
            self._heard_s.pop(entry.id, None)
            self.problem = f"the state of trials can't be written: {error}"
            self._say(self.problem)

    async def _run(self, entry: TrialEntry) -> None:
        folder = self._store.scratch(entry.id)
        order = WorkerOrder(
            submission=entry.submission, commands=self._allowed.commands, user=self._allowed.user
        )
        worker = self._worker = Worker(order, folder, lambda took_s: self._ran(entry.id, took_s))
        begun = {"state": TrialState.RUNNING, "started_at": time.time()}
        entry = self._store.put(entry.model_copy(update=begun))
        try:
            entry = self._store.put(entry.model_copy(update={"worker": await worker.start()}))
            await self._tell()
            if entry.id not in self._ended_as:
                await worker.wait(longest_s(entry.submission) + _SLACK_S)
        except TimeoutError:
            self._ended_as.setdefault(
                entry.id, (TrialState.FAILED, "it took longer than all its time limits")
            )
        except OSError as error:
            self._ended_as.setdefault(entry.id, (TrialState.FAILED, f"it could not be started: {error}"))
        except asyncio.CancelledError:
            self._ended_as.setdefault(entry.id, (TrialState.FAILED, INTERRUPTED))
            raise
        finally:
            await worker.end()
            self._worker = None
            await self._put_back()
            self._take_in(entry, worker)
            remove_folder(folder, missing_ok=True)
            await self._tell()

    def _take_in(self, entry: TrialEntry, worker: Worker) -> None:
        """Write down what came of a trial whose worker has ended."""
        state, reason = self._ended_as.pop(entry.id, (TrialState.DONE, ""))
        answer = read_answer(worker.folder, TrialOutcome) if state is TrialState.DONE else None
        if state is TrialState.DONE and not isinstance(answer, TrialOutcome):
            state, reason, answer = TrialState.FAILED, f"its worker died: {worker.tail()}", None
        if isinstance(answer, TrialOutcome) and answer.trace_bytes is not None:
            move(worker.folder / TRACE_NAME, self._store.archive(entry.id))
        self._conclude(entry, state, reason, answer if isinstance(answer, TrialOutcome) else None)

    def _conclude(
        self, entry: TrialEntry, state: TrialState, reason: str, outcome: TrialOutcome | None = None
    ) -> None:
        if entry.id in self._queue:
            self._queue.remove(entry.id)
        self._heard_s.pop(entry.id, None)
        end = {"state": state, "reason": reason, "outcome": outcome, "ended_at": time.time(), "worker": None}
        ended = self._store.put(entry.model_copy(update=end))
        self._progress.see(ended.submission, self.status(ended))
        self.counts.add("trials", str(state))

    async def _ran(self, trial_id: str, took_s: float) -> None:
        entry = self._store.find(trial_id)
        if entry is not None:
            self._progress.ran(entry.submission, self.status(entry), took_s)
            await self._tell()

    def _is_over(self, trial_id: str) -> bool:
        entry = self._store.find(trial_id)
        return entry is None or entry.state.is_end

    async def _put_back(self) -> None:
        try:
            self.problem = await put_back()
        except SchedtunaError as error:
            self.problem = str(error)
        if self.problem:
            self._say(f"nothing runs any more: {self.problem}")

    async def _watch_leases(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            now_s = time.monotonic()
            for trial_id, heard_s in list(self._heard_s.items()):
                entry = self._store.find(trial_id)
                if entry is not None and now_s - heard_s > entry.submission.lease_s:
                    reason = f"given up: its client was not heard of for {entry.submission.lease_s:g} s"
                    await self.stop(entry, TrialState.FAILED, reason)

    async def _tell(self) -> None:
        for trial_id in self._queue:
            if (entry := self._store.find(trial_id)) is not None:
                self._progress.see(entry.submission, self.status(entry))
        async with self._changed:
            self._changed.notify_all()
