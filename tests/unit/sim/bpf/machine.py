"""One block of memory, and a scheduler's code that runs in it: as little of a simulator as the tests need."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import schedtuna
from schedtuna.sim.bpf import abi
from schedtuna.sim.bpf.compiled import find_compiler
from schedtuna.sim.bpf.mirror import mirror

_SOURCE = Path(schedtuna.__file__).parents[2]
_U64 = ctypes.c_uint64
CODE = ctypes.CFUNCTYPE(_U64, ctypes.c_void_p, *[_U64] * 5)
FUEL = 1 << 26


class Trap(ctypes.Structure):
    """struct scx_trap."""

    _fields_ = (
        ("reason", ctypes.c_uint32),
        ("function", ctypes.c_uint32),
        ("instruction", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("detail", _U64),
    )


class Instance(ctypes.Structure):
    """struct scx_instance."""

    _fields_ = (
        ("memory", ctypes.c_void_p),
        ("limit", _U64),
        ("stack", _U64),
        ("fuel", _U64),
        ("object", ctypes.c_void_p),
        ("symbols", ctypes.POINTER(_U64)),
        ("covered", ctypes.POINTER(_U64)),
        ("core", ctypes.c_void_p),
        ("trap", Trap),
    )


@cache
def interpreter(folder: Path) -> ctypes.CDLL:
    """The interpreter as a library of its own, with what runs functions, native or not."""
    (folder / "run.c").write_text(
        '#include "scx_object.h"\n'
        "uint64_t run(struct scx_instance *i, uint32_t f, const uint64_t *a, uint32_t n)\n"
        "{ i->fuel = SCX_FUEL; return scx_run_operation(i, f, a, n); }\n"
        "uint64_t back(struct scx_instance *i, uint64_t reference, uint64_t r1, uint64_t r2)\n"
        "{ return scx_run_reference(i, reference, r1, r2, 0); }\n"
    )
    compiler = find_compiler()
    assert compiler
    options = ["-O2", "-shared", "-fPIC", f"-I{_SOURCE / 'include'}", f"-I{_SOURCE / 'native/scx'}"]
    sources = [str(folder / "run.c"), str(_SOURCE / "native/scx/interpreter.c")]
    subprocess.run([compiler, *options, *sources, "-o", str(folder / "run.so")], check=True)
    library = ctypes.CDLL(str(folder / "run.so"))
    library.run.restype = library.back.restype = _U64
    library.run.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(_U64), ctypes.c_uint32]
    library.back.argtypes = [ctypes.c_void_p, _U64, _U64, _U64]
    return library


class Machine:
    """Runs one object's functions.

    Args:
        description: What to run; it must live as long as this.
        functions: What is called outside, by name; each gets this machine and five registers.
        folder: Where the interpreter may be built.
    """

    def __init__(
        self,
        description: abi.CObject,
        functions: dict[str, Callable[..., int]],
        folder: Path,
        nr_bytes: int = 1 << 18,
    ) -> None:
        self.description, self._library = description, interpreter(folder)
        self.memory = ctypes.create_string_buffer(nr_bytes + 8)
        self.heap = int(description.image_end)
        for row in description.sections[: description.nr_sections]:
            if row.data:
                self._put(row.address, _bytes(row))
        self.symbols = (_U64 * max(1, description.nr_symbols))()
        self.covered = (_U64 * max(1, description.nr_blocks))()
        self.instance = Instance(
            memory=ctypes.addressof(self.memory),
            limit=nr_bytes,
            stack=abi.STACK,
            fuel=FUEL,
            object=ctypes.addressof(description),
            symbols=self.symbols,
            covered=self.covered,
        )
        self._callbacks: list[object] = []
        for number, row in enumerate(description.calls[: description.nr_calls]):
            found = functions.get(row.name.decode())
            if found:
                callback = CODE(self._bound(found))
                self._callbacks.append(callback)
                description.targets[number] = ctypes.cast(callback, ctypes.c_void_p).value
            else:
                description.targets[number] = None

    def _put(self, address: int, data: bytes) -> None:
        ctypes.memmove(ctypes.addressof(self.memory) + address, data, len(data))

    def _bound(self, function: Callable[..., int]) -> Callable[..., int]:
        return lambda _instance, *registers: function(self, *registers) & (1 << 64) - 1

    def member(self, name: str) -> int:
        """The index of an operation's function."""
        rows = self.description.members[: self.description.nr_members]
        return int(next(row.function for row in rows if row.name.decode() == name))

    def function(self, name: str) -> int:
        """The index of a function."""
        rows = self.description.functions[: self.description.nr_functions]
        return next(place for place, row in enumerate(rows) if row.name.decode() == name)

    def run(self, function: int, *arguments: int) -> int:
        """Call a function as the kernel calls an operation."""
        given = (_U64 * max(1, len(arguments)))(*arguments)
        return int(self._library.run(ctypes.byref(self.instance), function, given, len(arguments)))

    def call(self, member: str, *arguments: int) -> int:
        """Call an operation."""
        return self.run(self.member(member), *arguments)

    def back(self, reference: int, r1: int, r2: int) -> int:
        """Call what a program gave a reference of."""
        return int(self._library.back(ctypes.byref(self.instance), reference, r1, r2))

    def grab(self, nr_bytes: int) -> int:
        """Memory of the simulator's own."""
        place = self.heap
        self.heap += -(-nr_bytes // 64) * 64
        return place

    def read(self, address: int, size: int) -> int:
        """A number in the block."""
        return int.from_bytes(self.bytes(address, size), "little")

    def bytes(self, address: int, size: int) -> bytes:
        """What is in the block."""
        return ctypes.string_at(ctypes.addressof(self.memory) + address, size)

    def write(self, address: int, size: int, value: int) -> None:
        """Write a number into the block."""
        self._put(address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def field(self, address: int, structure: str, name: str) -> tuple[int, int]:
        """(address, size) of a member of a structure that is in the block."""
        offset, size = mirror().members(structure)[name]
        return address + offset, size

    def variable(self, name: str) -> tuple[int, int]:
        """(address, size) of a global variable."""
        rows = self.description.globals[: self.description.nr_globals]
        return next((row.address, row.size) for row in rows if row.name.decode() == name)

    @property
    def trap(self) -> tuple[int, int]:
        """(reason, detail) of the first trap."""
        return self.instance.trap.reason, self.instance.trap.detail


def _bytes(row: abi.CSection) -> bytes:
    place = ctypes.c_void_p.from_buffer(row, abi.CSection.data.offset).value
    assert place
    return ctypes.string_at(place, row.size)
