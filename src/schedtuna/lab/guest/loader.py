"""Lets a sched_ext scheduler's loader prepare its object, and tells what it had prepared when it would start.

``loader.py OUTPUT PROGRAM [ARGUMENT...]`` runs PROGRAM until it asks the kernel to attach a scheduler, and
ends it there: nothing is ever scheduled by it. OUTPUT is one JSON object with what the kernel then holds for
the program: its global variables and maps, the members of its operations, and the programs of type `syscall`
that it has run. Standard library only: the guest has nothing else of schedtuna.

The kernel asks this process (seccomp's user notification) before it carries bpf(BPF_PROG_TEST_RUN) or
bpf(BPF_LINK_CREATE) out. The former are carried out here, so that what is before and after is seen.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import platform
import select
import signal
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

TYPE_CHECKING = False  # typing's own would be imported for it
if TYPE_CHECKING:
    from typing import Any

    from schedtuna.lab.guest.loaded_maps import (
        ARENA,
        INFO_BY_FD,
        NUMBERS,
        STRUCT_OPS,
        WITHOUT_CONTENT,
        LoadedMap,
        bpf,
        information,
        packed,
        syscall,
    )
else:  # they lie beside each other there
    from loaded_maps import (
        ARENA,
        INFO_BY_FD,
        NUMBERS,
        STRUCT_OPS,
        WITHOUT_CONTENT,
        LoadedMap,
        bpf,
        information,
        packed,
        syscall,
    )

PIDFD_OPEN, PIDFD_GETFD = 434, 438  # one number on all machines
TEST_RUN, LINK_CREATE = 10, 28  # include/uapi/linux/bpf.h
TYPE_SYSCALL = 31
# include/uapi/linux/seccomp.h, filter.h
NEW_LISTENER, SET_MODE_FILTER = 1 << 3, 1
RECEIVE, SEND = 3 << 30 | 80 << 16 | ord("!") << 8, 3 << 30 | 24 << 16 | ord("!") << 8 | 1
CONTINUE = 1
ALLOW, NOTIFY = 0x7FFF0000, 0x7FC00000
PAGE = 4096
PATIENCE_S = 600


class LoaderEndedError(Exception):
    """The loader did not get that far; the message says why."""


class Loader:
    """A loader's process; `calls` are the programs that it ran."""

    def __init__(self, argv: list[str], log: str) -> None:
        self.pid, self.listener = started(argv, log)
        self.known: dict[int, LoadedMap] = {}  # its maps, by id
        self.calls: list[dict[str, Any]] = []
        self.first: dict[str, bytes] | None = None
        self.before: dict[tuple[str, str], bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        """What is in its memory; opened anew each time, for it has another since it became the program."""
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            return os.pread(memory.fileno(), size, address)

    def write(self, address: int, data: bytes) -> None:
        """Put something into its memory."""
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as memory:
            os.pwrite(memory.fileno(), data, address)

    def maps(self) -> list[LoadedMap]:
        """Its maps."""
        ids = set()
        for name in os.listdir(f"/proc/{self.pid}/fdinfo"):
            try:
                with open(f"/proc/{self.pid}/fdinfo/{name}") as file:
                    rows = dict(line.split(":", 1) for line in file if ":" in line)
            except FileNotFoundError:
                continue
            if "map_id" in rows and "link_type" not in rows:
                ids.add(int(rows["map_id"]))
        for id_ in ids - self.known.keys():
            self.known[id_] = LoadedMap(id_)
        return [self.known[id_] for id_ in sorted(ids)]

    def sections(self) -> dict[str, bytes]:
        """Its global variables, by section."""
        return {one.name: one.lookup(bytes(4), one.value_size) for one in self.maps() if one.is_section}

    def arena(self) -> tuple[int, int]:
        """From where to where its arena is in its memory; (0, 0): it has none."""
        sizes = {one.max_entries * PAGE for one in self.maps() if one.type == ARENA}
        with open(f"/proc/{self.pid}/maps") as file:
            for line in file:
                low, high = (int(part, 16) for part in line.split(" ", 1)[0].split("-"))
                if "bpf-map" in line and high - low in sizes:
                    return low, high
        return 0, 0

    def pointers(self, context: bytes, arena: tuple[int, int]) -> list[int]:
        """Addresses of its arena in a context."""
        words = struct.unpack(f"={len(context) // 8}Q", context[: len(context) // 8 * 8])
        return [word for word in words if arena[0] <= word < arena[1]]

    def written(self) -> list[tuple[str, str, int, str]]:
        """What it has written since the last program ran: section, address, offset, bytes; one is empty."""
        now = self.seen([int(address, 16) for kind, address in self.before if not kind])
        rows = []
        for key, old in self.before.items():
            for start, stop in differing(old, now.get(key, old)):
                rows.append((*key, start, packed(now[key][start:stop])))
        return rows

    def seen(self, pointers: list[int]) -> dict[tuple[str, str], bytes]:
        """What it could write: its variables, and the pages behind these pointers."""
        found = {(name, ""): data for name, data in self.sections().items()}
        for pointer in pointers:
            found["", hex(pointer)] = self.read(pointer, PAGE - pointer % PAGE)
        return found

    def run_program(self, attributes: int, size: int) -> tuple[int, int] | None:
        """Run one of its programs; returns result and errno. None: it is of another type."""
        given = self.read(attributes, size).ljust(80, b"\0")
        fd = self.descriptor(struct.unpack_from("=I", given)[0])
        try:
            if struct.unpack_from("=I", information(fd, 232))[0] != TYPE_SYSCALL:
                return None
            if self.first is None:
                self.first = self.sections()
            length, address = struct.unpack_from("=I", given, 40)[0], struct.unpack_from("=Q", given, 48)[0]
            context = ctypes.create_string_buffer(
                self.read(address, length) if length else b"", max(length, 1)
            )
            row = {
                "function": function_of(fd),
                "context": packed(context.raw[:length]),
                "written": self.written(),
            }
            row["pointers"] = [hex(one) for one in self.pointers(context.raw[:length], self.arena())]
            attr = bytearray(given)
            struct.pack_into("=I", attr, 0, fd)
            struct.pack_into("=Q", attr, 48, ctypes.addressof(context) if length else 0)
            try:
                result, after = bpf(TEST_RUN, bytes(attr))
            except OSError as error:
                return 0, -(error.errno or 1)
            left = context.raw[:length]
            self.write(address, left)
            self.write(attributes + 4, after[4:8])
            row["returned"] = struct.unpack_from("=i", after, 4)[0]
            row["left"] = packed(left)
            pointers = self.pointers(left, self.arena())
            row["left_pointers"] = [hex(one) for one in pointers]
            known = [int(at, 16) for kind, at in self.before if not kind]
            self.before = self.seen(known + pointers)
            self.calls.append(row)
            return result, 0
        finally:
            os.close(fd)

    def descriptor(self, number: int) -> int:
        """One of its descriptors as ours."""
        pidfd = syscall(PIDFD_OPEN, ctypes.c_long(self.pid), ctypes.c_long(0))
        try:
            return syscall(PIDFD_GETFD, ctypes.c_long(pidfd), ctypes.c_long(number), ctypes.c_long(0))
        finally:
            os.close(pidfd)

    def starts_scheduler(self, attributes: int) -> LoadedMap | None:
        """The operations that it would attach; None: it attaches something else."""
        fd = self.descriptor(struct.unpack("=I", self.read(attributes, 4))[0])
        try:
            type_, id_ = struct.unpack_from("=II", information(fd, 128))
        except OSError:
            return None
        finally:
            os.close(fd)
        found = [one for one in self.maps() if one.type == STRUCT_OPS] if type_ == STRUCT_OPS else []
        wanted = [one for one in found if struct.unpack_from("=II", information(one.fd, 128))[1] == id_]
        return wanted[0] if wanted else None

    def end(self) -> None:
        """Kill it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def function_of(fd: int) -> tuple[int, str]:
    """The number of a program's type in its object's BTF, and its name as far as the kernel keeps it."""
    info = information(fd, 232)
    name = info[64:80].split(b"\0")[0].decode(errors="replace")
    # struct bpf_prog_info: nr_func_info, func_info, func_info_rec_size
    return first_function(fd), name


def first_function(fd: int) -> int:
    """The type of a program's first function (its func_info), in the BTF of its object."""
    rows = ctypes.create_string_buffer(8)
    ask = bytearray(232)
    struct.pack_into("=I", ask, 132, 8)  # func_info_rec_size
    struct.pack_into("=Q", ask, 136, ctypes.addressof(rows))  # func_info
    struct.pack_into("=I", ask, 144, 1)  # nr_func_info
    buffer = ctypes.create_string_buffer(bytes(ask), 232)
    bpf(INFO_BY_FD, struct.pack("=IIQ", fd, 232, ctypes.addressof(buffer)))
    return int(struct.unpack_from("=II", rows)[1])


def differing(old: bytes, new: bytes) -> list[tuple[int, int]]:
    """Stretches in which two texts of one length differ; those nearby are one."""
    found: list[tuple[int, int]] = []
    if old == new:
        return found
    for at in range(0, len(old), 8):
        if old[at : at + 8] != new[at : at + 8]:
            stop = min(at + 8, len(old))
            if found and found[-1][1] == at:
                found[-1] = found[-1][0], stop
            else:
                found.append((at, stop))
    return found


def filter_program() -> bytes:
    """Asks us for bpf() with the two commands, and lets all else pass."""
    rows = [
        (0x20, 0, 0, 0),  # the system call's number
        (0x15, 0, 4, NUMBERS[platform.machine()][0]),
        (0x20, 0, 0, 16),  # its first argument
        (0x15, 1, 0, TEST_RUN),
        (0x15, 0, 1, LINK_CREATE),
        (0x06, 0, 0, NOTIFY),
        (0x06, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *row) for row in rows)


def started(argv: list[str], log: str) -> tuple[int, int]:
    """Start a program whose calls of bpf() we are asked about; returns its pid and where we are asked."""
    told, tells = os.pipe()
    waits, goes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            code = ctypes.create_string_buffer(filter_program())
            head = struct.pack("=HxxxxxxQ", 7, ctypes.addressof(code))
            number = NUMBERS[platform.machine()][1]
            given = (ctypes.c_long(SET_MODE_FILTER), ctypes.c_long(NEW_LISTENER), head)
            os.write(tells, b"%d\n" % syscall(number, *given))
            os.read(waits, 1)
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.execvp(argv[0], argv)  # noqa: S606 - the user's own program
        except OSError as error:
            os.write(2, f"{argv[0]}: {error}\n".encode())
        finally:
            os._exit(127)
    number = int(os.read(told, 16) or b"-1")
    pidfd = syscall(PIDFD_OPEN, ctypes.c_long(pid), ctypes.c_long(0))
    listener = syscall(PIDFD_GETFD, ctypes.c_long(pidfd), ctypes.c_long(number), ctypes.c_long(0))
    os.write(goes, b"g")
    return pid, listener


def watched(loader: Loader, patience_s: float) -> LoadedMap:
    """Answer a loader's calls until it would attach a scheduler; returns the operations."""
    poll = select.poll()
    poll.register(loader.listener, select.POLLIN | select.POLLHUP)
    while True:
        events = poll.poll(patience_s * 1000)
        if not events:
            raise LoaderEndedError(
                f"it did not ask for its scheduler to be attached within {patience_s:.0f} s"
            )
        if not events[0][1] & select.POLLIN:
            raise LoaderEndedError("it ended before it attached a scheduler")
        request = bytearray(80)
        fcntl.ioctl(loader.listener, RECEIVE, request)
        id_, _, _, _, _, _, command, attributes, size = struct.unpack_from("=QIIiIQQQQ", request)
        answer: tuple[int, int] | None = None
        if command == LINK_CREATE:
            found = loader.starts_scheduler(attributes)
            if found is not None:
                return found
        elif command == TEST_RUN:
            answer = loader.run_program(attributes, size)
        flags, (value, error) = (CONTINUE, (0, 0)) if answer is None else (0, answer)
        fcntl.ioctl(loader.listener, SEND, struct.pack("=QqiI", id_, value, error, flags))


def facts(loader: Loader, operations: LoadedMap) -> dict[str, Any]:
    """What the loader has prepared."""
    maps, unread = [], []
    for one in loader.maps():
        if one.is_section or one.type in WITHOUT_CONTENT:
            continue
        entries = one.entries()
        if entries:
            shape = {"type": one.type, "key_size": one.key_size, "value_size": one.value_size}
            maps.append({"name": one.name, **shape, "entries": entries})
        elif entries is None and not one.is_empty():
            unread.append(one.name)
    state = loader.first if loader.first is not None else loader.sections()
    return {
        "release": os.uname().release,
        "sections": {name: packed(data) for name, data in state.items()},
        "maps": maps,
        "unread": unread,
        "operations": packed(operations.lookup(bytes(4), operations.value_size)),
        "calls": loader.calls,
        "written": loader.written() if loader.calls else [],
    }


def main() -> None:
    """Watch a loader."""
    output, argv = sys.argv[1], sys.argv[2:]
    log = f"{output}.log"
    loader = Loader(argv, log)
    try:
        told = facts(loader, watched(loader, PATIENCE_S))
    except (LoaderEndedError, OSError) as error:
        with open(log, errors="replace") as file:
            told = {"error": str(error), "log": file.read()[-4000:]}
    finally:
        loader.end()
    with open(output, "w") as file:
        json.dump(told, file)


if __name__ == "__main__":
    main()
