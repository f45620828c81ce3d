"""The service scx_loader, which runs a sched_ext scheduler for the whole machine, asked over D-Bus.

Where it runs it is asked to start and stop schedulers; nothing is started beside it. Its interface is
org.scx.Loader, as the service documents it; busctl, which comes with systemd, carries the calls.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schedtuna.configfile import parse_json
from schedtuna.errors import KnobError
from schedtuna.knobs.base import Reverted
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.records import Change, LoaderSubject, Record

NAME = "org.scx.Loader"
_PATH = "/org/scx/Loader"
NONE = "unknown"  # what the service says where it runs no scheduler
_ANSWER_WITHIN_S = 60.0  # it answers when the scheduler is verified


@dataclass(frozen=True)
class LoaderState:
    """What the service runs.

    Attributes:
        scheduler: Its name; ``unknown``: none.
        mode: The service's own profile of flags.
        arguments: Flags that were given instead of a profile.
    """

    scheduler: str
    mode: int = 0
    arguments: tuple[str, ...] = ()

    @property
    def running(self) -> bool:
        """Whether it runs any."""
        return self.scheduler not in ("", NONE)


class LoaderService:
    """The running service.

    Args:
        address: Of the bus; default: the system's.
    """

    def __init__(self, address: str = "") -> None:
        self._bus = [f"--address={address}"] if address else ["--system"]

    def present(self) -> bool:
        """Whether the service runs; asking does not start it."""
        if shutil.which("busctl") is None:
            return False
        call = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner")
        try:
            return self._asked("call", *call, "s", NAME).get("data") == [True]
        except KnobError:
            return False

    def state(self) -> LoaderState:
        """What it runs.

        Raises:
            KnobError: It does not answer.
        """
        scheduler = str(self._property("CurrentScheduler"))
        mode = int(self._property("SchedulerMode"))
        try:
            arguments = tuple(str(part) for part in self._property("CurrentSchedulerArgs"))
        except KnobError:  # older services don't say
            arguments = ()
        return LoaderState(scheduler, mode, arguments)

    def supported(self) -> tuple[str, ...]:
        """The schedulers that it knows."""
        return tuple(str(name) for name in self._property("SupportedSchedulers"))

    def run(self, wanted: LoaderState) -> None:
        """Let it run a scheduler in place of what it runs now, or none.

        Raises:
            KnobError: It refuses, or does not answer.
        """
        running = self.state().running
        if not wanted.running:
            if running:
                self._call("StopScheduler")
            return
        verb = "Switch" if running else "Start"
        if wanted.arguments:
            count = str(len(wanted.arguments))
            # After `--`, which busctl ends its own options at, flags are what they look like.
            self._call(f"{verb}SchedulerWithArgs", "sas", wanted.scheduler, count, *wanted.arguments)
        else:
            self._call(f"{verb}Scheduler", "su", wanted.scheduler, str(wanted.mode))

    def _property(self, name: str) -> Any:
        return self._asked("get-property", NAME, _PATH, NAME, name)["data"]

    def _call(self, method: str, *arguments: str) -> None:
        self._asked("call", NAME, _PATH, NAME, method, *arguments)

    def _asked(self, verb: str, *arguments: str) -> dict[str, Any]:
        argv = ["busctl", *self._bus, "--json=short", f"--timeout={_ANSWER_WITHIN_S:g}", "--auto-start=no"]
        try:
            done = subprocess.run(
                [*argv, "--", verb, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_ANSWER_WITHIN_S + 5,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KnobError(f"scx_loader can't be asked: {error}") from None
        if done.returncode:
            raise KnobError(f"scx_loader refused: {done.stderr.strip()[-300:]}")
        try:
            return dict(parse_json(done.stdout, any_text=True)) if done.stdout.strip() else {}
        except (TypeError, ValueError) as error:
            raise KnobError(f"scx_loader's answer can't be read: {error}") from None


class LoaderScheduler:
    """Which scheduler the service runs, as a change that is journalled and undone.

    Args:
        loader: The service; default: the system's.
    """

    name = "scx_loader"

    def __init__(self, loader: LoaderService | None = None) -> None:
        self._loader = loader or LoaderService()

    def apply(self, wanted: LoaderState, journal: Journal) -> LoaderState:
        """Let it run another scheduler; returns what it runs then.

        Raises:
            KnobError: It refuses.
            JournalError: The journal refused; nothing was changed.
        """
        before = self._loader.state()
        (record,) = journal.begin([Change(self.name, LoaderSubject(), _plain(before), _plain(wanted))])
        try:
            self._loader.run(wanted)
        except KnobError:
            if self._loader.state() == before:
                journal.finish({record.id: "refused"})
            raise
        return self._loader.state()

    def revert(self, record: Record) -> Reverted:
        """Let it run what it ran before.

        Raises:
            KnobError: It refuses.
        """
        if not self._loader.present():
            return Reverted.GONE
        old = LoaderState(record.old["scheduler"], record.old["mode"], tuple(record.old["arguments"]))
        if self._loader.state() != old:
            self._loader.run(old)
        return Reverted.RESTORED


def _plain(state: LoaderState) -> dict[str, Any]:
    return {"scheduler": state.scheduler, "mode": state.mode, "arguments": list(state.arguments)}


def arguments_state(scheduler: str, arguments: Sequence[str]) -> LoaderState:
    """A scheduler with flags of its own, or in the service's first profile (0: automatic)."""
    return LoaderState(scheduler, 0, tuple(arguments))
