"""What does a guest have beyond the base? Its kernel's configuration, programs, a folder, a recorder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from schedtuna.errors import UsageError
from schedtuna.kernel.sched_ext import scheduler_name
from schedtuna.lab.image import (
    OWN,
    SHARE,
    Layer,
    LayerFile,
    file_entry,
    folder_entry,
    is_dynamic,
    libraries,
    link_entry,
    text_entry,
)
from schedtuna.resources import resource_path
from schedtuna.scheduler.objects import is_object, loader_path

_KERNEL_MODULES = (
    *("__init__", "btf", "kernel_btf", "libbpf", "maps", "objects", "privilege", "sched_ext", "settings"),
    *("ordered", "runs", "text"),
)
_PACKAGE = f"{OWN}/python/schedtuna"
_SHARE_LIMIT = 256 << 20


def recording_layer(root: Path) -> Layer:
    """What counts `sched.*` metrics in a guest: the recorder's BPF object, libbpf, and who loads it."""
    return {
        f"{OWN}/recorder.py": file_entry(resource_path("lab/guest/recorder.py")),
        f"{_PACKAGE}/native/sched_aggregate.bpf.o": file_entry(resource_path("native/sched_aggregate.bpf.o")),
        **_libbpf_layer(root),
    }


def _libbpf_layer(root: Path) -> Layer:
    """What loads BPF objects in a guest."""
    modules = (
        "__init__",
        "capabilities",
        "errors",
        "resources",
        *(f"kernel/{name}" for name in _KERNEL_MODULES),
        *("scheduler/__init__", "scheduler/tuna", "scheduler/tuna_model", "scheduler/tuna_advice"),
    )
    library = resource_path("native/libbpf.so")
    layer = {f"{_PACKAGE}/{name}.py": file_entry(resource_path(f"{name}.py")) for name in modules}
    return {**layer, f"{_PACKAGE}/native/libbpf.so": file_entry(library), **libraries(library, root)}


def object_layer(path: Path, root: Path) -> Layer:
    """A program that puts the scheduler of a bare BPF object in charge, named as the scheduler is.

    Raises:
        UsageError: It is not a BPF object, or has no sched_ext scheduler.
    """
    program, loader = guest_program(path).removeprefix("/"), loader_path()
    place = f"{OWN}/objects/{Path(program).name}.bpf.o"
    script = f'#!/bin/sh\nexec /usr/bin/python3 -I -S /{OWN}/{loader.name} "/{place}" "$@"\n'
    return {
        place: file_entry(path),
        f"{OWN}/{loader.name}": file_entry(loader),
        program: text_entry(script, executable=True),
        **_libbpf_layer(root),
    }


def guest_program(program: Path) -> str:
    """Return where a program of the host, or of a BPF object, is in a guest.

    Raises:
        UsageError: It is not a BPF object, or has no sched_ext scheduler.
    """
    return f"/usr/local/bin/{scheduler_name(program) if is_object(program) else program.name}"


def kernel_layer(version: str, config: Path) -> Layer:
    """The kernel's build configuration, without which many schedulers don't load."""
    return {f"boot/config-{version}": file_entry(config)}


def program_layer(programs: Iterable[Path], root: Path) -> Layer:
    """Programs of the host in /usr/local/bin, with their libraries, and what loads bare BPF objects.

    Raises:
        UsageError: One is not there, or can't run in the guest, or two have one name there.
    """
    layer: Layer = {}
    first: dict[str, Path] = {}  # by their places
    for program in programs:
        if not program.is_file():
            raise UsageError(f"no such program: {program}")
        other = first.setdefault(guest_program(program), program)
        if other.resolve() != program.resolve():
            raise UsageError(
                f"{other} and {program} would both be {guest_program(program)} in the guest",
                hint="leave one of them out, or give it another name",
            )
        if is_object(program):
            layer |= object_layer(program, root)
            continue
        place = guest_program(program).removeprefix("/")
        layer[place] = LayerFile(stat.S_IFREG | 0o755, source=program.resolve())
        layer |= libraries(program.resolve(), root)
    return layer


def share_layer(folder: Path, root: Path) -> Layer:
    """The shared folder, and the libraries of the programs in it.

    Raises:
        UsageError: It is not a folder, or too large to be copied into a guest.
    """
    if not folder.is_dir():
        raise UsageError(f"no such folder: {folder}")
    layer: Layer = {}
    size = 0
    for path in _walk(folder):
        name = f"{SHARE}/{path.relative_to(folder)}"
        if path.is_symlink():
            layer[name] = link_entry(str(path.readlink()))
        elif path.is_dir():
            layer[name] = folder_entry()
        elif path.is_file():
            layer[name] = file_entry(path)
            size += path.stat().st_size
            if path.stat().st_mode & 0o100 and is_dynamic(path):
                # One that lacks a library may be none's to run: it is loaded by a program that has it.
                with suppress(UsageError):
                    layer = libraries(path, root) | layer
        if size > _SHARE_LIMIT:
            limit = f"{_SHARE_LIMIT >> 20} MiB"
            raise UsageError(
                f"{folder} is too large to share: more than {limit}",
                hint="share a folder with just what is needed",
            )
    return layer


def _walk(folder: Path) -> Iterator[Path]:
    for at, folders, names in os.walk(folder):
        yield from (Path(at, name) for name in sorted([*folders, *names]))
