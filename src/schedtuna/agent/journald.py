"""The agent's decisions in systemd's journal, as fields: `journalctl SCHEDTUNA_ID=...` finds them.

The native protocol (systemd's JOURNAL_NATIVE_PROTOCOL): one datagram per entry, a field a line; a value that
has a newline follows its name behind its length. What is too long for a datagram goes as a sealed file.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SOCKET = Path("/run/systemd/journal/socket")
STREAM_VARIABLE = "JOURNAL_STREAM"  # systemd sets it for services whose output goes to the journal
_SYSLOG_NAME = "schedtuna"
_NOTICE, _INFO, _WARNING = 5, 6, 4
# Kind of a row of the log -> priority; the others are not for the journal: snapshots each few seconds.
PRIORITIES = {
    "start": _INFO,
    "stop": _INFO,
    "decision": _INFO,
    "undo": _INFO,
    "yield": _NOTICE,
    "proof": _NOTICE,
    "limit": _INFO,
    "hold": _INFO,
    "gone": _INFO,
    "profile": _NOTICE,
    "reload": _NOTICE,
    "resume": _NOTICE,
    "roll_back": _WARNING,
    "silent": _WARNING,
}
# Field, behind the prefix -> key of the row.
PREFIX = "SCHEDTUNA_"
FIELDS = {
    "KIND": "kind",
    "ID": "id",
    "RESULT": "result",
    "POLICY": "policy",
    "TARGET": "target",
    "SETTING": "setting",
    "OLD": "kernel",
    "NEW": "chosen",
    "REASON": "reason",
    "WHY": "why",
    "CGROUP": "cgroup",
    "VERSION": "version",
}
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def entry(row: Mapping[str, Any], message: str) -> bytes | None:
    """Return a row of the log as an entry; None where its kind is not for the journal."""
    priority = PRIORITIES.get(str(row.get("kind")))
    if priority is None:
        return None
    fields = {"MESSAGE": message, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": _SYSLOG_NAME}
    fields |= {PREFIX + name: str(row[key]) for name, key in FIELDS.items() if row.get(key) not in (None, "")}
    if row.get("tgid"):
        fields["OBJECT_PID"] = str(row["tgid"])  # journald adds what it knows of that process
    return b"".join(map(_field, fields, fields.values()))


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="replace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"


class Journald:
    """Sends entries; what can't be sent is counted, and nothing waits for it.

    Args:
        place: The journal's socket.

    Attributes:
        nr_lost: Entries that the journal did not take.
    """

    def __init__(self, place: Path = SOCKET) -> None:
        self._place = str(place)
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._line.setblocking(False)
        self.nr_lost = 0

    def send(self, data: bytes) -> None:
        """Send an entry."""
        try:
            self._line.sendto(data, self._place)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                self.nr_lost += 1
                return
            try:
                self._send_file(data)
            except OSError:
                self.nr_lost += 1

    def close(self) -> None:
        """Close the socket."""
        self._line.close()

    def _send_file(self, data: bytes) -> None:
        file = os.memfd_create("entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file, left) :]
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))]
            self._line.sendmsg([b""], rights, 0, self._place)
        finally:
            os.close(file)


def opened_where_asked(environment: Mapping[str, str], place: Path = SOCKET) -> Journald | None:
    """Return the journal where systemd runs this for it; None elsewhere."""
    with contextlib.suppress(OSError):
        if environment.get(STREAM_VARIABLE) and place.is_socket():
            return Journald(place)
    return None
