"""BPF objects: open, set constants and sizes, load, attach, look into their maps, close."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from schedtuna.errors import UnavailableError
from schedtuna.kernel.btf import Btf, parse_btf
from schedtuna.kernel.libbpf import libbpf
from schedtuna.kernel.privilege import require_bpf
from schedtuna.kernel.runs import run_packet, run_syscall
from schedtuna.resources import resource_path

VMLINUX_BTF = Path("/sys/kernel/btf/vmlinux")
_LOG_STATISTICS = 4  # BPF_LOG_STATS, include/linux/bpf_verifier.h
_LOG_BYTES = 1 << 16
_STRUCT_OPS = 26  # BPF_MAP_TYPE_STRUCT_OPS, include/uapi/linux/bpf.h
OLDEST_KERNEL = (5, 12)  # a10787e6d58c ("bpf: Enable task local storage for tracing programs")


class _OpenOptions(ctypes.Structure):
    """struct bpf_object_open_opts, up to the last field that is used here."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("object_name", ctypes.c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", ctypes.c_char_p),
        ("reserved", ctypes.c_long),
        ("kconfig", ctypes.c_char_p),
        ("btf_custom_path", ctypes.c_char_p),
    )


class BpfObject:
    """A BPF object, from opening to closing.

    Args:
        name: Such as ``sched_stream``, for native/sched_stream.bpf.o of the package.
        btf: Where the kernel's types are described, instead of /sys/kernel/btf/vmlinux.
        content: An object that is not the package's; opening it needs no privilege, `load` does.

    Attributes:
        name: The same.
        btf: How its structures and variables are laid out.
        is_loaded: Whether the kernel has it.

    Raises:
        UnavailableError: No privilege, no BTF, no such object in this installation, or the content is
            no object.
    """

    def __init__(self, name: str, *, btf: Path | None = None, content: bytes | None = None) -> None:
        if content is None:
            _require_kernel(btf)
            content = resource_path(f"native/{name}.bpf.o").read_bytes()
        self.name = name
        self.is_loaded = False
        self._libbpf = libbpf()
        self._links: dict[str, int] = {}
        self._variables: dict[str, tuple[int, int]] = {}  # where sections are once they are loaded
        self._object: int | None = None
        options = _OpenOptions(
            sz=ctypes.sizeof(_OpenOptions),
            object_name=name.encode(),
            btf_custom_path=os.fsencode(btf) if btf else None,
        )
        self._libbpf.log.clear()
        self._object = self._libbpf.bpf_object__open_mem(content, len(content), ctypes.byref(options))
        if not self._object:
            raise self._error("can't open", ctypes.get_errno())
        self.btf: Btf = parse_btf(self._own_btf_bytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Detach and unload everything; once is enough."""
        self.detach()
        opened, self._object = self._object, None  # first: Ctrl-C may come at any moment
        if opened:
            self._libbpf.bpf_object__close(opened)

    def set_constants(self, values: Mapping[str, int | bytes]) -> None:
        """Set `const volatile` variables, before loading.

        Raises:
            KeyError: The object has no such variable.
            OverflowError: A value does not fit.
        """
        for name, value in values.items():
            _, size = self._variable(".rodata", name)
            data = (
                value if isinstance(value, bytes) else int(value).to_bytes(size, "little", signed=value < 0)
            )
            self.set_variable(".rodata", name, data)

    def set_variable(self, section: str, name: str, data: bytes) -> None:
        """Set a global variable; one that is constant (in .rodata) before loading only.

        Raises:
            KeyError: The object has no such variable.
            OverflowError: The data does not fit.
        """
        address, size = self._variable(section, name)
        if len(data) > size:
            raise OverflowError(f"{name} has {size} bytes")
        ctypes.memmove(address, data.ljust(size, b"\0"), size)

    def resize_section(self, name: str, nr_bytes: int) -> None:
        """Set the size of a section of its own whose last variable is an array, before loading.

        Raises:
            KeyError: The object has no such section.
        """
        self._libbpf.bpf_map__set_value_size(self._map(name), nr_bytes)

    def section_bytes(self, name: str) -> bytes:
        """All of a section of global variables, now."""
        return ctypes.string_at(*self._section(name))

    def set_max_entries(self, name: str, entries: int) -> None:
        """Set how many entries (bytes, for a ring buffer) a map has, before loading."""
        self._libbpf.bpf_map__set_max_entries(self._map(name), entries)

    @property
    def programs(self) -> list[str]:
        """The names of all programs."""
        return [name for name, _ in self._programs()]

    def skip(self, programs: Iterable[str]) -> None:
        """Leave programs out, before loading."""
        for program in programs:
            self._libbpf.bpf_program__set_autoload(self._program(program), False)

    def include(self, program: str) -> None:
        """Load a program that is left out by itself, its section being called ``?...``."""
        self._libbpf.bpf_program__set_autoload(self._program(program), True)

    def load(self) -> None:
        """Have the kernel check and take maps and programs.

        Raises:
            UnavailableError: The kernel refuses; the message has the reason as far as known.
        """
        self._libbpf.log.clear()
        self._variables.clear()
        code = self._libbpf.bpf_object__load(self._object)
        if code:
            raise self._error("the kernel refuses to load", -code)
        self.is_loaded = True

    def attach(self, programs: Iterable[str] | None = None) -> None:
        """Attach loaded programs: these, or all of them.

        Raises:
            UnavailableError: One can't be attached; none is left attached then.
        """
        for name, program in self._programs():
            wanted = self._libbpf.bpf_program__autoload(program) if programs is None else name in programs
            if not wanted or name in self._links:
                continue
            link = self._libbpf.bpf_program__attach(program)
            if not link:
                code = ctypes.get_errno()
                self.detach()
                raise self._error(f"can't attach {name} of", code)
            self._links[name] = link

    def operations(self) -> dict[str, str]:
        """The operations that it offers the kernel (struct_ops): name -> the structure that they fill."""
        found, map_ = {}, None
        while map_ := self._libbpf.bpf_object__next_map(self._object, map_):
            if self._libbpf.bpf_map__type(map_) == _STRUCT_OPS:
                found[self._libbpf.bpf_map__name(map_).decode()] = self._value_type(map_)
        return found

    def _value_type(self, map_: int) -> str:
        own = self._libbpf.bpf_object__btf(self._object)
        type_ = self._libbpf.btf__type_by_id(own, self._libbpf.bpf_map__btf_value_type_id(map_))
        name = self._libbpf.btf__name_by_offset(own, ctypes.c_uint32.from_address(type_).value)
        return str(name.decode())

    def member(self, operations: str, member: str, size: int) -> memoryview:
        """A member of operations, up to `size` bytes; until they are loaded it may be written.

        Raises:
            KeyError: There is no such member.
        """
        structure = self.btf.structs[self.operations()[operations]]
        offset = structure.offsets[member]
        start, length = self._memory(self._map(operations))
        nr_bytes = max(0, min(size, structure.size - offset, length - offset))
        return memoryview((ctypes.c_char * nr_bytes).from_address(start + offset)).cast("B")

    def attach_operations(self, name: str) -> None:
        """Let the kernel use loaded operations, until they are detached.

        Raises:
            UnavailableError: It refuses.
        """
        link = self._libbpf.bpf_map__attach_struct_ops(self._map(name))
        if not link:
            raise self._error(f"the kernel refuses {name} of", ctypes.get_errno())
        self._links[name] = link

    def detach(self, programs: Iterable[str] | None = None) -> None:
        """Detach these programs, or all; maps keep what they hold."""
        for name in list(self._links if programs is None else programs):
            link = self._links.pop(name, None)
            if link:
                self._libbpf.bpf_link__destroy(link)

    def iterate(self, program: str) -> bytes:
        """Return everything that an attached iterator program writes."""
        descriptor = self._libbpf.bpf_iter_create(self._libbpf.bpf_link__fd(self._links[program]))
        if descriptor < 0:
            raise self._error(f"can't run {program} of", ctypes.get_errno())
        chunks: list[bytes] = []
        try:
            while chunk := _read_some(descriptor):
                chunks.append(chunk)
        finally:
            os.close(descriptor)
        return b"".join(chunks)

    def run(self, program: str, context: bytes | bytearray = b"") -> int:
        """Run a `syscall` program once and return its result.

        Args:
            program: Its name.
            context: What it is given; into a bytearray goes what it makes of that.
        """
        code, result = run_syscall(self.program_fd(program), context)
        if code:
            raise self._error(f"can't run {program} of", -code)
        return result

    def run_packet(self, program: str, repeat: int) -> int:
        """Run an `xdp` program on an empty packet so many times; return nanoseconds per run, rounded down."""
        code, duration_ns = run_packet(self.program_fd(program), repeat)
        if code:
            raise self._error(f"can't run {program} of", -code)
        return duration_ns

    def program_fd(self, program: str) -> int:
        """The file descriptor of a loaded program, open as long as the object is."""
        return int(self._libbpf.bpf_program__fd(self._program(program)))

    def keep_statistics(self, programs: Iterable[str]) -> Callable[[str], str]:
        """Have the verifier tell what it counted, before loading; returns what tells it of a program then."""
        buffers = {program: ctypes.create_string_buffer(_LOG_BYTES) for program in programs}
        for program, buffer in buffers.items():
            self._libbpf.bpf_program__set_log_buf(self._program(program), buffer, _LOG_BYTES)
            self._libbpf.bpf_program__set_log_level(self._program(program), _LOG_STATISTICS)
        return lambda program: buffers[program].value.decode(errors="replace")

    def map_fd(self, name: str) -> int:
        """The file descriptor of a map, open as long as the object is."""
        return int(self._libbpf.bpf_map__fd(self._map(name)))

    def map_array(self, name: str) -> mmap.mmap:
        """Map a BPF_F_MMAPABLE array into memory; its elements follow each other."""
        map_ = self._map(name)
        each = (self._libbpf.bpf_map__value_size(map_) + 7) // 8 * 8
        size = each * self._libbpf.bpf_map__max_entries(map_)
        pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
        return mmap.mmap(self.map_fd(name), pages, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    def update(self, name: str, key: bytes, value: bytes) -> None:
        """Set one element of a map.

        Raises:
            OSError: The kernel's errno.
        """
        if self._libbpf.bpf_map_update_elem(
            self.map_fd(name), ctypes.c_char_p(key), ctypes.c_char_p(value), 0
        ):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), f"{self.name}/{name}")

    def take(self, name: str, key_bytes: int, value_bytes: int) -> dict[bytes, bytes]:
        """Take every element out of a hash that is not written to meanwhile."""
        descriptor, found = self.map_fd(name), {}
        key, value = ctypes.create_string_buffer(key_bytes), ctypes.create_string_buffer(value_bytes)
        while not self._libbpf.bpf_map_get_next_key(descriptor, None, key):
            if self._libbpf.bpf_map_lookup_elem(descriptor, key, value):
                break
            found[key.raw] = value.raw
            self._libbpf.bpf_map_delete_elem(descriptor, key)
        return found

    def variable(self, name: str) -> int:
        """The value of a global variable in .bss, now."""
        return int.from_bytes(self.variable_bytes(".bss", name), "little")

    def variable_bytes(self, section: str, name: str) -> bytes:
        """A global variable, now."""
        if section not in self._variables:
            self._variables[section] = self._section(section)
        return ctypes.string_at(*self._variable(section, name, self._variables[section]))

    def _own_btf_bytes(self) -> bytes:
        size = ctypes.c_uint32()
        own = self._libbpf.bpf_object__btf(self._object)
        if not own:
            raise UnavailableError(f"the BPF object {self.name} has no BTF", hint="compile it with -g")
        data = self._libbpf.btf__raw_data(own, ctypes.byref(size))
        return ctypes.string_at(data, size.value)

    def _map(self, name: str) -> int:
        map_ = self._libbpf.bpf_object__find_map_by_name(self._object, name.encode())
        if not map_:
            raise KeyError(f"{self.name} has no map {name}")
        return int(map_)

    def _program(self, name: str) -> int:
        program = self._libbpf.bpf_object__find_program_by_name(self._object, name.encode())
        if not program:
            raise KeyError(f"{self.name} has no program {name}")
        return int(program)

    def _programs(self) -> Iterator[tuple[str, int]]:
        program = None
        while program := self._libbpf.bpf_object__next_program(self._object, program):
            yield self._libbpf.bpf_program__name(program).decode(), program

    def _variable(self, section: str, name: str, memory: tuple[int, int] | None = None) -> tuple[int, int]:
        """Address and size of a global variable; BTF and section are not from one compiler's run by force."""
        if section not in self.btf.sections or name not in self.btf.sections[section]:
            raise KeyError(f"{self.name} has no {name} in its section {section}")
        offset, size = self.btf.sections[section][name]
        start, length = memory or self._section(section)
        if offset + size > length:
            raise UnavailableError(
                f"the BPF object {self.name} is damaged: {name} is not inside of {section}"
            )
        return start + offset, size

    def _memory(self, map_: int) -> tuple[int, int]:
        """Address and size of what a map holds at first."""
        size = ctypes.c_size_t()
        return int(self._libbpf.bpf_map__initial_value(map_, ctypes.byref(size)) or 0), size.value

    def _section(self, name: str) -> tuple[int, int]:
        """Where the variables of a section are in memory; libbpf prefixes the object's name."""
        map_ = None
        while map_ := self._libbpf.bpf_object__next_map(self._object, map_):
            if self._libbpf.bpf_map__name(map_).decode().endswith(name):
                return self._memory(map_)
        raise KeyError(f"{self.name} has no section {name}")

    def _error(self, what: str, code: int) -> UnavailableError:
        return _bpf_error(f"{what} the BPF object {self.name}", code, list(self._libbpf.log))


def _require_kernel(btf: Path | None) -> None:
    require_bpf()
    if btf is None and not VMLINUX_BTF.exists():
        raise UnavailableError(
            f"this kernel ({os.uname().release}) has no BTF: {VMLINUX_BTF} is missing",
            hint="use a kernel with CONFIG_DEBUG_INFO_BTF=y, as distributions' kernels have; "
            "`schedtuna record --procfs` needs none",
        )


def _read_some(descriptor: int) -> bytes:
    """Read from an iterator, which may say EAGAIN or EINTR halfway."""
    while True:
        try:
            return os.read(descriptor, 1 << 20)
        except (BlockingIOError, InterruptedError):
            continue


def _bpf_error(what: str, code: int, log: list[str]) -> UnavailableError:
    """Tell why libbpf or the kernel refused, and what helps."""
    reason = os.strerror(code) if code else "unknown reason"
    lines = [line for line in log if line.startswith("libbpf:") and "failed to load object" not in line]
    detail = f" ({lines[-1].removeprefix('libbpf: ')})" if lines else ""
    release = os.uname().release
    version = tuple(int(part) for part in re.findall(r"\d+", release)[:2])
    hint = "SCHEDTUNA_DEBUG=1 shows all that the kernel's verifier said"
    if version < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        hint = f"this kernel is {release}; recording needs {oldest} or newer with BTF"
    elif code in {errno.EPERM, errno.EACCES} and not any("verifier" in line.lower() for line in log):
        hint = "the kernel's lockdown or a security module forbids it; see `schedtuna doctor`"
    elif code == errno.ENOMEM:
        hint = "make the ring smaller, or free memory"
    elif any("BTF" in line for line in lines):
        hint = "is the kernel's BTF damaged, or of another kernel?"
    error = UnavailableError(f"{what}: {reason}{detail}", hint=hint)
    if "SCHEDTUNA_DEBUG" in os.environ:
        for line in log:
            error.add_note(line)
    return error
