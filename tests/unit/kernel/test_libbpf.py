import ctypes.util
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from schedtuna.errors import UnavailableError
from schedtuna.kernel.libbpf import Libbpf, libbpf
from schedtuna.resources import resource_path


def test_the_library_that_ships_is_1_7_or_newer_and_brings_libelf():
    assert tuple(map(int, libbpf().version.split("."))) >= (1, 7)
    folder = resource_path("native/libbpf.so").parent
    assert (folder / "libelf.so.1").exists()
    mapped = Path("/proc/self/maps").read_text()
    assert str(folder / "libelf.so.1") in mapped or str((folder / "libelf.so.1").resolve()) in mapped


def test_its_messages_are_kept_and_not_printed(tmp_path, capfd):
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"no BTF at all")
    library = Libbpf(libbpf().path)
    assert not library.btf__parse(os.fsencode(damaged), None)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("path", ["/nonexistent.so", ctypes.util.find_library("z") or "libz.so.1"])
def test_a_library_that_is_not_a_libbpf_is_refused(path):
    with pytest.raises(UnavailableError, match="can't use") as caught:
        Libbpf(path)
    assert "SCHEDTUNA_LIBBPF" in caught.value.hint


def test_another_libbpf_can_be_chosen():
    shipped = str(resource_path("native/libbpf.so"))
    done = subprocess.run(
        [sys.executable, "-c", "from schedtuna.kernel.libbpf import libbpf; print(libbpf().path)"],
        env=os.environ | {"SCHEDTUNA_LIBBPF": shipped},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == shipped


def test_messages_after_a_handle_is_gone_do_no_harm(tmp_path):
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"no BTF at all")
    library = libbpf()
    Libbpf(library.path)
    gc.collect()
    assert not library.btf__parse(os.fsencode(damaged), None)
