"""What can a guest be asked to do? Orders to guestd in it, one line of JSON each, and its answers."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

from schedtuna.configfile import parse_json
from schedtuna.errors import UsageError
from schedtuna.files import Folder
from schedtuna.lab.errors import GuestError
from schedtuna.workload.command import KEEP_BYTES, RawRun, raw_run
from schedtuna.workload.launcher import Message

ANSWER_WITHIN_S = 60.0
_GRACE_S = 60.0  # over a command's own timeout, which the launcher in the guest keeps


class Orders:
    """Orders over a line to guestd; a `scheduler.scx.Machine`.

    Args:
        line: The line.
        lines: More lines to the guest, by name.
        share: The folder of this machine that it has a copy of, in /share.

    Attributes:
        shared: Whether others use it later: nothing may be awaited that need not end.
    """

    shared: ClassVar[bool] = False

    def __init__(
        self, line: socket.socket, lines: Mapping[str, socket.socket], share: Path | None = None
    ) -> None:
        self._socket = line
        self._lines: IO[bytes] = line.makefile("rb")
        self._sockets = dict(lines)
        self._share = share
        self._broken: BaseException | None = None

    def order(self, operation: str, *, within_s: float = ANSWER_WITHIN_S, **arguments: Any) -> Any:
        """Let guestd do something, and return what it answers.

        Raises:
            GuestError: It refused, or the guest died or hangs; then it is of no further use.
        """
        self.ask(operation, **arguments)
        return self._answer(within_s)

    def ask(self, operation: str, **arguments: Any) -> None:
        """Give an order whose `answer` is awaited elsewhere; nothing else may be ordered until then.

        Raises:
            GuestError: The guest died.
        """
        if self._broken is not None:
            raise self._broken
        with self._exchange():
            try:
                self._socket.settimeout(ANSWER_WITHIN_S)
                self._socket.sendall(json.dumps({"op": operation, **arguments}).encode() + b"\n")
            except OSError:
                raise GuestError(f"the guest died{self.last_words()}") from None

    def answer(self) -> Any:
        """What the guest answers to `ask`: at once where `fileno` is readable."""
        return self._answer(ANSWER_WITHIN_S)

    def fileno(self) -> int:
        """File descriptor that is readable once there is an answer, or the guest is gone."""
        return self._socket.fileno()

    def line(self, name: str) -> socket.socket:
        """Our end of a line to it: `terminal`, or one of the spec's."""
        return self._sockets[name]

    def read(self, path: str) -> str | None:
        """The text of one of its files; None where there is none."""
        text: str | None = self.order("read", path=path)
        return text

    def spawn(self, argv: Sequence[str]) -> int:
        """Start a program in the background; returns its pid."""
        with _understood():
            return int(self.order("spawn", argv=list(argv)))

    def status(self, pid: int) -> int | None:
        """Exit code of a program of `spawn`, minus a signal's number, or None while it runs."""
        code: int | None = self.order("status", pid=pid)
        return code

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a program of `spawn`."""
        self.order("signal", pid=pid, number=number)

    def log(self, pid: int) -> str:
        """What a program of `spawn` has printed."""
        return str(self.order("log", pid=pid))

    def run(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: str = "/share",
        timeout_s: float = 300.0,
    ) -> RawRun:
        """Run a command to its end.

        Raises:
            UsageError: The guest has no such command.
            WorkloadError: The command can't be run, such as a script without an interpreter.
            GuestError: The guest died or hangs.
        """
        return self._run(argv, environment=environment, folder=folder, timeout_s=timeout_s)[0]

    def run_recorded(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: str = "/share",
        timeout_s: float = 300.0,
    ) -> tuple[RawRun, Any]:
        """Run a command as `run` does, in a guest that is `recording`.

        Returns:
            The run, and what the kernel counted of it, for `trace.aggregates.remote`.

        Raises:
            GuestError: Or the guest's kernel can't count.
        """
        raw, answer = self._run(
            argv, environment=environment, folder=folder, timeout_s=timeout_s, record=True
        )
        try:
            return raw, parse_json(answer["recorded"])
        except (KeyError, TypeError, ValueError):
            raise GuestError("the guest's recorder did not say what it counted") from None

    def _run(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None,
        folder: str,
        timeout_s: float,
        **more: bool,
    ) -> tuple[RawRun, Any]:
        started_at = time.time()
        answer = self.order(
            "run",
            within_s=timeout_s + _GRACE_S,
            argv=list(argv),
            environment=dict(environment or {}),
            folder=folder,
            timeout_ms=max(1, round(timeout_s * 1000)),
            keep_bytes=KEEP_BYTES,
            **more,
        )
        if "missing" in answer:
            raise UsageError(
                f"the guest has no command {answer['missing']}",
                hint="--with PROGRAM copies a program of this machine into it; --share DIR copies a folder",
            )
        with _understood():
            message, out, err = (base64.b64decode(answer[key]) for key in ("message", "stdout", "stderr"))
        raw = raw_run(Message.unpack(message), out, err, argv=argv, started_at=started_at)
        return raw, answer

    def fetch_changes(self) -> list[Path]:
        """Copy files that are new or changed in the shared folder back; returns their paths.

        Raises:
            GuestError: The guest names a file outside of the folder.
        """
        if self._share is None:
            return []
        fetched = []
        with _understood():
            changed = [(str(name), int(size), int(mode)) for name, size, mode in self.order("changed")]
        for name, size, mode in changed:
            path = inside(self._share, name)
            # What is there is replaced, never followed: the folder may be anybody's.
            with (
                Folder(path.parent, create=True, own=False) as folder,
                folder.writing(path.name, mode=0o600) as file,
            ):
                while file.tell() < size:
                    with _understood():
                        piece = base64.b64decode(self.order("get", path=name, offset=file.tell()))
                    if not piece:
                        break
                    file.write(piece)
                os.fchmod(file.fileno(), mode & 0o777)
            fetched.append(path)
        return fetched

    def _answer(self, within_s: float) -> Any:
        with self._exchange():
            self._socket.settimeout(max(0.001, within_s))
            try:
                line = self._lines.readline()
            except TimeoutError:
                raise GuestError(f"no answer within {within_s:.0f} s{self.last_words()}") from None
            except OSError:
                line = b""
            if not line.endswith(b"\n"):
                raise GuestError(f"the guest died{self.last_words()}")
            with _understood():
                answer = dict(parse_json(line, any_text=True))
                refused = None if "ok" in answer else answer["error"]
        if refused is not None:
            raise GuestError(f"the guest refused: {refused}")
        return answer["ok"]

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[None]:
        """Remember what broke an exchange off: the next answer would be the one to this order.

        Whoever goes on, such as what ends a program in the guest after Ctrl-C, gets the same again.
        """
        try:
            yield
        except BaseException as error:
            self._broken = error
            raise

    def last_words(self) -> str:
        """The end of what it printed, as the end of a message, where that is known."""
        return ""


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """Have an answer that is not as it should be be the guest's fault."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise GuestError(f"the guest's answer can't be read: {error}") from None


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file that the guest names, which is not trusted.

    Raises:
        GuestError: It would be outside of the folder.
    """
    base = folder.resolve()
    path = base / name
    # The parent is resolved, not the file: a link of the host's with this name is replaced, not followed.
    if ".." in Path(name).parts or not path.parent.resolve().is_relative_to(base):
        raise GuestError(f"the guest wants to write outside of {folder}: {name}")
    if path.is_symlink():
        path.unlink()
    return path
