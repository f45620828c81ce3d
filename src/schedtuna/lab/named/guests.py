"""Which named guests are there? Starts one, finds it again, and ends it.

Each has a folder in the state folder, which is its owner's alone: who keeps it, and how to reach that
process. The record is on disk before the keeper boots anything; who started it is killed meanwhile, and the
keeper powers off. It names the keeper by number, start time and boot, so that nothing else is ever ended,
and a guest of an earlier boot is known to be gone.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict

from schedtuna.configfile import parse_json
from schedtuna.errors import SchedtunaError, UnavailableError, UntrustedError, UsageError, nearest
from schedtuna.files import (
    Folder,
    make_folder,
    open_for_writing,
    read_all,
    remove_folder,
    write_text,
)
from schedtuna.files.versions import StoredFormat
from schedtuna.knobs.records import Owner, require_own_proc
from schedtuna.knobs.state import state_directory
from schedtuna.lab.boot import boot
from schedtuna.lab.errors import BootError, GuestError, LabError
from schedtuna.lab.named.keeper import LISTEN, Keeper, listen
from schedtuna.lab.store import Lab, locked
from schedtuna.lab.vm import GuestSpec
from schedtuna.machine.namespaces import own_namespaces
from schedtuna.machine.tasks import boot_id, start_ticks

STORED = StoredFormat(LabError)
_RECORD, _ENDED, _LOG = "guest.json", "ended", "log"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_POWER_OFF_WITHIN_S = 30.0
_KILL_WITHIN_S = 10.0
_LOOK_WITHIN_S = 5.0
_ERRORS = (BootError, GuestError, UnavailableError, UntrustedError, UsageError)


class GuestRecord(BaseModel):
    """A named guest, as it is written down.

    Attributes:
        version: Of this format.
        name: Its name.
        kernel: Version of its kernel.
        cpus: Virtual CPUs.
        topology: How they are laid out; None: cores of one cache.
        memory_mib: Its memory in MiB.
        boot_id: The boot of this machine in which it was started.
        started_at: Unix time in seconds.
        keeper: The process that keeps it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = STORED.newest
    name: str
    kernel: str
    cpus: int
    topology: str | None = None
    memory_mib: int
    boot_id: str
    started_at: float
    keeper: Owner


@dataclass(frozen=True)
class FoundGuest:
    """A named guest as it is now.

    Attributes:
        record: What was written down.
        gone: Why it is not there any more; empty while it is.
        up: Whether it has booted.
        user: The command that is using it; empty: none is.
    """

    record: GuestRecord
    gone: str = ""
    up: bool = False
    user: str = ""

    @property
    def state(self) -> str:
        """In a word: ``up``, ``in use``, ``booting``, ``gone``."""
        if self.gone:
            return "gone"
        if not self.up:
            return "booting"
        return "in use" if self.user else "up"

    def to_dict(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            **self.record.model_dump(mode="json", exclude={"version", "keeper", "boot_id"}),
            "pid": self.record.keeper.pid,
            "state": self.state,
            "gone": self.gone,
            "user": self.user,
        }


def guests_folder() -> Path:
    """Where this user's named guests are written down."""
    return state_directory() / "guests"


def find_all() -> list[FoundGuest]:
    """Return the named guests, those that are gone included, by name.

    Raises:
        LabError: What is written down can't be read.
        UntrustedError: Somebody else could have written it.
    """
    folder = guests_folder()
    names = sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 - names, not paths
    return [found for name in names if _NAME.fullmatch(name) and (found := _find(name)) is not None]


def find(name: str) -> FoundGuest:
    """Return a named guest, which may be gone.

    Raises:
        UsageError: There is none.
        LabError: What is written down can't be read.
    """
    found = _find(name) if _NAME.fullmatch(name) else None
    if found is None:
        names = [one.record.name for one in find_all()]
        there = f"; {nearest(name, names)}" if names else ""
        raise UsageError(f"no guest is called {name!r}{there}", hint=f"schedtuna lab start {name}")
    return found


def require_up(name: str) -> FoundGuest:
    """Return a named guest that is there.

    Raises:
        UsageError: There is none.
        LabError: It is gone.
    """
    found = find(name)
    if found.gone:
        raise LabError(f"guest {name} is gone: {found.gone}", hint=f"schedtuna lab start {name}")
    return found


def _find(name: str) -> FoundGuest | None:
    folder = guests_folder() / name
    text = _text(folder / _RECORD)
    if text is None:
        return None
    try:
        record = GuestRecord.model_validate(STORED.upgrade(parse_json(text), folder / _RECORD))
    except ValueError as error:
        raise LabError(
            f"{folder / _RECORD} can't be read: {error}", hint=f"remove {folder}, once no guest runs"
        ) from None
    if gone := _gone(record, folder):
        return FoundGuest(record, gone)
    try:
        with connected(folder, {"look": True}, within_s=_LOOK_WITHIN_S) as line:
            who = parse_json(line.recv(1 << 16) or b"null", any_text=True)
    except (FileNotFoundError, ConnectionRefusedError):
        return FoundGuest(record)
    except TimeoutError:
        return FoundGuest(record, up=True, user="a command that its keeper is busy with")
    return FoundGuest(record, up=True, user=told((who or {}).get("user")))


def _gone(record: GuestRecord, folder: Path) -> str:
    if record.boot_id != boot_id():
        return "this machine was started anew since"
    if record.keeper.is_stranger or record.keeper.alive:  # a stranger's may run unseen
        return ""
    return _text(folder / _ENDED) or "the process that kept it was killed, and QEMU with it"


def told(user: Any) -> str:
    """Name who uses a guest."""
    return f"{user['command']} (process {user['pid']})" if user else ""


def connected(folder: Path, who: dict[str, Any], *, within_s: float | None = None) -> socket.socket:
    """Return a connection to a guest's keeper, which has been told who comes.

    Raises:
        OSError: It does not answer.
    """
    line = socket.socket(socket.AF_UNIX)
    try:
        line.settimeout(within_s)
        with Folder(folder) as opened:
            line.connect(f"/proc/self/fd/{opened.fileno()}/{LISTEN}")
        line.sendall(json.dumps(who).encode() + b"\n")
    except BaseException:
        line.close()
        raise
    return line


def _text(path: Path) -> str | None:
    try:
        with Folder(path.parent) as folder:
            file = folder.open(path.name, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return read_all(file).decode(errors="replace")
    finally:
        os.close(file)


# ---- starting -------------------------------------------------------------------------------------


def start(lab: Lab, name: str, spec: GuestSpec) -> tuple[GuestRecord, float]:
    """Boot a guest that stays until `stop`; returns it, and the seconds that it took to boot.

    Raises:
        UsageError: The name is none, or is taken; or a program can't be had.
        BootError: It did not come up.
        UntrustedError: Somebody else could write the state folder.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"a guest can't be called {name!r}", hint="use up to 32 letters, digits, dots, - and _"
        )
    require_own_proc()
    kernel = lab.kernel(spec.kernel).version
    _ = spec.shape  # refused before anything is forked
    make_folder(guests_folder(), mode=0o700, by_path=True)
    folder = guests_folder() / name
    with locked(guests_folder()):
        before = _find(name)
        if before is not None and not before.gone:
            raise UsageError(
                f"guest {name} is there already: kernel {before.record.kernel}",
                hint=f"schedtuna lab stop {name}, or take another name",
            )
        remove_folder(folder, missing_ok=True)
        make_folder(folder, mode=0o700, by_path=True)
        pid, gate, report = _fork(lab, spec, folder)
        record = GuestRecord(
            name=name,
            kernel=kernel,
            cpus=spec.cpus,
            topology=spec.topology,
            memory_mib=spec.memory_mib,
            boot_id=boot_id(),
            started_at=time.time(),
            keeper=Owner(pid=pid, start_ticks=start_ticks(pid) or 0, namespaces=own_namespaces()),
        )
        try:
            write_text(folder / _RECORD, record.model_dump_json(indent=2) + "\n", mode=0o600)
            os.write(gate, b"g")
        finally:
            os.close(gate)  # a keeper that was not let go ends here
    try:
        with os.fdopen(report, "rb") as words:
            said = parse_json(words.read() or b"null", any_text=True)
        if not said or "ok" not in said:
            _raise(said, name)
    except BaseException:
        stop(record)
        raise
    return record, said["ok"]


def _raise(said: Any, name: str) -> NoReturn:
    if not said:
        raise LabError(f"the process that was to keep guest {name} was killed")
    kind = next((one for one in _ERRORS if one.__name__ == said["kind"]), LabError)
    raise kind(said["error"], hint=said["hint"])


def _fork(lab: Lab, spec: GuestSpec, folder: Path) -> tuple[int, int, int]:
    """Fork a process that keeps a guest once something is written to the first returned pipe.

    The second one ends with what came of the boot, as JSON.
    """
    waiting, gate = os.pipe()
    report, telling = os.pipe()
    log = open_for_writing(folder / _LOG, mode=0o600)
    pid = os.fork()
    if pid:
        for end in (waiting, telling, log):
            os.close(end)
        return pid, gate, report
    try:
        _detach(log, keeping=(waiting, telling))
        if os.read(waiting, 1):
            _keep(lab, spec, folder, telling)
    except BaseException:  # noqa: BLE001 - there is nobody above
        traceback.print_exc()
    finally:
        os._exit(1)


def _detach(log: int, *, keeping: Sequence[int]) -> None:
    """Be of no terminal, and have nothing of the command's open: its locks and pipes are not ours."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    low = 3
    for keep in (*sorted(keeping), os.sysconf("SC_OPEN_MAX")):
        os.closerange(low, keep)
        low = keep + 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.chdir("/")


def _keep(lab: Lab, spec: GuestSpec, folder: Path, telling: int) -> None:
    tempfile.tempdir = str(folder)  # what a killed keeper leaves goes with the guest's folder
    try:
        guest, _ = boot(lab, spec)
    except (SchedtunaError, OSError) as error:
        kind = next((one.__name__ for one in _ERRORS if isinstance(error, one)), "")
        _tell(telling, {"kind": kind, "error": str(error), "hint": getattr(error, "hint", None)})
        return
    with guest, Folder(folder) as opened:
        hello = {"qemu": guest.pid, "kernel": guest.kernel.version, "cpus": spec.cpus}
        with listen(opened.fileno()) as listener:
            try:
                _tell(telling, {"ok": guest.boot_s})
                Keeper(guest, listener, hello).serve()
            except BrokenPipeError:
                write_text(folder / _ENDED, "the command that started it was killed while it booted")
            except GuestError as error:
                write_text(folder / _ENDED, f"{error}{guest.last_words()}")


def _tell(telling: int, what: dict[str, Any]) -> None:
    with os.fdopen(telling, "wb") as file:
        file.write(json.dumps(what).encode())


# ---- ending ---------------------------------------------------------------------------------------


def stop(record: GuestRecord) -> str:
    """Power a guest off, and forget it; returns why it was gone already, or nothing.

    Raises:
        LabError: It can't be ended from here, or does not go.
    """
    folder = guests_folder() / record.name
    gone = _gone(record, folder)
    if not gone:
        _end(record)
    with locked(guests_folder()):
        after = _find(record.name)
        if after is not None and after.record == record:
            remove_folder(folder)
    return gone


def _end(record: GuestRecord) -> None:
    if record.keeper.is_stranger:
        raise LabError(
            f"guest {record.name} is kept by process {record.keeper.pid} of another PID namespace",
            hint="stop it in the container that started it",
        )
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(record.keeper.pid)
        try:
            for number, within_s in ((signal.SIGTERM, _POWER_OFF_WITHIN_S), (signal.SIGKILL, _KILL_WITHIN_S)):
                if not record.keeper.alive:  # asked after it was opened: else another may have its number
                    return
                signal.pidfd_send_signal(handle, number)
                if any(not record.keeper.alive for _ in _moments(within_s)):
                    return
        finally:
            os.close(handle)
        raise LabError(f"the process that keeps guest {record.name}, {record.keeper.pid}, does not end")


def _moments(within_s: float) -> Iterator[None]:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        yield
        time.sleep(0.05)
