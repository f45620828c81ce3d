import io
import subprocess
import tarfile

import pytest

from schedtuna.errors import UnavailableError
from schedtuna.lab.build.compiler import clang_version, newest
from schedtuna.lab.build.examples import (
    MANIFEST,
    Examples,
    choose_source,
    find_examples,
    read_examples,
    unpack_source,
)
from schedtuna.lab.build.packages import OfferedPackage, PackageError
from schedtuna.lab.store import Kernel


def sources(*rows):
    return [OfferedPackage(f"linux-source-{series}", version) for series, version in rows]


def test_the_sources_are_those_of_the_kernels_own_version():
    rows = sources(("7.2", "7.2.12-1~bpo13+1"), ("7.2", "7.2.13-1"), ("7.3", "7.3.4-1"))
    assert choose_source(rows, "7.2.13+deb14-cloud-amd64").version == "7.2.13-1"


def test_where_they_are_gone_the_nearest_of_the_series_do():
    rows = sources(("6.18", "6.18.9-1"), ("6.18", "6.18.20-1"), ("6.19", "6.19.1-1"))
    assert choose_source(rows, "6.18.15").version == "6.18.20-1"


def test_another_series_never_does():
    with pytest.raises(UnavailableError, match=r"no linux-source-6\.17"):
        choose_source(sources(("6.18", "6.18.9-1")), "6.17.2-cloud-amd64")


def test_the_newest_clang_of_a_mirror_is_taken_and_an_old_one_refused():
    rows = [OfferedPackage(f"clang-{end}", "1") for end in ("9", "16", "19", "19-doc", "tidy")]
    assert newest(rows) == 19
    with pytest.raises(UnavailableError, match="no clang 17"):
        newest(rows[:2])


def test_what_is_not_a_compiler_has_no_version(tmp_path):
    assert clang_version("/bin/true") == 0
    assert clang_version(tmp_path / "none") == 0


def archive(files, mode):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


def package(tmp_path, files):
    """A .deb as linux-source is: a compressed source tree in /usr/src."""
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: linux-source-7.2\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: x\n"
    )
    (root / "usr/src").mkdir(parents=True)
    (root / "usr/src/linux-source-7.2.tar.xz").write_bytes(archive(files, "w:xz"))
    subprocess.run(["dpkg-deb", "--build", root, tmp_path / "a.deb"], check=True, capture_output=True)
    return tmp_path / "a.deb"


def test_only_what_the_build_reads_is_unpacked(tmp_path):
    top = "linux-source-7.2"
    wanted = ("tools/sched_ext/Makefile", "tools/lib/bpf/bpf.c", "kernel/bpf/disasm.c", "scripts/bpf_doc.py")
    other = ("tools/perf/perf.c", "kernel/bpf/core.c", "drivers/a.c")
    deb = package(tmp_path, {f"{top}/{name}": b"x" for name in (*wanted, *other)})
    tree = unpack_source(deb, tmp_path / "out")
    assert {str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file()} == set(wanted)


def test_a_package_without_the_examples_or_a_damaged_one_is_refused(tmp_path):
    with pytest.raises(PackageError, match="no tools/sched_ext"):
        unpack_source(package(tmp_path, {"linux-source-7.2/tools/lib/a.c": b"x"}), tmp_path / "out")
    (tmp_path / "b.deb").write_bytes(b"not a package")
    with pytest.raises(PackageError):
        unpack_source(tmp_path / "b.deb", tmp_path / "out2")


def test_examples_are_found_by_name_for_the_kernel_that_they_were_built_for(tmp_path):
    def kernel(version):
        image = tmp_path / "kernels" / version / "vmlinuz"
        return Kernel(version=version, image=image, config=image, sha256="", origin="")

    built = Examples(source="linux-source-7.2=7.2.13-1", source_sha256="", clang=19, names=("scx_a", "scx_b"))
    folder = tmp_path / "schedulers/7.2.13"
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(built.model_dump_json())
    (folder / "scx_a").touch()
    assert find_examples(kernel("7.2.13")) == {"scx_a": folder / "scx_a"}  # scx_b is gone
    assert find_examples(kernel("6.18.15")) == {}
    (folder / MANIFEST).write_text("{")
    assert read_examples(kernel("7.2.13")) is None
