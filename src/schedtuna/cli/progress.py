"""How far is a long command? A bar with an ETA on a terminal, a line now and then elsewhere; stderr.

Nothing is drawn while a run is being measured: the bar moves between runs, and has no thread. What measures
nothing may have one that appears late.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, runtime_checkable

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from schedtuna.cli.streams import console, guard_streams
from schedtuna.printable import percent_change, printable
from schedtuna.priority import as_usual

if TYPE_CHECKING:
    from schedtuna.experiment.campaign import Campaign
    from schedtuna.tune.search import StudyEvent
    from schedtuna.wire import TrialProgress

PATIENCE_S = 2.0
LINE_EVERY_S = 15.0  # where stderr is a file or a pipe


class RunProgress:
    """Progress over runs, on stderr.

    Args:
        title: What is being done, in a word or two.
        total: How many runs there are; None where a time limit decides.
        unit: What they are, if not runs.
    """

    def __init__(self, title: str, total: int | None, *, unit: str = "runs") -> None:
        self._unit = unit
        self._console = console(stderr=True)
        self._title = title
        self._last_line_s = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
            auto_refresh=False,
        )
        self._task = self._bar.add_task(title, total=total, note="")

    def update(self, done: int, total: int | None, *, note: str = "", title: str | None = None) -> None:
        """Show that `done` of `total` runs have ended; the note says noise, best so far and the like."""
        self._title = printable(title or self._title)
        note = printable(note)
        self._bar.update(
            self._task, description=self._title, completed=done, total=total, note=note, refresh=True
        )
        now_s = time.monotonic()
        if not self._console.is_terminal and now_s - self._last_line_s >= LINE_EVERY_S:
            self._last_line_s = now_s
            self.say(f"{self._title}: {done}/{'?' if total is None else total} {self._unit}  {note}".rstrip())

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self._console.is_terminal:
            self._console.print(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        self._bar.start()
        guard_streams()  # the bar has put streams of its own before the guarded ones
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class CampaignProgress(RunProgress):
    """The bar of a study or a comparison, and a line for every look.

    Args:
        campaign: What is made; it introduces itself.
        title: What is being done, in a word or two.

    Attributes:
        done: Runs that have ended.
    """

    def __init__(self, campaign: Campaign, title: str) -> None:
        super().__init__(title, None)
        self.done = 0
        self._campaign = campaign

    def __enter__(self) -> Self:
        super().__enter__()
        self._campaign.introduce(self.say)
        if self._console.is_terminal:  # drawing here disturbs no run on another machine
            for side in self._campaign.sides:
                if isinstance(side.backend, TellsProgress):
                    side.backend.on_progress = self._show_run
        return self

    def _show_run(self, progress: TrialProgress) -> None:
        """Show how far a run on another machine is."""
        self._bar.update(self._task, note=tell_progress(progress), refresh=True)

    def show(self, event: StudyEvent) -> None:
        """Show where the search, or the comparison stands."""
        from schedtuna.evidence.design import RUNS_PER_BLOCK
        from schedtuna.experiment.comparison import tell_effect
        from schedtuna.tune.search import SearchProgress

        self.done = event.done
        trial = event.record.trial
        noise = "" if event.noise_cv is None else f"noise {event.noise_cv:.1%}"
        if isinstance(event, SearchProgress):
            best = (
                ""
                if event.best_cost is None
                else f"best single run {percent_change(math.exp(event.best_cost))}"
            )
            note = trial.reason or ", ".join(filter(None, (best, noise)))
            self.update(event.done, event.total, note=note, title=event.sampler or "baseline")
            return
        self.update(event.done, event.total, note=trial.reason or noise, title=event.record.phase)
        if event.done == RUNS_PER_BLOCK:
            left = format_duration((event.total - event.done) * trial.duration_s)
            self.say(f"at most {event.total} runs, about {left} more; fewer where the answer is clear")
        if event.result is not None:
            self.say(
                f"judged after {event.done} runs: {event.told_verdict}, "
                f"{tell_effect(event.result.effect)}, {noise}"
            )


@runtime_checkable
class TellsProgress(Protocol):
    """A backend that says how far a run is, to whom wants to know."""

    on_progress: Callable[[TrialProgress], None] | None


def tell_progress(progress: TrialProgress) -> str:
    """Return in a few words how far a run on another machine is."""
    if progress.nr_before:
        return f"{progress.nr_before} before it there"
    told = [str(progress.state)]
    if progress.nr_runs > 1:
        told.append(f"{progress.nr_done} of {progress.nr_runs} runs")
    if progress.eta_s is not None:
        told.append(f"about {format_duration(progress.eta_s)} more")
    return ", ".join(told)


def format_duration(seconds: float) -> str:
    """Spell a duration as people say it: ``40 s``, ``12 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Step(NamedTuple):
    """How far something is.

    Attributes:
        title: What is being done; the bar stands for one title.
        done: How much of it.
        total: How much there is; None: nobody knows.
        note: What else is worth telling.
        is_slow: Whether it is known to take long: its bar is there at once.
    """

    title: str
    done: float = 0.0
    total: float | None = None
    note: str = ""
    is_slow: bool = False


class LateProgress:
    """A bar for what mostly takes a moment: there once it has taken 2 s, on a terminal only.

    Args:
        measure: Says how far it is; None while there is nothing to show. A thread asks.
        every_s: Time between two looks.
    """

    def __init__(self, measure: Callable[[], Step | None], *, every_s: float = 0.25) -> None:
        self._measure = measure
        self._every_s = every_s
        self._console = console(stderr=True)
        self._bar: Progress | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="schedtuna-bar", daemon=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            with as_usual():
                self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        title, since_s = "", 0.0
        while not self._ended.wait(self._every_s):
            try:
                step = self._measure()
            except OSError:  # what it looks at is gone
                step = None
            if step is None or step.title != title:
                self._hide()
                title, since_s = step.title if step else "", time.monotonic()
            if step and (step.is_slow or time.monotonic() - since_s >= PATIENCE_S):
                self._show(step)
        self._hide()

    def _show(self, step: Step) -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TextColumn("{task.fields[note]}", style="dim", markup=False),
                console=self._console,
                transient=True,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.add_task(step.title, note="")
            self._bar.start()
        self._bar.update(
            self._bar.task_ids[0], completed=step.done, total=step.total, note=step.note, refresh=True
        )

    def _hide(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
