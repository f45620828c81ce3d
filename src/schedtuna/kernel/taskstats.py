"""What did a task use in its whole life? The kernel's accounting of tasks that exit, over generic netlink.

Needs CONFIG_TASKSTATS and CAP_NET_ADMIN, but no BPF and no BTF. Every thread that exits is one
record (include/uapi/linux/taskstats.h), so short lives count as much as long ones.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from schedtuna.errors import UnavailableError

# include/uapi/linux/netlink.h, genetlink.h, taskstats.h
_NETLINK_GENERIC = 16
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_NLMSG_ERROR = 2
_GENL_ID_CTRL = 16
_CTRL_CMD_GETFAMILY = 3
_CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 1, 2
_TASKSTATS_CMD_GET = 1
_CMD_ATTR_REGISTER_CPUMASK = 3
_TYPE_STATS, _TYPE_AGGR_PID = 3, 4
_TYPE_MASK = 0x3FFF  # of an attribute: without its flags
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_GENERIC_HEADER = struct.Struct("=BBH")  # struct genlmsghdr
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr

_RECEIVE_BYTES = 1 << 16
_BUFFER_BYTES = 16 << 20  # about 10,000 exits

TaskStatsArray = npt.NDArray[np.void]

# Fields of struct taskstats that are used, by their offset, which no later version may change.
_FIELDS = {
    "version": ("<u2", 0),
    "exit_code": ("<u4", 4),
    "nice": ("i1", 9),
    "cpu_delay_ns": ("<u8", 24),
    "blkio_delay_ns": ("<u8", 40),  # 0 unless kernel.task_delayacct is on
    "cpu_time_ns": ("<u8", 72),
    "comm": ("S32", 80),
    "policy": ("u1", 112),
    "uid": ("<u4", 120),
    "tid": ("<u4", 128),
    "ppid": ("<u4", 132),
    "elapsed_us": ("<u8", 144),
    "max_rss_kib": ("<u8", 200),
    "read_bytes": ("<u8", 248),
    "write_bytes": ("<u8", 256),
    "nr_voluntary_switches": ("<u8", 272),
    "nr_involuntary_switches": ("<u8", 280),
    "tgid": ("<u4", 368),  # since version 12 (Linux 5.19); 0 before
}
TASKSTATS_DTYPE = np.dtype(
    {
        "names": list(_FIELDS),
        "formats": [format_ for format_, _ in _FIELDS.values()],
        "offsets": [offset for _, offset in _FIELDS.values()],
        "itemsize": 372,
    }
)
# Linux 6.14 and 6.15 had new fields among the old ones; version 16 moved them to the end. (Commit
# "taskstats: fix struct taskstats breaks backward compatibility since version 15".)
_DISPLACED_VERSIONS, _SOUND_BYTES = (14, 15), 432


class ExitAccounting:
    """Receives the accounting of every thread that exits, from its making to its closing.

    Raises:
        UnavailableError: The kernel has no such accounting, or this process may not have it.
    """

    def __init__(self) -> None:
        self.nr_overflows = 0
        self._sequence = 0
        self._waiting: list[bytes] = []
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC)
        except OSError as error:
            raise _unavailable(f"no netlink socket: {error.strerror}") from error
        try:
            self._enlarge()
            self._socket.bind((0, 0))
            self._socket.settimeout(5.0)
            self._family = self._find_family()
            self._register()
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Receive no more; once is enough."""
        self._socket.close()

    def take(self) -> TaskStatsArray:
        """Return a record (`TASKSTATS_DTYPE`) of every thread that exited since the last call.

        `nr_overflows` counts how often the socket had no room: each time at least one was lost.
        """
        while True:
            try:
                self._waiting += exits(self._socket.recv(_RECEIVE_BYTES), self._family)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.nr_overflows += 1
        records, self._waiting = self._waiting, []
        return parse_taskstats(records)

    def _enlarge(self) -> None:
        """Have a large receive buffer: beyond net.core.rmem_max, if allowed."""
        so_rcvbufforce = 33
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, so_rcvbufforce, _BUFFER_BYTES)

    def _find_family(self) -> int:
        name = _attribute(_CTRL_ATTR_FAMILY_NAME, b"TASKSTATS\0")
        error, messages = self._ask(_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, name)
        for _, payload in messages:
            for type_, value in _attributes(payload[_GENERIC_HEADER.size :]):
                if type_ == _CTRL_ATTR_FAMILY_ID:
                    return int.from_bytes(value[:2], "little")
        reason = f": {os.strerror(error)}" if error and error != errno.ENOENT else ""
        raise _unavailable(f"this kernel has no taskstats (CONFIG_TASKSTATS){reason}")

    def _register(self) -> None:
        possible = "0-" + str((os.cpu_count() or 1) - 1)
        with contextlib.suppress(OSError), open("/sys/devices/system/cpu/possible") as file:  # noqa: PTH123
            possible = file.read().strip()
        mask = _attribute(_CMD_ATTR_REGISTER_CPUMASK, possible.encode() + b"\0")
        error, messages = self._ask(self._family, _TASKSTATS_CMD_GET, mask)
        if error in (errno.EPERM, errno.EACCES):
            raise _unavailable("accounting of exiting tasks needs CAP_NET_ADMIN, which this process lacks")
        if error:
            raise _unavailable(f"no accounting of exiting tasks: {os.strerror(error)}")
        for type_, payload in messages:
            if type_ == self._family:
                self._waiting += _exits_in(payload)

    def _ask(self, family: int, command: int, attributes: bytes) -> tuple[int, list[tuple[int, bytes]]]:
        """Send a command; return its error number, and what came before the answer that ends it."""
        self._sequence += 1
        body = _GENERIC_HEADER.pack(command, 1, 0) + attributes
        header = _HEADER.pack(
            _HEADER.size + len(body), family, _NLM_F_REQUEST | _NLM_F_ACK, self._sequence, 0
        )
        self._socket.send(header + body)
        messages: list[tuple[int, bytes]] = []
        while True:
            for type_, payload in _messages(self._socket.recv(_RECEIVE_BYTES)):
                if type_ == _NLMSG_ERROR:
                    return -struct.unpack_from("=i", payload)[0], messages
                messages.append((type_, payload))


def _unavailable(message: str) -> UnavailableError:
    return UnavailableError(
        message, hint="without it, tasks that come and go between two samples are not seen"
    )


def exits(datagram: bytes, family: int) -> list[bytes]:
    """Return each struct taskstats of a thread in what a socket received."""
    return [
        stats for type_, payload in _messages(datagram) if type_ == family for stats in _exits_in(payload)
    ]


def _exits_in(payload: bytes) -> Iterator[bytes]:
    for type_, value in _attributes(payload[_GENERIC_HEADER.size :]):
        if type_ == _TYPE_AGGR_PID:
            yield from (stats for inner, stats in _attributes(value) if inner == _TYPE_STATS)


def parse_taskstats(records: list[bytes]) -> TaskStatsArray:
    """Return records as one array; fields that an older kernel does not have are 0.

    Raises:
        UnavailableError: The kernel's layout is not one that can be read.
    """
    for record in records[:1]:
        version = int.from_bytes(record[:2], "little")
        if version in _DISPLACED_VERSIONS and len(record) > _SOUND_BYTES:
            raise _unavailable("this kernel's taskstats (Linux 6.14 and 6.15) have a layout of their own")
    size = TASKSTATS_DTYPE.itemsize
    return np.frombuffer(b"".join(record[:size].ljust(size, b"\0") for record in records), TASKSTATS_DTYPE)


def _attribute(type_: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, type_) + value + b"\0" * (-length % 4)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split a datagram into messages: (type, what follows the header)."""
    while len(data) >= _HEADER.size:
        length, type_, _, _, _ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            return
        yield type_, data[_HEADER.size : length]
        data = data[length + -length % 4 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, type_ = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            return
        yield type_ & _TYPE_MASK, data[_ATTRIBUTE.size : length]
        data = data[length + -length % 4 :]
