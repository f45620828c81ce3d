"""Where the lab's files are, and what is installed there."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from schedtuna.configfile import parse_json
from schedtuna.errors import UnavailableError
from schedtuna.files import (
    make_folder,
    open_for_writing,
    remove,
    remove_folder,
    require_trusted,
    write_text,
)
from schedtuna.files.versions import StoredFormat
from schedtuna.machine.labfolder import LAB_VARIABLE, STATE_NAME, lab_directory

STORED = StoredFormat(UnavailableError, key="format_version")
SETUP_HINT = "schedtuna lab setup"
_OWN_LAB = f"{LAB_VARIABLE} must name a folder that only root can write; unset it to use root's own lab"


class Kernel(BaseModel):
    """A kernel that guests can boot.

    Attributes:
        version: As `uname -r` says it.
        image: Its vmlinuz.
        unpacked: The same, unpacked (vmlinux), where guests can boot that: it saves a second.
        config: Its build configuration, which libbpf reads in the guest.
        sha256: Of the image.
        origin: Where it came from, for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    image: Path
    unpacked: Path | None = None
    config: Path
    sha256: str
    origin: str


class Qemu(BaseModel):
    """A QEMU that guests run on: the command that starts it, up to its options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    argv: tuple[str, ...]
    version: str
    origin: str


class Lab(BaseModel):
    """What is installed.

    Attributes:
        format_version: Version of this format.
        qemu: What runs guests.
        kernels: What they boot, by version.
        default_kernel: The version that is booted where none is asked for.
        guest_root: The unpacked packages that the guest's programs come from.
        image: The guest's files, as an initramfs.
        image_key: Hash of all that the image was made of.
        accelerator: ``kvm`` where a guest really booted with it, else ``tcg``.
        packages: SHA-256 of every package that was unpacked, by file name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = STORED.newest
    qemu: Qemu
    kernels: dict[str, Kernel]
    default_kernel: str
    guest_root: Path
    image: Path
    image_key: str
    accelerator: str
    packages: dict[str, str] = {}

    def kernel(self, version: str | None = None) -> Kernel:
        """Return an installed kernel; default: the lab's default one.

        Raises:
            UnavailableError: It is not installed.
        """
        wanted = version or self.default_kernel
        matching = [kernel for name, kernel in self.kernels.items() if same_version(name, wanted)]
        if not matching:
            raise UnavailableError(
                f"kernel {wanted} is not in the lab: it has {', '.join(self.kernels)}",
                hint=f"{SETUP_HINT} --kernel {wanted}",
            )
        return matching[-1]


def same_version(version: str, wanted: str) -> bool:
    """Whether a kernel is the one that is meant: ``6.18.15`` means ``6.18.15+deb13-cloud-amd64``."""
    return version == wanted or version.startswith((f"{wanted}+", f"{wanted}-"))


def read_lab(directory: Path | None = None) -> Lab:
    """Return what is installed.

    Raises:
        UnavailableError: The lab is not set up, or its files are gone; or this process has privilege, and
            others could change what the lab would run.
    """
    folder = directory or lab_directory()
    if (folder / STATE_NAME).exists():
        require_trusted(folder / STATE_NAME, "as what the lab runs", hint=_OWN_LAB)
    try:
        content = parse_json((folder / STATE_NAME).read_bytes())
        lab = Lab.model_validate(STORED.upgrade(content, folder / STATE_NAME))
    except FileNotFoundError:
        raise UnavailableError(f"the lab is not set up: {folder} is empty", hint=SETUP_HINT) from None
    except (OSError, ValueError) as error:  # pydantic's ValidationError is one
        raise UnavailableError(f"the lab in {folder} can't be read: {error}", hint=SETUP_HINT) from None
    require_trusted(Path(lab.qemu.argv[0]), "as the lab's QEMU", hint=_OWN_LAB)
    images = [path for kernel in lab.kernels.values() for path in (kernel.image, kernel.unpacked)]
    for file in (lab.image, *(path for path in images if path is not None)):
        if not os.path.exists(file):  # noqa: PTH110 - False for what no file can be called, too
            raise UnavailableError(f"the lab is incomplete: {file} is gone", hint=SETUP_HINT)
    return lab


def write_lab(lab: Lab, directory: Path) -> None:
    """Write down what is installed, whole or not at all."""
    write_text(directory / STATE_NAME, lab.model_dump_json(indent=2) + "\n")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Let one process at a time change the lab.

    Raises:
        UntrustedError: Somebody else owns the lab's folder or can write it.
    """
    make_folder(directory, by_path=True)  # apt, tar and QEMU get its path
    with os.fdopen(open_for_writing(directory / ".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def clean(directory: Path | None = None) -> int:
    """Remove the lab; returns the bytes that were freed.

    Only what the lab itself makes is removed, so that a folder named by mistake survives.

    Raises:
        UntrustedError: Somebody else owns the lab's folder or can write it.
        OSError: It can't be removed.
    """
    folder = directory or lab_directory()
    freed = size_of(folder)
    for name in (STATE_NAME, ".lock", *FOLDERS):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            remove_folder(path)
        else:
            remove(path, missing_ok=True)
    return freed - size_of(folder)


FOLDERS = ("apt", "packages", "qemu", "guest", "kernels", "images", "snapshots", "clang", "schedulers")


def size_of(path: Path) -> int:
    """Bytes of the regular files below a path."""
    if path.is_file() and not path.is_symlink():
        return path.stat().st_size
    files = (Path(at, name) for at, _, names in os.walk(path) for name in names)
    return sum(file.lstat().st_size for file in files if not file.is_symlink())


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
