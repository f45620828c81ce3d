"""What is a scheduler's object, translated? All that becomes C, or memory for the interpreter."""

from __future__ import annotations

import contextlib
import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.sim.bpf.abi import MAP_REFERENCE, OWN_CALL, OWN_SYMBOL, OWN_UNKNOWN
from schedtuna.sim.bpf.instructions import LOAD_64, Instruction
from schedtuna.sim.bpf.kernel import KernelTypes
from schedtuna.sim.bpf.mirror import mirror, mirror_text
from schedtuna.sim.bpf.object_file import ObjectFile, Operations, read_object, read_operations
from schedtuna.sim.bpf.reach import reachable_functions
from schedtuna.sim.bpf.resolve import Resolved, resolve

_USER_CALLED = "syscall"  # programs that a loader runs


@dataclass(frozen=True)
class CodeBlock:
    """A stretch of instructions without a jump into or out of it."""

    function: int
    first: int
    count: int


@dataclass
class Translation:
    """One scheduler.

    Attributes:
        object: What it is made of.
        operations: Its struct sched_ext_ops.
        resolved: Its instructions.
        kernel: The label of the kernel whose types say what exists.
        digest: SHA-256 of all that it is made of.
        reached: Function -> places that can run from the operations.
        wanted: Numbers of the functions that are translated: those reached, and what loaders call.
        blocks: Of the functions wanted.
        unknown_fields: What running code may trap at: names of fields and others that the simulator lacks.
    """

    object: ObjectFile
    operations: Operations
    resolved: Resolved
    kernel: str
    digest: str
    reached: dict[int, set[int]]
    wanted: list[int]
    blocks: list[CodeBlock] = field(default_factory=list)

    def _reached(self) -> Iterable[Instruction]:
        for function, places in self.reached.items():
            code = self.resolved.code[function]
            yield from (code[place] for place in sorted(places))

    @property
    def required_calls(self) -> set[str]:
        """Names of what the scheduler may call outside of itself."""
        names = list(self.resolved.calls)
        return {names[one.imm] for one in self._reached() if one.code == OWN_CALL}

    @property
    def required_symbols(self) -> set[str]:
        """Names of the kernel's variables that it may use."""
        return {self.resolved.symbols[one.imm] for one in self._reached() if one.code == OWN_SYMBOL}

    @property
    def required_maps(self) -> set[int]:
        """Numbers of the maps that it may use."""
        maps = range(MAP_REFERENCE, MAP_REFERENCE + len(self.object.maps))
        return {one.imm - MAP_REFERENCE for one in self._reached() if one.code == LOAD_64 and one.imm in maps}

    @property
    def possible_traps(self) -> list[str]:
        """What would end a run if it were executed: fields and functions that are not there."""
        return sorted({self.resolved.unknowns[one.imm] for one in self._reached() if one.code == OWN_UNKNOWN})

    def local_type_name(self, number: int) -> str:
        """Name of a type that programs allocate."""
        return self.object.types.name(number)


def translate(data: bytes, name: str, kernel: KernelTypes, *, operations: str | None = None) -> Translation:
    """Translate a scheduler's BPF object.

    Args:
        data: The object.
        name: What to call it in errors.
        kernel: Whose types say what exists.
        operations: Which of its schedulers, where it has several.

    Raises:
        UsageError: It is no such object, or damaged.
        UnavailableError: It needs of the kernel what that lacks; the message lists it.
    """
    kernel.types.constants  # noqa: B018 - what is wrong with the kernel is not said of the object
    with _reading(name):
        object_ = read_object(data, name, kernel)
        resolved = resolve(object_, kernel.types, mirror())
        ops = read_operations(object_, kernel, operations)
    if resolved.strong:
        raise UnavailableError(
            f"{name} needs what the kernel {kernel.label} lacks: {', '.join(resolved.strong)}",
            hint="translate it for the kernel that it was made for",
        )
    reached = reachable_functions(resolved.code, list(ops.functions.values()))
    called = [place for place, one in enumerate(object_.functions) if one.section.startswith(_USER_CALLED)]
    wanted = sorted(reachable_functions(resolved.code, [*ops.functions.values(), *called]))
    digest = digest_of(data, kernel, ops.variable)
    blocks = [block for function in wanted for block in _blocks(function, resolved.code[function])]
    return Translation(object_, ops, resolved, kernel.label, digest, reached, wanted, blocks)


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Say of an object that it is damaged, wherever what it says of itself does not fit."""
    try:
        yield
    except (struct.error, LookupError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{name} is a damaged BPF object: {error}", hint="copy or compile it anew, with -g"
        ) from error


def _blocks(function: int, code: list[Instruction]) -> list[CodeBlock]:
    starts = {0}
    for place, one in enumerate(code):
        if one.is_jump:
            starts |= {place + 1, place + 1 + one.off}
        elif not one.falls_through:
            starts.add(place + 1)
    order = sorted(start for start in starts if start < len(code))
    ends = [*order[1:], len(code)]
    return [
        CodeBlock(function, first, sum(not one.fills for one in code[first:end]))
        for first, end in zip(order, ends, strict=True)
    ]


def digest_of(data: bytes, kernel: KernelTypes, operations: str) -> str:
    """SHA-256 of what a translation is made of: object, kernel, the simulator's layout, translator."""
    parts = [data, kernel.digest.encode(), mirror_text().encode(), operations.encode(), _translator()]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _translator() -> bytes:
    own = sorted(Path(__file__).parent.glob("*.py"))
    return b"".join(hashlib.sha256(path.read_bytes()).digest() for path in own)
