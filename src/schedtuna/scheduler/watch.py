"""Was a sched_ext scheduler in charge during a whole run, and what did it and the kernel count meanwhile?"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from schedtuna.scheduler.scx import ScxProcess, exit_reason, version_change
from schedtuna.scheduler.stats import StatsClient, offered

PREFIX = "scx."


class Watch:
    """Looks at a running scheduler once the run is over; closing the scheduler comes after that.

    A context manager: leaving it ends what asks the scheduler for its statistics.

    Args:
        running: The scheduler, in charge.
        name: Its name.
        seen: The ops names of earlier runs, by name; this run's is added.
        python: Python of the machine that it runs on.

    Attributes:
        covariates: What the scheduler (``scx.NAME``) and the kernel (``scx.ev_NAME``) counted; the
            kernel's counters only where they moved.
    """

    def __init__(
        self, running: ScxProcess, name: str, seen: dict[str, str], *, python: str = "/usr/bin/python3"
    ) -> None:
        self.covariates: dict[str, float] = {}
        self._running = running
        self._reasons: list[str] = []
        self._log = ""
        changed = version_change(seen, name, running.started.ops)
        if changed:
            self._reasons.append(changed)
        seen.setdefault(name, running.started.ops)
        answers = running.is_object or offered(name)
        self._stats = StatsClient(running.machine, python) if answers else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stats:
            self._stats.close()

    def look(self) -> None:
        """Take down how it stands, while it is still in charge or has just lost that."""
        reason = self._running.ejected()
        said = self._stats.finish() if self._stats else {}
        if reason:
            self._reasons.append(reason)
            return
        counted = self._running.events()
        self.covariates = {f"{PREFIX}ev_{name}": float(number) for name, number in counted.items() if number}
        self.covariates |= {f"{PREFIX}{name}": number for name, number in said.items()}

    def conclude(self) -> None:
        """Keep what its program printed: once it is closed, and as long as its machine is there."""
        if self._reasons:
            self._log = self._running.log()

    def ejected(self) -> str:
        """Return why the run does not count, with the kernel's reason where the scheduler printed it."""
        if not self._reasons:
            return ""
        told = exit_reason(self._log)
        return ", ".join(self._reasons) + (f"; the kernel says: {told}" if told else "")

    def log(self) -> str:
        """The kernel's exit dump, or the last lines that its program printed."""
        return self._log
