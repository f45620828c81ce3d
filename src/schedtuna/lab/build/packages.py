"""Which packages does this host's own mirror have, of other suites too, without touching its apt?

A private view: own source list, own lists and caches, an empty list of installed packages. Mirror,
keyring, proxies and other settings of transport come from the host's configuration. apt checks
every package against the signed lists.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from schedtuna.errors import UnavailableError
from schedtuna.files import copy_file, make_folder, move, remove, remove_folder, write_text
from schedtuna.lab.errors import LabError

FRESH_S = 24 * 3600.0  # lists younger than this are not fetched again
_TIMEOUT_S = 1800.0
_KEEP = ("Acquire::", "APT::Architecture")  # settings of the host that hold in the private view


class PackageError(LabError):
    """A package can't be found, fetched or unpacked."""


@dataclass(frozen=True)
class Mirror:
    """Where the host gets its packages.

    Attributes:
        uri: The repository's address.
        codename: The suite that is the host's own release, such as ``bookworm``.
        keyring: What its lists are signed by; empty: any key that apt trusts.
    """

    uri: str
    codename: str
    keyring: str = ""


@dataclass(frozen=True)
class OfferedPackage:
    """A package that a suite offers."""

    name: str
    version: str


def host_mirror() -> Mirror:
    """Return the mirror of the host's own release.

    Raises:
        UnavailableError: No apt, no Debian, or its own release is in no source list.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise UnavailableError(
            "the lab's parts come from Debian packages, and this machine has no apt",
            hint="set the lab up on Debian",
        )
    codename = _os_release().get("VERSION_CODENAME", "")
    fields = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SOURCESENTRY)"
    listed = _output(
        ["apt-get", "indextargets", "--no-release-info", "--format", fields, "Identifier: Packages"]
    )
    for row in listed.splitlines():
        uri, release, component, entry = row.split("|")
        if release == codename and component == "main":
            file = Path(entry.rpartition(":")[0])
            return Mirror(uri, codename, find_keyring(file.read_text() if file.exists() else "", uri))
    raise UnavailableError(
        f"apt's source lists have no main component of {codename or 'this release'}",
        hint="`apt-get indextargets` shows what they have",
    )


def find_keyring(text: str, uri: str) -> str:
    """Return the Signed-By of a source list's entry for a repository; empty where it has none."""
    for stanza in re.split(r"\n\s*\n", text):
        if uri.rstrip("/") not in stanza:
            continue
        found = re.search(r"^Signed-By:\s*(/\S+)", stanza, re.MULTILINE | re.IGNORECASE)
        found = found or re.search(
            r"^deb\s+\[[^]]*signed-by=(/[^]\s]+)[^]]*\]\s+" + re.escape(uri.rstrip("/")), stanza, re.MULTILINE
        )
        if found:
            return found[1]
    return ""


def _os_release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text().splitlines()
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


class PrivateApt:
    """A view of some suites of a mirror in a folder of its own.

    Args:
        folder: Where its lists and caches are.
        mirror: What to read.
        suites: Such as ``trixie-backports``; later ones are no better than earlier ones.
        kept: Where packages are that were fetched before, and need not be again.
    """

    def __init__(
        self, folder: Path, mirror: Mirror, suites: Sequence[str], *, kept: Path | None = None
    ) -> None:
        self.folder = folder
        self._kept = kept
        self._environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C"}
        for name in ("lists/partial", "cache/archives/partial"):
            make_folder(folder / name)
        write_text(folder / "status", "")
        write_text(folder / "lab.sources", source_list(mirror, suites))
        host = _output(["apt-config", "dump"])
        write_text(folder / "apt.conf", configuration(folder, host))

    def refresh(self) -> None:
        """Fetch the lists where they are old.

        Raises:
            PackageError: The mirror can't be reached, or lacks a suite.
        """
        stamp = self.folder / "refreshed"
        wanted = (self.folder / "lab.sources").read_text()
        if stamp.exists() and stamp.read_text() == wanted and time.time() - stamp.stat().st_mtime < FRESH_S:
            return
        self._apt(["apt-get", "update", "-qq", "-o", "APT::Update::Error-Mode=any"])
        write_text(stamp, wanted)

    def candidates(self, prefixes: Iterable[str]) -> list[OfferedPackage]:
        """Return the packages that can really be fetched and whose names begin so."""
        names: set[str] = set()
        for prefix in prefixes:
            names.update(self._apt(["apt-cache", "pkgnames", prefix]).split())
        return parse_madison(self._apt(["apt-cache", "madison", *sorted(names)])) if names else []

    def download(self, packages: Sequence[str], into: Path) -> list[Path]:
        """Fetch packages, each a name or ``NAME=VERSION``, but not what they depend on, nor what is there."""
        make_folder(into)
        found = parse_hashes(self._apt(["apt-get", "download", "--print-uris", "-qq", *packages]))
        missing = [name for name, digest in found.items() if not is_whole(into / name, digest)]
        for name in missing:
            remove(into / name, missing_ok=True)
        if missing:
            self._apt(["apt-get", "download", "-qq", *packages], folder=into)
        return sorted(into / name for name in found)

    def planned(self, packages: Sequence[str], *, release: str = "") -> list[tuple[str, int]]:
        """Return the file names and sizes of packages and all that they depend on, but for what is there."""
        text = self._plan(packages, release)
        there = {name for name, digest in parse_hashes(text).items() if self._found(name, digest)}
        return [row for row in parse_uris(text) if row[0] not in there]

    def download_closure(self, packages: Sequence[str], *, release: str = "") -> list[Path]:
        """Fetch packages with all that they depend on; returns the files, in the view's cache."""
        cache = self.folder / "cache/archives"
        plan = parse_hashes(self._plan(packages, release))
        for name, digest in plan.items():
            found = self._found(name, digest)
            if found is not None and found.parent != cache:
                copy_file(found, cache / name)
        self._apt([*self._install(release), "--download-only", *packages])
        return [cache / name for name in plan]

    def _plan(self, packages: Sequence[str], release: str) -> str:
        """What apt would fetch if it had nothing yet: it leaves out what is in its cache."""
        empty = self.folder / "cache/none"
        make_folder(empty / "partial")
        return self._apt(
            [*self._install(release), "--print-uris", "-o", f"Dir::Cache::archives={empty}", *packages]
        )

    def _found(self, name: str, digest: str) -> Path | None:
        """Where a package is that need not be fetched."""
        folders = [self.folder / "cache/archives", *([self._kept] if self._kept else [])]
        return next((folder / name for folder in folders if is_whole(folder / name, digest)), None)

    @staticmethod
    def _install(release: str) -> list[str]:
        wanted = ["-t", release] if release else []
        return ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *wanted]

    def _apt(self, argv: Sequence[str], *, folder: Path | None = None) -> str:
        return _output(argv, environment=self._environment, folder=folder)


def source_list(mirror: Mirror, suites: Sequence[str]) -> str:
    """Write a deb822 source list."""
    signed = f"Signed-By: {mirror.keyring}\n" if mirror.keyring else ""
    return f"Types: deb\nURIs: {mirror.uri}\nSuites: {' '.join(suites)}\nComponents: main\n{signed}"


def configuration(folder: Path, host: str) -> str:
    """Write apt's configuration for a view: the host's transport settings, no hooks, own folders.

    APT_CONFIG is read first, so it can switch off the host's own files, which may hold hooks.
    """
    kept = [line for line in host.splitlines() if line.startswith(_KEEP)]
    own = {
        "Dir::Etc::Main": "/dev/null",
        "Dir::Etc::Parts": "/dev/null",
        "Dir::Etc::SourceList": folder / "lab.sources",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": folder / "status",
        "Dir::State::extended_states": folder / "extended_states",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
        "Acquire::ForceHash": "SHA256",  # else `install --print-uris` tells MD5
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "1",  # the lab has a lock of its own
    }
    return "\n".join([*kept, *(f'{key} "{value}";' for key, value in own.items())]) + "\n"


def parse_madison(text: str) -> list[OfferedPackage]:
    """Read ``apt-cache madison``: ``name | version | source`` lines, newest first per name."""
    rows = [[part.strip() for part in line.split("|")] for line in text.splitlines() if line.count("|") == 2]
    return list(dict.fromkeys(OfferedPackage(row[0], row[1]) for row in rows if "Packages" in row[2]))


def parse_uris(text: str) -> list[tuple[str, int]]:
    """Read ``--print-uris``: ``'URI' FILE SIZE HASH`` lines."""
    rows = [line.split() for line in text.splitlines() if line.startswith("'")]
    return [(row[1], int(row[2])) for row in rows]


def parse_hashes(text: str) -> dict[str, str]:
    """Read ``--print-uris`` likewise: file name -> ``SHA256:...``; apt leaves out what it knows none of."""
    rows = [line.split() for line in text.splitlines() if line.startswith("'")]
    return {row[1]: row[3] if len(row) > 3 else "" for row in rows}


def is_whole(file: Path, digest: str) -> bool:
    """Whether a file is there and is what the mirror's signed lists say it is."""
    algorithm, _, wanted = digest.lower().partition(":")
    if not file.is_file() or algorithm not in hashlib.algorithms_guaranteed:
        return False
    with file.open("rb") as content:
        return hashlib.file_digest(content, algorithm).hexdigest() == wanted


def unpack_anew(packages: Iterable[Path], root: Path) -> None:
    """Unpack packages into a folder that is there only once all of them are.

    Raises:
        PackageError: One is damaged, or the disk is full.
    """
    staged = root.with_name(f".{root.name}")
    remove_folder(staged, missing_ok=True)
    unpack(packages, staged)
    remove_folder(root, missing_ok=True)
    move(staged, root)


def unpack(packages: Iterable[Path], root: Path) -> None:
    """Unpack packages into a merged-/usr tree, without running anything of theirs.

    Raises:
        PackageError: One is damaged, or the disk is full.
    """
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for package in packages:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as reader:
            # Without this option tar would replace the links to /usr by folders.
            options = ["--keep-directory-symlink", "--no-same-owner", "--exclude=./dev/*"]
            done = subprocess.run(
                ["tar", "-x", "-C", root, *options],
                stdin=reader.stdout,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode or reader.returncode:
            raise PackageError(f"{package.name} can't be unpacked: {done.stderr.strip()[-300:]}")


def _output(
    argv: Sequence[str], *, environment: dict[str, str] | None = None, folder: Path | None = None
) -> str:
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        lines = [
            line for line in done.stderr.splitlines() if line.startswith("E:")
        ] or done.stderr.splitlines()
        raise PackageError(
            f"{argv[0]} {argv[1]} failed: {' '.join(lines)[-400:]}",
            hint="is the mirror reachable, and the disk not full? `apt-get update` must work here",
        )
    return done.stdout
