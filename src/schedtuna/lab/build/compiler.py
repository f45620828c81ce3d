"""Which clang compiles BPF programs: the host's, if it is new enough, else one that is only unpacked."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from schedtuna.errors import UnavailableError
from schedtuna.files import write_text
from schedtuna.lab.build.packages import OfferedPackage, PrivateApt, unpack_anew
from schedtuna.lab.qemu.program import LIBRARY_FOLDERS

OLDEST = 17  # older ones run out of BPF's stack where newer ones don't
_ANSWER_WITHIN_S = 60.0
_VERSION = re.compile(r"clang version (\d+)\.")


def host_clang() -> Path | None:
    """Return the host's newest clang, if it is new enough."""
    names = ["clang", *(f"clang-{number}" for number in range(OLDEST, OLDEST + 20))]
    found = {path: clang_version(path) for name in names if (path := shutil.which(name)) is not None}
    best = max(found, key=lambda path: found[path], default=None)
    return Path(best) if best is not None and found[best] >= OLDEST else None


def clang_version(clang: str | Path) -> int:
    """Return a compiler's major version; 0 where it does not say one."""
    try:
        done = subprocess.run(
            [clang, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ANSWER_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    match = _VERSION.search(done.stdout)
    return int(match[1]) if match else 0


def newest(candidates: Iterable[OfferedPackage]) -> int:
    """Return the newest clang that a mirror has and that is new enough.

    Raises:
        UnavailableError: There is none.
    """
    numbers = [int(m[1]) for row in candidates if (m := re.fullmatch(r"clang-(\d+)", row.name))]
    best = max(numbers, default=0)
    if best < OLDEST:
        raise UnavailableError(
            f"the mirror has no clang {OLDEST} or newer, which the example schedulers need",
            hint=f"put a clang of version {OLDEST} or newer into PATH",
        )
    return best


def install_clang(apt: PrivateApt, root: Path) -> tuple[Path, list[Path]]:
    """Unpack the mirror's newest clang with its libraries; returns a command, and the packages.

    Raises:
        UnavailableError: The mirror's is too old, or does not run here.
        PackageError: It can't be fetched.
    """
    version = newest(apt.candidates(["clang-"]))
    # The compiler's own package would bring a C++ library and a linker along, which BPF does without.
    packages = apt.download_closure([f"libclang-cpp{version}", f"libclang-common-{version}-dev"])
    packages += apt.download([f"clang-{version}"], root.parent / "packages")
    unpack_anew(packages, root)
    home = root / f"usr/lib/llvm-{version}"
    argv = [
        str(root / "lib64/ld-linux-x86-64.so.2"),
        "--library-path",
        ":".join(str(folder) for folder in (home / "lib", *(root / name for name in LIBRARY_FOLDERS))),
        str(home / "bin/clang"),
        "-resource-dir",
        str(home / f"lib/clang/{version}"),
    ]
    command = root / "clang"  # make wants one word
    write_text(command, f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n', mode=0o755)
    if clang_version(command) != version:
        raise UnavailableError(f"the mirror's clang {version} does not run here", hint="install clang")
    return command, packages
