"""The kernel's own example schedulers, built for a kernel of the lab from Debian's linux-source.

They are not shipped: the sources are those of the very kernel that guests boot, fetched from the host's
mirror, and its BTF is asked of a guest. What is kept is the programs, and what they were made of.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from schedtuna.errors import UnavailableError
from schedtuna.files import copy_file, make_folder, move, remove, remove_folder, write_text
from schedtuna.lab.boot import boot
from schedtuna.lab.build.compiler import clang_version, host_clang, install_clang
from schedtuna.lab.build.kernels import SUITES, version_key
from schedtuna.lab.build.packages import OfferedPackage, PackageError, PrivateApt, host_mirror
from schedtuna.lab.errors import LabError
from schedtuna.lab.store import Kernel, Lab, locked, sha256_of
from schedtuna.lab.vm import GuestSpec
from schedtuna.machine.labfolder import lab_directory

FOLDER = "schedulers"
BPFTOOL = "bpftool"
MANIFEST = "built.json"
_SOURCE = "linux-source-"
# Of the source tree: tools/sched_ext, and what its Makefile, libbpf's and bpftool's read.
_WANTED = re.compile(
    r"(tools/(arch|bpf|build|include|lib|scripts|sched_ext)/|include/uapi/linux/|"
    r"kernel/bpf/disasm\.[ch]$|scripts/bpf_doc\.py$)"
)
# What the host must have: a command or a header, and Debian's package.
_NEEDED = (
    ("gcc", "gcc"),
    ("make", "make"),
    ("/usr/include/stdio.h", "libc6-dev"),
    ("/usr/include/libelf.h", "libelf-dev"),
    ("/usr/include/zlib.h", "zlib1g-dev"),
)
_MAKE_WITHIN_S = 1800.0
_LOG_LINES = 30
_BTF = "vmlinux.btf"
Say = Callable[[str], None]


class Examples(BaseModel):
    """What was built for a kernel.

    Attributes:
        source: The package with the sources, and its version.
        source_sha256: Of that package.
        clang: Major version of the compiler.
        names: The schedulers.
        failed: Those that did not compile.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    source_sha256: str
    clang: int
    names: tuple[str, ...]
    failed: tuple[str, ...] = ()


def find_examples(kernel: Kernel) -> dict[str, Path]:
    """Return the example schedulers that are built for a kernel of the lab, by name."""
    folder = _folder(kernel)
    built = read_examples(kernel)
    return {name: folder / name for name in built.names if (folder / name).is_file()} if built else {}


def read_examples(kernel: Kernel) -> Examples | None:
    """Return what was built for a kernel; None where nothing was."""
    try:
        return Examples.model_validate_json((_folder(kernel) / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None


def _folder(kernel: Kernel) -> Path:
    # kernels/VERSION/vmlinuz and schedulers/VERSION/scx_*, in the same lab
    return kernel.image.parents[2] / FOLDER / kernel.version


def install_examples(
    lab: Lab, version: str | None = None, *, directory: Path | None = None, say: Say = lambda _text: None
) -> Examples:
    """Build the examples for a kernel of the lab, unless they are there.

    Args:
        lab: What is installed.
        version: Of the kernel; default: the lab's default one.
        directory: Where the lab is; default: `lab_directory()`.
        say: Gets a line for every step.

    Raises:
        UnavailableError: The host lacks a compiler, or the mirror the sources.
        LabError: They can't be fetched, or none compiles; the message has the compiler's words.
    """
    root = directory or lab_directory()
    kernel = lab.kernel(version)
    if found := read_examples(kernel):
        say(f"example schedulers for {kernel.version}: already there")
        return found
    _require_tools()
    with locked(root):
        return _build(lab, kernel, root, say)


def _build(lab: Lab, kernel: Kernel, root: Path, say: Say) -> Examples:
    mirror = host_mirror()
    suites = (mirror.codename, f"{mirror.codename}-backports")
    apt = PrivateApt(root / "apt" / "kernels", mirror, SUITES)
    apt.refresh()
    source = choose_source(apt.candidates([_SOURCE]), kernel.version)
    clang = host_clang()
    if clang is None and clang_version(root / "clang" / "clang") == 0:
        tools = PrivateApt(root / "apt" / "host", mirror, suites)
        tools.refresh()
        say("fetching clang")
        clang, packages = install_clang(tools, root / "clang")
        for package in packages:
            remove(package, missing_ok=True)
    clang = clang or root / "clang" / "clang"
    with tempfile.TemporaryDirectory(prefix=".build-", dir=root) as scratch:
        work = Path(scratch)
        say(f"fetching {source.name} {source.version}")
        (package,) = apt.download([f"{source.name}={source.version}"], work / "package")
        say("unpacking it")
        tree = unpack_source(package, work / "source")
        btf = _read_btf(lab, kernel, work / "share")
        say("compiling the example schedulers")
        log = _make(tree, clang, btf, work / "out")
        programs = sorted((work / "out/build/bin").glob("scx_*"))
        if not programs:
            raise LabError(f"the example schedulers do not compile: {_last_lines(log)}")
        built = Examples(
            source=f"{source.name}={source.version}",
            source_sha256=sha256_of(package),
            clang=clang_version(clang),
            names=tuple(program.name for program in programs),
            failed=tuple(sorted(_declared(tree) - {program.name for program in programs})),
        )
        _keep([*programs, work / "out/build/sbin" / BPFTOOL], built, _folder(kernel))
    say(f"example schedulers for {kernel.version}: {' '.join(built.names)}")
    if built.failed:
        say(f"not compiled: {' '.join(built.failed)}")
    return built


def choose_source(candidates: Iterable[OfferedPackage], kernel: str) -> OfferedPackage:
    """Return the sources of a kernel's version; where they are gone, those of the nearest of its series.

    Raises:
        UnavailableError: The mirror has none of its series.
    """
    wanted = version_key(kernel)
    rows = [row for row in candidates if row.name == f"{_SOURCE}{wanted[0]}.{wanted[1]}"]
    if not rows:
        raise UnavailableError(
            f"the mirror has no {_SOURCE}{wanted[0]}.{wanted[1]}, the sources of kernel {kernel}",
            hint="set the lab up with a kernel of the mirror: schedtuna lab setup --schedulers --kernel auto",
        )
    distance = {row: abs(_patch(version_key(row.version)) - _patch(wanted)) for row in rows}
    return min(rows, key=lambda row: distance[row])


def _patch(version: tuple[int, ...]) -> int:
    return version[2] if len(version) > 2 else 0


def _require_tools() -> None:
    missing = [package for what, package in _NEEDED if not (Path(what).exists() or shutil.which(what))]
    if missing:
        raise UnavailableError(
            f"the example schedulers are compiled here, and {', '.join(missing)} is missing",
            hint=f"apt-get install -y {' '.join(missing)}",
        )


def unpack_source(package: Path, into: Path) -> Path:
    """Unpack what the build needs of a linux-source package; returns the source tree.

    Raises:
        PackageError: It is damaged, or holds no source tree.
    """
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        try:
            with tarfile.open(fileobj=reader.stdout, mode="r|") as outer:
                for member in outer:
                    if member.name.endswith(".tar.xz"):
                        _unpack_tree(outer, member, into)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise PackageError(f"{package.name} can't be unpacked: {error}") from None
    trees = list(into.glob("*")) if into.is_dir() else []
    if len(trees) != 1 or not (trees[0] / "tools/sched_ext/Makefile").is_file():
        raise PackageError(f"{package.name} has no tools/sched_ext")
    return trees[0]


def _unpack_tree(outer: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    with tarfile.open(fileobj=outer.extractfile(member), mode="r|xz") as tree:
        if hasattr(tarfile, "data_filter"):
            tree.extraction_filter = tarfile.data_filter
        for file in tree:
            if _WANTED.match(file.name.partition("/")[2]):
                tree.extract(file, into)


def _read_btf(lab: Lab, kernel: Kernel, share: Path) -> Path:
    """Fetch the types of a kernel out of a guest that runs it."""
    share.mkdir()
    guest, _ = boot(lab, GuestSpec(kernel=kernel.version, cpus=1, share=share))
    with guest:
        guest.run(["cp", "/sys/kernel/btf/vmlinux", _BTF])
        guest.fetch_changes()
    if not (share / _BTF).exists():
        raise UnavailableError(f"kernel {kernel.version} has no BTF (CONFIG_DEBUG_INFO_BTF)")
    return share / _BTF


def _make(tree: Path, clang: Path, btf: Path, out: Path) -> str:
    """Compile as many as compile; returns what was printed."""
    out.mkdir()
    argv = ["make", "-k", f"-j{os.cpu_count() or 1}", "-C", str(tree / "tools/sched_ext")]
    # llvm-strip only makes bpftool smaller, and is in another package than clang.
    variables = {"CLANG": clang, "LLVM_STRIP": "true", "VMLINUX_BTF": btf, "O": out}
    try:
        done = subprocess.run(
            [*argv, *(f"{name}={value}" for name, value in variables.items())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_MAKE_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"the example schedulers did not compile within {_MAKE_WITHIN_S:g} s") from None
    return done.stdout


def _declared(tree: Path) -> set[str]:
    return {file.name.removesuffix(".bpf.c") for file in (tree / "tools/sched_ext").glob("scx_*.bpf.c")}


def _keep(programs: Sequence[Path], built: Examples, folder: Path) -> None:
    """Put the programs into the lab, whole or not at all."""
    staged = folder.with_name(f".{folder.name}")
    remove_folder(staged, missing_ok=True)
    make_folder(staged)
    for program in programs:
        if program.is_file():
            copy_file(program, staged / program.name, mode=0o755)
    write_text(staged / MANIFEST, built.model_dump_json(indent=2) + "\n")
    remove_folder(folder, missing_ok=True)
    move(staged, folder)


def _last_lines(log: str) -> str:
    lines = [line for line in log.splitlines() if "rror" in line] or log.splitlines()
    return "\n".join(lines[-_LOG_LINES:])
