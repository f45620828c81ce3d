"""Settings that are in force only while one command lives, whatever becomes of it or of who holds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from schedtuna.agent.watcher import start_watcher
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.undo import put_back_stale
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.tune.apply import run_applied


def hold(scheduler: SchedulerConfig, command: Sequence[str], warn: Callable[[str], None]) -> int:
    """Run a command under settings, and put them back at its end; returns an exit code for it.

    Where this process is killed, the settings are put back though the command may live on.

    Args:
        scheduler: The settings.
        command: The command.
        warn: Told what is to be known.

    Raises:
        SchedtunaError: As `tune.apply.run_applied`.
    """
    journal = Journal()
    for remark in put_back_stale(journal):
        warn(remark)
    watcher = start_watcher(journal.directory)
    code = run_applied(scheduler, command, warn=warn)
    watcher.dismiss()  # not where putting back failed, which raises
    return code
