"""Which scheduler is in this file, ready to run in the simulator? The one way in."""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.sim.bpf.abi import ABI, CObject
from schedtuna.sim.bpf.c_source import source_of
from schedtuna.sim.bpf.compiled import cache_folder, find_compiler, find_library, make_library
from schedtuna.sim.bpf.embedded import embedded_objects
from schedtuna.sim.bpf.interpreted import Memory
from schedtuna.sim.bpf.kernel import KernelTypes
from schedtuna.sim.bpf.object_file import defined_operations, defines_scheduler
from schedtuna.sim.bpf.translation import digest_of, translate

_LARGEST = 1 << 30  # bytes of a loader's program
_GIVE = "give the BPF object of a sched_ext scheduler (NAME.bpf.o), or its loader's program"


@dataclass
class ScxObject:
    """A scheduler's object, translated: what the simulator runs.

    Attributes:
        description: include/scx_object.h's struct scx_object.
        path: The file that it was in.
        sha256: Of the object itself, as it was in the file.
        interpreted: Whether it is interpreted: then no compiler had a part in it.
        coverage: Whether it counts which of its blocks run.
        library: The shared library; None where it is interpreted.
    """

    description: CObject
    path: Path
    sha256: str
    interpreted: bool
    coverage: bool
    library: Path | None
    _keeper: object = field(repr=False, default=None)

    @property
    def address(self) -> int:
        """Where the description is in memory, as long as this lives."""
        return ctypes.addressof(self.description)

    @property
    def name(self) -> str:
        """The scheduler's name."""
        return str(self.description.name.decode(errors="replace"))

    @property
    def digest(self) -> str:
        """SHA-256 of all that the translation was made of."""
        return str(self.description.digest.decode())

    @property
    def kernel(self) -> str:
        """Whose types say what exists."""
        return str(self.description.kernel.decode())

    @property
    def required_calls(self) -> dict[str, int]:
        """What it may call outside of itself: name -> number of arguments."""
        rows = self.description.calls[: self.description.nr_calls]
        return {row.name.decode(): row.nr_arguments for row in rows if row.required}

    @property
    def globals(self) -> dict[str, tuple[int, int]]:
        """Its global variables: name -> (address in the block, size in bytes)."""
        rows = self.description.globals[: self.description.nr_globals]
        return {row.name.decode(): (row.address, row.size) for row in rows}


def scheduler_in(path: Path) -> bytes:
    """Return the BPF object of a scheduler that a file is or carries.

    Raises:
        UsageError: It has none, or several.
        UnavailableError: It can't be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is no file", hint=_GIVE)
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path} has more than {_LARGEST} bytes", hint=_GIVE)
        data = path.read_bytes()
    except OSError as error:
        raise UnavailableError(f"can't read {path}: {error.strerror}", hint=_GIVE) from error
    every = list(embedded_objects(data))
    found = [one for one in every if defines_scheduler(one, str(path))]
    if not every:
        raise UsageError(f"{path} is no BPF object, and has none inside", hint=_GIVE)
    if not found:
        others = sorted({kind for one in every for kind in defined_operations(one, str(path))})
        but = f"; it has operations of {', '.join(others)}, which are not known here" if others else ""
        raise UsageError(
            f"{path} has {len(every)} BPF objects, none of which defines a scheduler{but}", hint=_GIVE
        )
    if len({hashlib.sha256(one).digest() for one in found}) > 1:
        raise UsageError(f"{path} has {len(found)} schedulers inside", hint="cut one out: give its .bpf.o")
    return found[0]


def load_object(
    path: Path,
    kernel: KernelTypes,
    *,
    operations: str | None = None,
    coverage: bool = False,
    interpret: bool | None = None,
    folder: Path | None = None,
) -> ScxObject:
    """Translate a scheduler, or find it translated.

    Args:
        path: A BPF object, or a loader's program with one inside.
        kernel: Whose types say what exists.
        operations: Which of an object's schedulers, where it has several.
        coverage: Whether what runs is counted, which costs a little.
        interpret: Whether it is interpreted, which is slower; default: where there is no compiler.
        folder: Where compiled ones are kept; default: the user's cache.

    Raises:
        UsageError: It is no scheduler's object, or damaged.
        UnavailableError: It can't be read, or needs of the kernel what that lacks.
    """
    if sys.byteorder != "little" or sys.maxsize < 1 << 32:
        raise UnavailableError("schedulers are translated on 64-bit little-endian machines alone")
    data = scheduler_in(path)
    sha256 = hashlib.sha256(data).hexdigest()
    compiler = None if interpret else find_compiler()
    if compiler is None:
        if interpret is False:
            raise UnavailableError(
                "there is no C compiler here: no cc, gcc or clang", hint="apt-get install gcc"
            )
        memory = Memory(translate(data, str(path), kernel, operations=operations))
        return ScxObject(
            memory.object, path, sha256, interpreted=True, coverage=True, library=None, _keeper=memory
        )
    folder = folder or cache_folder()
    early = digest_of(data, kernel, operations or "")
    library = find_library(early, compiler, coverage=coverage, folder=folder)
    if library is None:
        translation = translate(data, str(path), kernel, operations=operations)
        library = make_library(source_of(translation), early, compiler, coverage=coverage, folder=folder)
    loaded = ctypes.CDLL(str(library))
    description = CObject.in_dll(loaded, "scx_object")
    if description.abi != ABI or description.bytes != ctypes.sizeof(CObject):
        raise UnavailableError(f"{library} is of another version", hint="remove it")
    return ScxObject(
        description, path, sha256, interpreted=False, coverage=coverage, library=library, _keeper=loaded
    )


def describe(object_: ScxObject) -> Mapping[str, object]:
    """What results say of an object: enough to know again what ran."""
    return {
        "name": object_.name,
        "sha256": object_.sha256,
        "translation": object_.digest,
        "kernel": object_.kernel,
        "interpreted": object_.interpreted,
    }
