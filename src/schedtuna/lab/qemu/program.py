"""Which QEMU runs the guests, and with which options?

QEMU 10 or newer, its virtual CPUs in one thread: older ones, and one thread per CPU, hang or break
the guest now and then while a busy kernel patches its own code.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from schedtuna.errors import UnavailableError
from schedtuna.lab.build.packages import PrivateApt, unpack_anew
from schedtuna.lab.errors import LabError
from schedtuna.lab.shape import GuestShape
from schedtuna.lab.store import Qemu

OLDEST = (10, 0)
PROGRAM = "qemu-system-x86_64"
PACKAGE = "qemu-system-x86"
LIBRARY_FOLDERS = ("usr/lib/x86_64-linux-gnu", "usr/lib")
_VERSION = re.compile(r"version (\d+)\.(\d+)(?:\.(\d+))?")
_ANSWER_WITHIN_S = 60.0


def parse_version(text: str) -> tuple[int, ...]:
    """Read ``QEMU emulator version 10.0.2 (...)``; empty where it is something else."""
    match = _VERSION.search(text)
    return tuple(int(part) for part in match.groups() if part) if match else ()


def host_qemu() -> Qemu | None:
    """Return the QEMU that is installed on the host, if it is new enough."""
    path = shutil.which(PROGRAM)
    return _asked((path,), f"the host's, {path}") if path else None


def install_qemu(apt: PrivateApt, root: Path, release: str) -> tuple[Qemu, list[Path]]:
    """Unpack a QEMU with all its libraries; returns the packages, too.

    It runs on its own C library, through that one's loader, so the host's does not matter.

    Raises:
        UnavailableError: The mirror's is too old.
        PackageError: It can't be fetched.
    """
    packages = apt.download_closure([PACKAGE], release=release)
    unpack_anew(packages, root)
    shares = [folder for name in ("qemu", "seabios") if (folder := root / "usr/share" / name).is_dir()]
    argv = (
        str(root / "lib64/ld-linux-x86-64.so.2"),
        "--library-path",
        ":".join(str(root / folder) for folder in LIBRARY_FOLDERS),
        str(root / "usr/bin" / PROGRAM),
        *(option for folder in shares for option in ("-L", str(folder))),
    )
    qemu = _asked(argv, f"Debian's {release or 'package'}, unpacked")
    if qemu is None:
        raise UnavailableError(
            f"the mirror's QEMU is older than {OLDEST[0]}, which is needed", hint=f"install a newer {PROGRAM}"
        )
    return qemu, packages


def _asked(argv: Sequence[str], origin: str) -> Qemu | None:
    try:
        done = subprocess.run(
            [*argv, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ANSWER_WITHIN_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise LabError(f"{PROGRAM} ({origin}) can't be run: {error}") from None
    version = parse_version(done.stdout)
    if version < OLDEST:
        return None
    return Qemu(argv=tuple(argv), version=".".join(map(str, version)), origin=origin)


def accelerator_options(accelerator: str) -> list[str]:
    """Options that choose how guest code runs."""
    if accelerator == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    # Without "enhanced rep movsb": the kernel would copy with it, and it is emulated byte by byte.
    return ["-accel", "tcg,thread=single", "-cpu", "max,-erms,-fsrm"]


def bare_options(shape: GuestShape, memory_mib: int) -> list[str]:
    """Options that every guest has: no network, no display, no monitor, nothing by default."""
    return [
        *shape.options(memory_mib),
        *("-m", str(memory_mib), "-nodefaults", "-no-user-config"),
        *("-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny"),
    ]


def machine_options(
    shape: GuestShape, *, memory_mib: int, image: Path, initrd: Path, append: str
) -> list[str]:
    """Options of a guest that boots a kernel."""
    return [
        *bare_options(shape, memory_mib),
        *("-kernel", str(image), "-initrd", str(initrd), "-append", append),
    ]
