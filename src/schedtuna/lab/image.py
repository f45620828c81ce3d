"""What is in a guest? An initramfs, made of layers that are simply put one after another.

The base holds programs of unpacked packages with just the libraries that they load; `layers` has the
further ones. Layers are reproducible: same content, same bytes.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from schedtuna.errors import UsageError
from schedtuna.files import copy_file, remove, write_text
from schedtuna.lab.errors import LabError
from schedtuna.lab.qemu.program import LIBRARY_FOLDERS
from schedtuna.resources import resource_path

# The packages whose programs a guest has. Names that differ between releases: the first that is there.
PACKAGES = (
    "busybox-static",
    "bash",
    "python3",
    "rt-tests",
    "stress-ng",
    "libelf1",
    "libseccomp2",
    "libstdc++6",
)
PROGRAMS = ("busybox", "bash", "python3", "hackbench", "cyclictest", "stress-ng")
# What programs of the host may load: schedulers, and C++.
LIBRARIES = ("libelf.so.1", "libseccomp.so.2", "libgcc_s.so.1", "libstdc++.so.6", "libz.so.1", "libzstd.so.1")
SHARE = "share"  # the shared folder, below /
OWN = "usr/lib/schedtuna"
LAUNCHER = f"{OWN}/schedtuna-launch"
GUEST_PROGRAMS = ("lab/guest/guestd.py", "lab/guest/relay.py")
_PYTHON_LEFT_OUT = frozenset(
    {"test", "idlelib", "lib2to3", "pydoc_data", "ensurepip", "tkinter", "turtledemo", "unittest"}
)
# Of which each would bring libraries of megabytes along.
_EXTENSIONS_LEFT_OUT = (
    *("_ssl", "_hashlib", "_test", "_sqlite3", "_dbm", "_gdbm", "readline", "nis"),
    *("_codecs_", "_curses", "_tkinter"),
)
_FOLDERS = (
    "dev",
    "proc",
    "sys",
    "tmp",
    "run",
    "root",
    "var/tmp",
    "var/log",
    "etc",
    "boot",
    "usr/local/bin",
    SHARE,
)
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64", "var/run": "../run"}
_TEXTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
}
_LOADER = "lib64/ld-linux-x86-64.so.2"
_COMPILED = ".compiled"  # in the unpacked packages: all bytecode is made


@dataclass(frozen=True)
class LayerFile:
    """One file of a layer.

    Attributes:
        mode: Type and permissions, as st_mode.
        source: The file whose content it has.
        content: Its content, or a link's target, where there is no source.
        device: Major and minor number of a device.
    """

    mode: int
    source: Path | None = None
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


Layer = dict[str, LayerFile]  # by path below /, without a leading slash


def file_entry(source: Path) -> LayerFile:
    """An entry for a regular file of the host, readable by all."""
    executable = 0o111 if source.stat().st_mode & 0o100 else 0
    return LayerFile(stat.S_IFREG | 0o644 | executable, source=source)


def text_entry(text: str, *, executable: bool = False) -> LayerFile:
    """An entry for a file with this text."""
    return LayerFile(stat.S_IFREG | (0o755 if executable else 0o644), content=text.encode())


def link_entry(target: str) -> LayerFile:
    """An entry for a symbolic link."""
    return LayerFile(stat.S_IFLNK | 0o777, content=target.encode())


def folder_entry() -> LayerFile:
    """An entry for a folder."""
    return LayerFile(stat.S_IFDIR | 0o755)


def write_layer(layer: Mapping[str, LayerFile], file: IO[bytes]) -> None:
    """Write a layer as a cpio archive (newc; Documentation/driver-api/early-userspace/buffer-format.rst).

    Sorted, with times and owners of zero, so that equal layers are equal bytes; padded to 4 KiB, so
    that another layer may follow.
    """
    for number, (name, entry) in enumerate(sorted(_with_parents(layer).items()), start=1):
        _write_entry(file, number, name, entry)
    _write_entry(file, 0, "TRAILER!!!", LayerFile(0))
    file.write(b"\0" * (-file.tell() % 4096))


def _write_entry(file: IO[bytes], number: int, name: str, entry: LayerFile) -> None:
    content = entry.source.read_bytes() if entry.source else entry.content
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (
        number,
        entry.mode,
        0,
        0,
        links,
        0,
        len(content),
        0,
        0,
        *entry.device,
        len(name.encode()) + 1,
        0,
    )
    file.write(b"070701" + b"".join(b"%08X" % field for field in fields))
    file.write(name.encode() + b"\0")
    file.write(b"\0" * (-file.tell() % 4))
    file.write(content)
    file.write(b"\0" * (-file.tell() % 4))


def _with_parents(layer: Mapping[str, LayerFile]) -> Layer:
    parents = {str(parent) for name in layer for parent in PurePosixPath(name).parents if str(parent) != "."}
    return {**{name: folder_entry() for name in parents}, **layer}


# ---- the base -----------------------------------------------------------------------------------


def base_layer(root: Path) -> Layer:
    """Return the files of every guest, from unpacked packages and the installation's own.

    Raises:
        LabError: The packages lack something.
    """
    layer: Layer = {folder: folder_entry() for folder in _FOLDERS}
    layer |= {name: link_entry(target) for name, target in _LINKS.items()}
    layer |= {name: text_entry(text) for name, text in _TEXTS.items()}
    layer["dev/console"] = LayerFile(stat.S_IFCHR | 0o600, device=(5, 1))
    layer["init"] = text_entry(resource_path("lab/guest/init").read_text(), executable=True)
    layer |= _own(root)
    layer[LAUNCHER] = file_entry(resource_path("native/schedtuna-launch"))
    programs = [_in_root(root, f"usr/bin/{name}") for name in PROGRAMS]
    for path in programs:
        layer[f"usr/bin/{path.name}"] = file_entry(path.resolve())
        if path.is_symlink():
            layer[f"usr/bin/{path.name}"] = link_entry(path.resolve().name)
            layer[f"usr/bin/{path.resolve().name}"] = file_entry(path.resolve())
    for applet in _applets(root):
        layer.setdefault(f"usr/bin/{applet}", link_entry("busybox"))
    layer |= _python(root)
    binaries = [*programs, layer[LAUNCHER].source, *(_library(root, name) for name in LIBRARIES)]
    extensions = [entry.source for name, entry in layer.items() if name.endswith(".so")]
    for binary in [*binaries, *extensions]:
        if binary is not None:
            layer |= libraries(binary, root)
    for name in LIBRARIES:
        layer[f"usr/lib/x86_64-linux-gnu/{name}"] = file_entry(_library(root, name).resolve())
    return layer


def _in_root(root: Path, name: str) -> Path:
    for path in (root / name, root / name.replace("usr/", "", 1)):
        if path.exists():
            return path
    raise LabError(f"the guest's packages hold no {name}")


def _library(root: Path, name: str) -> Path:
    return _in_root(root, f"usr/lib/x86_64-linux-gnu/{name}")


def _applets(root: Path) -> list[str]:
    argv = [str(_in_root(root, "usr/bin/busybox")), "--list"]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout.split()


def _own(root: Path) -> Layer:
    """Schedtuna's programs in the guest, compiled where `compile_python` was there with these very ones."""
    copies = _copies(root)
    files = [copy.with_suffix(".pyc") if _same(source, copy) else source for source, copy in copies.items()]
    return {f"{OWN}/{file.name}": file_entry(file) for file in files}


def _python(root: Path) -> Layer:
    """The standard library, without what only developers need, and databases, terminals and OpenSSL.

    Where it is compiled, without its sources: what is not there need not be unpacked at every boot.
    """
    layer: Layer = {}
    folder = root / "usr/lib" / _in_root(root, "usr/bin/python3").resolve().name
    left_out = _PYTHON_LEFT_OUT | ({"__pycache__"} if is_compiled(root) else set())
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - left_out)
        for name in names:
            path = Path(at, name)
            compiled = name.endswith(".py") and path.with_suffix(".pyc").exists()
            if not name.startswith(_EXTENSIONS_LEFT_OUT) and path.is_file() and not compiled:
                layer[str(path.relative_to(root))] = file_entry(path)
    return layer


def is_compiled(root: Path) -> bool:
    """Whether `compile_python` came to its end there, with these programs of ours."""
    return (root / _COMPILED).exists() and all(_same(source, copy) for source, copy in _copies(root).items())


def _copies(root: Path) -> dict[Path, Path]:
    """Schedtuna's programs, and where `compile_python` puts a copy of each."""
    return {resource_path(name): root / OWN / Path(name).name for name in GUEST_PROGRAMS}


def _same(source: Path, copy: Path) -> bool:
    """Whether a copy is compiled, and of this version."""
    return copy.with_suffix(".pyc").exists() and copy.exists() and copy.read_bytes() == source.read_bytes()


def compile_python(root: Path) -> None:
    """Compile the guest's standard library and our programs with the guest's Python.

    A start without would take seconds in an emulated guest.

    Raises:
        LabError: That Python does not run.
    """
    python = _in_root(root, "usr/bin/python3").resolve()
    path = ":".join(str(root / folder) for folder in LIBRARY_FOLDERS)
    folder = root / "usr/lib" / python.name
    own = root / OWN
    own.mkdir(parents=True, exist_ok=True)
    remove(root / _COMPILED, missing_ok=True)  # bytecode is not checked against its source later
    for name in GUEST_PROGRAMS:
        copy_file(resource_path(name), own / Path(name).name)
    # The guest's files have no times, so bytecode can't be checked against them. -b: beside its source.
    options = ["-q", "-b", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/"]
    left_out = f"/({'|'.join(sorted(_PYTHON_LEFT_OUT))})/"
    done = subprocess.run(
        [
            root / _LOADER,
            "--library-path",
            path,
            python,
            "-S",
            "-m",
            "compileall",
            *options,
            "-x",
            left_out,
            folder,
            own,
        ],
        env={"PYTHONHOME": str(root / "usr")},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode:
        raise LabError(f"the guest's Python does not run: {(done.stdout + done.stderr).strip()[-300:]}")
    write_text(root / _COMPILED, "")


def libraries(binary: Path, root: Path) -> Layer:
    """Return the shared libraries that a program loads: the guest's own, else the host's.

    The loader itself is asked; it maps the program, and runs nothing of it.

    Raises:
        UsageError: A library is nowhere, or of another machine.
    """
    if not is_dynamic(binary):
        return {}
    path = ":".join(str(root / folder) for folder in LIBRARY_FOLDERS)
    argv = [str(root / _LOADER), "--inhibit-cache", "--library-path", path, "--list", str(binary)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    missing = [line.split()[0] for line in done.stdout.splitlines() if "not found" in line]
    if missing or done.returncode:
        reason = f"it needs {', '.join(missing)}" if missing else done.stderr.strip()[-300:]
        raise UsageError(f"{binary} can't run in the guest: {reason}")
    found: Layer = {}
    for name, place in parse_loader(done.stdout).items():
        found[f"usr/lib/x86_64-linux-gnu/{name}"] = file_entry(place.resolve())
    found[f"usr/{_LOADER}"] = file_entry((root / _LOADER).resolve())
    return found


def parse_loader(text: str) -> dict[str, Path]:
    """Read the loader's ``--list``: ``NAME => PATH (ADDRESS)`` lines."""
    rows = [line.split() for line in text.splitlines()]
    return {row[0]: Path(row[2]) for row in rows if len(row) >= 3 and row[1] == "=>" and "/" not in row[0]}


def is_dynamic(binary: Path) -> bool:
    """Whether a file is an ELF program or library that the loader loads (has PT_DYNAMIC, type 2)."""
    with binary.open("rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:5] != b"\x7fELF\x02":
            return False
        offset, size, count = (
            int.from_bytes(head[at:end], "little") for at, end in ((32, 40), (54, 56), (56, 58))
        )
        file.seek(offset)
        table = file.read(size * count)
    return any(table[at : at + 4] == b"\x02\0\0\0" for at in range(0, len(table), size or 1))


def assemble(base: Path, layers: Iterable[Layer], file: Path) -> None:
    """Write an initramfs: the base, then the layers. Later ones win."""
    shutil.copyfile(base, file)
    with file.open("r+b") as out:
        out.seek(0, os.SEEK_END)
        for layer in layers:
            write_layer(layer, out)
