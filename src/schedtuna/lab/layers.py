"""What does a guest have beyond the base? Its kernel's configuration, programs, a folder, a recorder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from schedtuna.errors import UsageError
from schedtuna.lab.image import (
    OWN,
    SHARE,
    Entry,
    Layer,
    file_entry,
    folder_entry,
    is_dynamic,
    libraries,
    link_entry,
)
from schedtuna.resources import resource_path

_KERNEL_MODULES = ("__init__", "btf", "kernel_btf", "libbpf", "objects", "privilege")
_SHARE_LIMIT = 256 << 20


def recording_layer(root: Path) -> Layer:
    """What counts `sched.*` metrics in a guest: the recorder's BPF object, libbpf, and who loads it."""
    package = f"{OWN}/python/schedtuna"
    native = ("sched_aggregate.bpf.o", "libbpf.so")
    modules = ("__init__", "errors", "resources", *(f"kernel/{name}" for name in _KERNEL_MODULES))
    layer = {f"{OWN}/recorder.py": file_entry(resource_path("lab/guest/recorder.py"))}
    layer |= {f"{package}/{name}.py": file_entry(resource_path(f"{name}.py")) for name in modules}
    layer |= {f"{package}/native/{name}": file_entry(resource_path(f"native/{name}")) for name in native}
    return layer | libraries(resource_path("native/libbpf.so"), root)


def kernel_layer(version: str, config: Path) -> Layer:
    """The kernel's build configuration, without which many schedulers don't load."""
    return {f"boot/config-{version}": file_entry(config)}


def program_layer(programs: Iterable[Path], root: Path) -> Layer:
    """Programs of the host in /usr/local/bin, with their libraries.

    Raises:
        UsageError: One is not there, or can't run in the guest.
    """
    layer: Layer = {}
    for program in programs:
        if not program.is_file():
            raise UsageError(f"no such program: {program}")
        layer[f"usr/local/bin/{program.name}"] = Entry(stat.S_IFREG | 0o755, source=program.resolve())
        layer |= libraries(program.resolve(), root)
    return layer


def share_layer(folder: Path, root: Path) -> Layer:
    """The shared folder, and the libraries of the programs in it.

    Raises:
        UsageError: It is no folder, or too large to be copied into a guest.
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
