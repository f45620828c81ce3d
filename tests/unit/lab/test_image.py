import io
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from schedtuna.lab.errors import LabError
from schedtuna.lab.image import (
    GUEST_PROGRAMS,
    OWN,
    LayerFile,
    _own,
    compile_python,
    file_entry,
    is_compiled,
    is_dynamic,
    link_entry,
    parse_loader,
    text_entry,
    write_layer,
)
from schedtuna.resources import resource_path


def archive(layer):
    file = io.BytesIO()
    write_layer(layer, file)
    return file.getvalue()


def test_another_program_reads_what_was_written(tmp_path):
    cpio = shutil.which("cpio")
    if cpio is None:
        pytest.skip("no cpio here")
    (tmp_path / "odd").write_bytes(b"\0\1\2 odd length")
    data = archive(
        {
            "a/b/file": file_entry(tmp_path / "odd"),
            "init": text_entry("#!/bin/sh\n", executable=True),
            "a/link": link_entry("b/file"),
        }
    )
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run([cpio, "-id", "--quiet"], input=data, cwd=out, check=True)
    assert (out / "a/b/file").read_bytes() == b"\0\1\2 odd length"
    assert (out / "a/link").readlink() == Path("b/file")
    assert stat.S_IMODE((out / "init").stat().st_mode) == 0o755


def test_two_archives_in_a_row_start_where_the_kernel_looks_for_them():
    data = archive({"a": text_entry("x")})
    assert len(data) % 4096 == 0
    assert (data + archive({"b": text_entry("y")}))[len(data) :].startswith(b"070701")


def test_the_same_layer_is_the_same_bytes_whatever_the_order_and_the_times(tmp_path):
    file = tmp_path / "file"
    file.write_text("content")
    first = archive({"a": file_entry(file), "b": text_entry("x")})
    os.utime(file, (1, 1))
    assert archive({"b": text_entry("x"), "a": file_entry(file)}) == first


def test_devices_keep_their_numbers():
    data = archive({"console": LayerFile(stat.S_IFCHR | 0o600, device=(5, 1))})
    fields = data[6 : 6 + 13 * 8]
    assert [int(fields[at : at + 8], 16) for at in (8, 72, 80)] == [stat.S_IFCHR | 0o600, 5, 1]


def test_only_programs_of_the_loader_are_dynamic(tmp_path):
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "short").write_bytes(b"\x7fELF\x02")
    assert is_dynamic(Path(sys.executable).resolve())
    assert not is_dynamic(tmp_path / "script")
    assert not is_dynamic(tmp_path / "short")


def test_the_loaders_list_is_read():
    text = (
        "\tlinux-vdso.so.1 (0x00007f)\n\tlibm.so.6 => /lib/libm.so.6 (0x00007f)\n"
        "\t/lib64/ld-linux-x86-64.so.2 => /root/lib64/ld-linux-x86-64.so.2 (0x00007f)\n"
    )
    assert parse_loader(text) == {"libm.so.6": Path("/lib/libm.so.6")}


def test_programs_that_an_earlier_version_compiled_are_not_taken(tmp_path):
    folder = tmp_path / OWN
    folder.mkdir(parents=True)
    for source in map(resource_path, GUEST_PROGRAMS):
        shutil.copy(source, folder)
        (folder / f"{source.stem}.pyc").write_bytes(b"compiled")
    assert {name.rpartition(".")[2] for name in _own(tmp_path)} == {"pyc"}
    (folder / "relay.py").write_text("# of an earlier version")
    assert [*_own(tmp_path)] == [f"{OWN}/guestd.pyc", f"{OWN}/relay.py"]


def test_a_compilation_that_did_not_end_is_done_again(tmp_path):
    """Its bytecode is not checked later: what is missing or old in it would show in guests alone."""
    python = tmp_path / "usr/bin/python3"
    python.parent.mkdir(parents=True)
    python.touch()
    (tmp_path / "lib64").mkdir()
    loader = tmp_path / "lib64/ld-linux-x86-64.so.2"
    # In the place of the guest's own Python: compiles what is in the folder that is named last.
    loader.write_text("#!/bin/sh\nfor last; do :; done\nfor f in $last/*.py; do touch ${f%py}pyc; done\n")
    loader.chmod(0o755)
    compile_python(tmp_path)
    assert is_compiled(tmp_path)
    loader.write_text(f"{loader.read_text()}exit 1\n")
    with pytest.raises(LabError):
        compile_python(tmp_path)
    assert not is_compiled(tmp_path)
