"""Units of systemd that keep a scheduler, or an agent, across reboots: journalled, and removed by undo."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

from schedtuna.errors import KnobError, UntrustedError
from schedtuna.files import make_folder, remove, write_text
from schedtuna.knobs.base import Reverted
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.records import Change, Record, UnitSubject

FOLDER = Path("etc/systemd/system")
UNIT = "schedtuna-scheduler.service"
AGENT_UNIT = "schedtuna-agent.service"
_BOOTED = Path("/run/systemd/system")  # sd_booted(3)
_ANSWER_WITHIN_S = 120.0


def systemd_runs() -> bool:
    """Whether systemd is this machine's init."""
    return _BOOTED.is_dir() and shutil.which("systemctl") is not None


class SystemUnit:
    """The units that Schedtuna installs: one of each kind at most."""

    name = "systemd_unit"

    def install(self, text: str, journal: Journal, *, root: Path = Path("/"), unit: str = UNIT) -> Path:
        """Write the unit; with systemd running, also enable and start it.

        Args:
            text: The unit.
            journal: Where the change is written down first.
            root: Of another system; there nothing is started.
            unit: Its name: `UNIT` or `AGENT_UNIT`.

        Returns:
            The unit's path.

        Raises:
            KnobError: It can't be written, enabled or started; then nothing of it remains.
        """
        path = root / FOLDER / unit
        old = _read(path)
        (record,) = journal.begin([Change(self.name, UnitSubject(path=path), old, text)])
        journal.step(f"{self.name}: before the change")
        try:
            _write(path, text)
            journal.step(f"{self.name}: after the change")
            if root == Path("/") and systemd_runs():
                _systemctl("daemon-reload")
                _systemctl("enable", unit)
                _systemctl("restart", unit)
        except KnobError:
            self.revert(record)
            journal.finish({record.id: "restored"})
            raise
        return path

    def revert(self, record: Record) -> Reverted:
        """Stop and disable the unit, and put back what its file was.

        Raises:
            KnobError: Somebody else has changed the file, or it can't be removed.
        """
        path = record.subject.path if isinstance(record.subject, UnitSubject) else None
        if path is None or path.name not in (UNIT, AGENT_UNIT):
            raise KnobError(f"{self.name}: the journal's record {record.id} names no unit of Schedtuna's")
        found = _read(path)
        if found == record.old:
            return Reverted.RESTORED if found else Reverted.GONE
        if found is not None and found != record.new:
            raise KnobError(
                f"{path} was edited since it was installed",
                hint=f"remove it by hand: systemctl disable --now {path.name}",
            )
        live = path.parent == Path("/") / FOLDER and systemd_runs()
        if live:
            with contextlib.suppress(KnobError):  # it may never have been enabled
                _systemctl("disable", "--now", path.name)
        if record.old is None:
            remove(path, missing_ok=True)
        else:
            _write(path, str(record.old))
        if live:
            _systemctl("daemon-reload")
            if record.old is not None:
                _systemctl("enable", "--now", path.name)
        return Reverted.RESTORED


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KnobError(f"{path} can't be read: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all, and wait until it is on disk."""
    try:
        make_folder(path.parent, by_path=True)
        write_text(path, text)
    except UntrustedError as error:  # what systemd starts as root must be nobody else's
        raise KnobError(f"{path} was not written: {error}", hint=error.hint) from error
    except OSError as error:
        raise KnobError(
            f"{path} can't be written: {error.strerror}", hint="it takes root, and room on the disk"
        ) from error


def _systemctl(*arguments: str) -> None:
    try:
        done = subprocess.run(
            ["systemctl", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ANSWER_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KnobError(f"systemctl {arguments[0]} failed: {error}") from None
    if done.returncode:
        raise KnobError(
            f"systemctl {' '.join(arguments)} failed: {done.stderr.strip()[-300:]}",
            hint=f"journalctl -u {arguments[-1]}",
        )
