"""Which kernels can the lab boot, and where do they come from?"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from schedtuna.errors import UnavailableError, UntrustedError, UsageError
from schedtuna.files import copy_file, make_folder, remove_folder
from schedtuna.lab.build.packages import OfferedPackage, PackageError, PrivateApt, unpack
from schedtuna.lab.store import Kernel, same_version, sha256_of

SUITES = ("trixie-backports", "sid")  # where Debian has kernels with sched_ext
PREFIXES = ("linux-binary-", "linux-base-", "linux-image-")
# What a guest needs built in, and why: it loads no modules.
NEEDED = {
    "SCHED_CLASS_EXT": "sched_ext",
    "DEBUG_INFO_BTF": "BTF, for BPF programs",
    "BPF_SYSCALL": "BPF",
    "BLK_DEV_INITRD": "the guest's files",
    "DEVTMPFS": "/dev",
    "CGROUPS": "control groups",
    "VIRTIO_PCI": "the guest's devices",
    "VIRTIO_CONSOLE": "the line to the guest",
    "SERIAL_8250_CONSOLE": "the console",
}
_SUFFIX = "-cloud-amd64"
_LONGEST_VERSION = 200


@dataclass(frozen=True)
class Available:
    """A kernel of the mirror, and the packages that hold its image and configuration."""

    version: str
    packages: tuple[str, ...]


def available(candidates: Iterable[OfferedPackage]) -> list[Available]:
    """Return the kernels of which every package that is needed can be fetched, newest first.

    Up to 6.18 ``linux-image-V`` holds image and configuration; from 6.19 on it is empty, and
    ``linux-binary-V`` and ``linux-base-V`` hold them.
    """
    there = {row.name: row.version for row in reversed(list(candidates))}
    found: dict[str, Available] = {}
    for name in there:
        kind, _, version = name.removeprefix("linux-").partition("-")
        if not version.endswith(_SUFFIX) or not version[:1].isdigit():
            continue
        if kind == "binary" and f"linux-base-{version}" in there:
            needed = [name, f"linux-base-{version}"]
        elif kind == "image" and version_key(version) < (6, 19):
            needed = [name]
        else:
            continue
        found[version] = Available(version, tuple(f"{each}={there[each]}" for each in needed))
    return sorted(found.values(), key=lambda row: version_key(row.version), reverse=True)


def version_key(version: str) -> tuple[int, ...]:
    """Return what orders kernels: the numbers before the first other character."""
    return tuple(int(part) for part in re.split(r"[^0-9.]", version)[0].split(".") if part)


def lacking(config: str) -> dict[str, str]:
    """Return what a build configuration lacks for the lab: option -> what it is for."""
    built_in = set(re.findall(r"^CONFIG_(\w+)=y$", config, re.MULTILINE))
    return {option: purpose for option, purpose in NEEDED.items() if option not in built_in}


def image_version(image: Path) -> str:
    """Return the version that a vmlinuz says it is (Documentation/arch/x86/boot.rst, kernel_version).

    Raises:
        UsageError: It is not a Linux image for x86.
    """
    try:
        with image.open("rb") as file:
            head = file.read(0x210)
            if head[0x202:0x206] != b"HdrS":
                raise UsageError(f"{image} is not a bootable Linux image for x86-64 (vmlinuz)")
            file.seek(struct.unpack_from("<H", head, 0x20E)[0] + 0x200)
            text = file.read(_LONGEST_VERSION).split(b"\0")[0].decode(errors="replace")
    except OSError as error:
        raise UsageError(f"{image} can't be read: {error.strerror}") from None
    version = text.split(" ")[0]
    if not re.fullmatch(r"[\w.+~-]+", version):
        raise UsageError(f"{image} does not say its version")
    return version


def host_kernel(release: str, boot: Path = Path("/boot")) -> tuple[Path, Path] | None:
    """Return the host's image and configuration, if a guest can boot it with sched_ext."""
    image, config = boot / f"vmlinuz-{release}", boot / f"config-{release}"
    try:
        usable = image.exists() and not lacking(config.read_text())
    except OSError:
        return None
    return (image, config) if usable else None


def install_file(image: Path, kernels: Path, *, origin: str = "", config: Path | None = None) -> Kernel:
    """Copy a kernel into the lab.

    Raises:
        UsageError: It is not a kernel, its configuration is not found, or lacks something.
    """
    version = image_version(image)
    beside = [config] if config else [image.with_name(f"config-{version}"), image.with_name("config")]
    found = next((path for path in beside if path is not None and path.is_file()), None)
    if found is None:
        raise UsageError(
            f"the build configuration of {image} is not beside it: expected {beside[0]}",
            hint=f"copy it there: a build leaves it as .config, distributions have /boot/config-{version}",
        )
    missing = lacking(found.read_text(errors="replace"))
    if missing:
        listed = ", ".join(f"CONFIG_{name}=y ({why})" for name, why in missing.items())
        raise UsageError(f"kernel {version} can't be used in the lab: it lacks {listed}")
    folder = kernels / version
    make_folder(folder)
    for source, name in ((image, "vmlinuz"), (found, "config")):
        if source != folder / name:
            copy_file(source, folder / name)
    return Kernel(
        version=version,
        image=folder / "vmlinuz",
        config=folder / "config",
        sha256=sha256_of(folder / "vmlinuz"),
        origin=origin or str(image),
    )


def choose(rows: list[Available], wanted: str | None) -> list[Available]:
    """Return the kernels that fit what is asked for, the newest first; default: all.

    Raises:
        UnavailableError: The mirror has none such.
    """
    matching = [row for row in rows if wanted is None or same_version(row.version, wanted)]
    if not matching:
        names = ", ".join(row.version.removesuffix(_SUFFIX) for row in rows) or "none"
        raise UnavailableError(
            f"the mirror has no complete kernel {wanted or 'with sched_ext'}", hint=f"it has: {names}"
        )
    return matching


def install_package(
    apt: PrivateApt, row: Available, kernels: Path, packages: Path
) -> tuple[Kernel, list[Path]]:
    """Fetch a kernel's packages and copy it into the lab; returns the packages, too.

    Raises:
        PackageError: It can't be fetched, or holds no kernel.
    """
    fetched = apt.download(row.packages, packages)
    scratch = kernels / f".{row.version}"
    try:
        remove_folder(scratch, missing_ok=True)
        unpack(fetched, scratch)
        folder = scratch / "usr/lib/modules" / row.version
        places = [(folder / "vmlinuz", folder / "config")]
        places += [(scratch / f"boot/vmlinuz-{row.version}", scratch / f"boot/config-{row.version}")]
        for image, config in places:
            if image.is_file() and config.is_file():
                return install_file(image, kernels, origin=" ".join(row.packages), config=config), fetched
    finally:
        with suppress(OSError, UntrustedError):
            remove_folder(scratch)
    raise PackageError(f"there is no kernel in {' '.join(row.packages)}")
