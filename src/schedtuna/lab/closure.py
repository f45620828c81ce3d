"""What does one command need? The few files that go into a deterministic guest.

A guest that is saved and restored for every trial should be small: of the lab's base only the
skeleton, the shells and the programs that the command names are kept.
"""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from schedtuna.errors import UsageError
from schedtuna.lab.image import (
    LAUNCHER,
    OWN,
    SHARE,
    Layer,
    LayerFile,
    base_layer,
    file_entry,
    libraries,
    text_entry,
)
from schedtuna.lab.layers import kernel_layer, program_layer, share_layer
from schedtuna.lab.store import Kernel
from schedtuna.resources import resource_path
from schedtuna.scheduler.objects import is_object

_ALWAYS = ("busybox", "bash")
_GUESTS_OWN = ("/dev/", "/proc/", "/sys/")
_FOLDER = "usr/local/bin"
_LIBRARIES = "usr/lib/x86_64-linux-gnu/"
_LIMIT = 256 << 20
_SCRIPT_LIMIT = 1 << 20
_WORD = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class Closure:
    """A command, and all that a guest needs for it.

    Attributes:
        argv: The command.
        program: Path of its program in the guest.
        layer: The guest's files.
        folder: Where it runs.
    """

    argv: tuple[str, ...]
    program: str
    layer: Layer
    folder: str


def closure(
    argv: Sequence[str],
    root: Path,
    kernel: Kernel,
    *,
    programs: Iterable[Path] = (),
    share: Path | None = None,
) -> Closure:
    """Return the files that a command needs.

    They are its program, which is the lab's own or else this machine's, the interpreter of a script,
    the lab's programs that its arguments or scripts mention, shared libraries, and the files that its
    arguments name.

    Args:
        argv: The command.
        root: The lab's unpacked packages.
        kernel: Its build configuration is added.
        programs: More programs of this machine.
        share: A folder that is copied whole; the command runs in the copy.

    Raises:
        UsageError: A program is nowhere or can't run in a guest, or there is too much.
    """
    if not argv:
        raise UsageError("no command to run")
    return _Builder(root, share).build(argv, kernel, programs)


class _Builder:
    def __init__(self, root: Path, share: Path | None) -> None:
        self._root = root
        self._share = share
        self._base = base_layer(root)
        self._layer = {name: entry for name, entry in self._base.items() if _is_skeleton(name, entry)}
        self._seen: set[str] = set()

    def build(self, argv: Sequence[str], kernel: Kernel, programs: Iterable[Path]) -> Closure:
        for name in _ALWAYS:
            self._own_program(name)
        self._add(kernel_layer(kernel.version, kernel.config))
        added = (resource_path("native/schedtuna-trial"), *programs)
        self._add(program_layer(added, self._root))
        if any(map(is_object, added)):  # Python loads it
            self._own_program("python3")
        self._layer["init"] = text_entry(resource_path("lab/guest/init-trial").read_text(), executable=True)
        if self._share is not None:
            self._add(share_layer(self._share, self._root))
            for path in sorted(self._share.rglob("*")):
                self._script(path)
        program = self._program(argv[0])
        self._mentioned(" ".join(argv))
        for argument in argv[1:]:
            self._named_file(argument)
        size = sum(e.source.stat().st_size for e in self._layer.values() if e.source is not None)
        if size > _LIMIT:
            raise UsageError(
                f"the command needs {size >> 20} MiB of files, more than {_LIMIT >> 20}",
                hint="name smaller files",
            )
        return Closure(tuple(argv), program, self._layer, f"/{SHARE}")

    def _add(self, layer: Layer) -> None:
        self._layer |= layer

    def _program(self, name: str) -> str:
        """Add a program by its name or path; returns its path in the guest."""
        path = Path(name)
        if path.is_absolute() or "/" not in name:
            if self._own_program(path.name):
                return f"/usr/bin/{path.name}"
        elif self._is_shared(path):
            return f"/{SHARE}/{path}"
        if "/" in name:
            if not _is_file(path):
                raise UsageError(f"command not found: {name}")
            self._named_file(name)
            return str(path) if path.is_absolute() else f"/{SHARE}/{path}"
        found = shutil.which(name)
        if f"{_FOLDER}/{name}" not in self._layer:
            if found is None:
                raise UsageError(f"command not found: {name}", hint="--with PROGRAM takes a path")
            self._add(program_layer([Path(found)], self._root))
            self._script(Path(found))
        return f"/{_FOLDER}/{name}"

    def _own_program(self, name: str) -> bool:
        """Add a program that the lab has; returns whether it has."""
        entry = self._base.get(f"usr/bin/{name}")
        if entry is None:
            return False
        if name in self._seen:
            return True
        self._seen.add(name)
        self._layer[f"usr/bin/{name}"] = entry
        if stat.S_ISLNK(entry.mode):
            return self._own_program(Path(entry.content.decode()).name)
        if entry.source is not None:
            self._add(libraries(entry.source, self._root))
        if name.startswith("python3"):
            self._standard_library(name)
        return True

    def _standard_library(self, python: str) -> None:
        for name, entry in self._base.items():
            if name.startswith(f"usr/lib/{python}/"):
                self._layer[name] = entry
                if name.endswith(".so") and entry.source is not None:
                    self._add(libraries(entry.source, self._root))

    def _named_file(self, argument: str) -> None:
        """Add a file that an argument names, alone or after an equals sign, at the same place."""
        for text in {argument, argument.partition("=")[2]}:
            path = Path(text)
            if not text or self._is_shared(path) or text.startswith(_GUESTS_OWN) or not _is_file(path):
                continue
            if ".." in path.parts:
                raise UsageError(
                    f"{text} is outside of the command's folder", hint="name it by its absolute path"
                )
            place = str(path).removeprefix("/") if path.is_absolute() else f"{SHARE}/{path}"
            self._layer.setdefault(_resolved(place), file_entry(path))
            if path.stat().st_mode & 0o111:
                self._add(libraries(path.resolve(), self._root))
            self._script(path)

    def _is_shared(self, path: Path) -> bool:
        return self._share is not None and not path.is_absolute()

    def _script(self, path: Path) -> None:
        """Add what a script needs: its interpreter, and the lab's programs that it mentions."""
        if not _is_file(path) or path.stat().st_size > _SCRIPT_LIMIT:
            return
        content = path.read_bytes()
        if b"\0" in content:
            return
        text = content.decode(errors="replace")
        if text.startswith("#!"):
            words = text[2:].split("\n", 1)[0].split()
            words = words[1:] if words and Path(words[0]).name == "env" else words
            if words:
                self._interpreter(words[0], path)
        self._mentioned(text)

    def _interpreter(self, word: str, script: Path) -> None:
        name = Path(word).name
        if self._own_program(name):
            return
        found = Path(word) if word.startswith("/") else Path(shutil.which(word) or "")
        if not _is_file(found):
            raise UsageError(f"{script} needs {word}, which is not here")
        self._layer[_resolved(str(found).removeprefix("/"))] = file_entry(found)
        self._add(libraries(found.resolve(), self._root))

    def _mentioned(self, text: str) -> None:
        for word in set(_WORD.findall(text)):
            entry = self._base.get(f"usr/bin/{word}")
            if entry is not None and not _is_applet(entry):
                self._own_program(word)


def _is_skeleton(name: str, entry: LayerFile) -> bool:
    """Whether a file of the base is in every guest: folders, links, the launcher, small texts."""
    if name.startswith(_LIBRARIES) or (name.startswith("usr/lib/python") and not stat.S_ISDIR(entry.mode)):
        return False
    if name.startswith("usr/bin/"):
        return _is_applet(entry)
    return not name.startswith(f"{OWN}/") or name == LAUNCHER


def _is_applet(entry: LayerFile) -> bool:
    return stat.S_ISLNK(entry.mode) and entry.content == b"busybox"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that is not a path, such as one that is too long
        return False


def _resolved(name: str) -> str:
    """Return where a path leads in the guest, whose /bin, /sbin, /lib and /lib64 are links."""
    first, _, rest = name.partition("/")
    return f"usr/{name}" if first in {"bin", "sbin", "lib", "lib64"} and rest else name
