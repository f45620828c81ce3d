"""How is one worker started, waited for and ended? Its whole tree is gone, and all put back, within 2 s."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from schedtuna.configfile import parse_json
from schedtuna.errors import SchedtunaError
from schedtuna.files import open_for_writing
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.undo import put_back_stale
from schedtuna.machine.tasks import is_alive, start_ticks
from schedtuna.printable import printable
from schedtuna.server.store import WorkerProcess
from schedtuna.server.worker import TOOK, WorkerOrder, order_line

_GRACE_S = 1.2  # from SIGTERM to SIGKILL: the launcher and the undo have the rest of the two seconds
_LAST_WORDS_S = 1.0  # to read what an ended worker has printed
_LOG_NAME = "worker.log"
_TAIL_BYTES = 2000


class Worker:
    """A worker's process.

    Args:
        order: What it does.
        folder: Of its own.
        on_run: Told how long each run took that has ended.
    """

    def __init__(
        self, order: WorkerOrder, folder: Path, on_run: Callable[[float], Awaitable[None]] | None = None
    ) -> None:
        self._order = order
        self._on_run = on_run
        self.folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> WorkerProcess:
        """Start it, and say which process it is."""
        log = open_for_writing(self.folder / _LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode=0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "schedtuna.server.worker", str(self.folder)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd="/",
                start_new_session=True,  # Ctrl-C reaches the server alone, which then ends the trial
            )
        finally:
            os.close(log)
        return WorkerProcess(pid=self._process.pid, started=start_ticks(self._process.pid) or 0)

    async def wait(self, limit_s: float) -> None:
        """Hand it its order, and wait until it has ended.

        Raises:
            TimeoutError: It has not by then.
        """
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(order_line(self._order))
            await self._process.stdin.drain()
        telling = asyncio.create_task(self._tell_runs(self._process.stdout))
        try:
            await asyncio.wait_for(self._process.wait(), limit_s)
            await asyncio.wait({telling}, timeout=_LAST_WORDS_S)
        finally:
            telling.cancel()

    async def _tell_runs(self, lines: asyncio.StreamReader | None) -> None:
        assert lines is not None
        with contextlib.suppress(ValueError):  # a line without an end: nothing that ours print
            async for line in lines:
                took_s = _took_s(line)
                if took_s is not None and self._on_run is not None:
                    await self._on_run(took_s)

    async def end(self) -> None:
        """End it, and its tree; once it has ended, this does nothing."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _GRACE_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def tail(self) -> str:
        """The last of what it printed: a traceback, where it died of a mistake of ours."""
        with contextlib.suppress(OSError):
            text = (self.folder / _LOG_NAME).read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
            return printable(" | ".join(text.split("\n")[-4:]).strip(" |"))
        return ""


def _took_s(line: bytes) -> float | None:
    """How long a run took, as a worker tells it; None: something else was printed."""
    try:
        return float(parse_json(line)[TOOK])
    except (ValueError, TypeError, LookupError):
        return None


async def end_process(process: WorkerProcess) -> None:
    """End a worker that a former server has left, if it still runs."""
    for number, wait_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
        if not is_alive(process.pid, process.started):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        await _until(lambda: not is_alive(process.pid, process.started), wait_s)


async def _until(is_so: Callable[[], bool], limit_s: float) -> None:
    end_s = asyncio.get_running_loop().time() + limit_s
    while not is_so() and asyncio.get_running_loop().time() < end_s:
        await asyncio.sleep(0.02)


async def put_back() -> str:
    """Put back what workers that were killed have left changed; returns why that failed, if it did."""
    try:
        await asyncio.to_thread(put_back_stale, Journal())
    except SchedtunaError as error:
        return f"{error} ({error.hint or '`schedtuna undo` says more'})"
    return ""
