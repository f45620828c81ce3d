"""BPF objects of others: what they lack is told, and nothing beside them is read or written."""

import shutil
import subprocess

import pytest

from schedtuna.errors import UnavailableError
from schedtuna.kernel.objects import BpfObject

SOURCE = """
#define SEC(name) __attribute__((section(name), used))
#ifndef BARE
struct sched_ext_ops { int (*enqueue)(void); char name[128]; };
SEC(".struct_ops.link") struct sched_ext_ops own_ops = { .name = "own" };
#endif
char _license[] SEC("license") = "GPL";
"""
CONSTANT = "volatile const unsigned char limit = 3;"


@pytest.fixture
def compiled(tmp_path):
    """Compiles a scheduler without programs, with these lines and options."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("no clang")

    def compile_(lines="", *options):
        (tmp_path / "own.c").write_text(SOURCE + lines)
        command = [
            clang,
            "-target",
            "bpf",
            "-O2",
            *options,
            "-c",
            tmp_path / "own.c",
            "-o",
            tmp_path / "own.o",
        ]
        subprocess.run(command, check=True)
        return (tmp_path / "own.o").read_bytes()

    return compile_


def test_without_constants_there_are_none_to_set(compiled):
    with BpfObject("own", content=compiled("", "-g")) as bpf:
        assert ".rodata" not in bpf.btf.sections
        bpf.set_constants({})
        with pytest.raises(KeyError, match=r"own has no limit in its section \.rodata"):
            bpf.set_constants({"limit": 1})


def test_a_constant_is_set_and_read(compiled):
    with BpfObject("own", content=compiled(CONSTANT, "-g")) as bpf:
        assert bpf.variable_bytes(".rodata", "limit") == b"\x03"
        bpf.set_constants({"limit": 7})
        assert bpf.variable_bytes(".rodata", "limit") == b"\x07"


def test_a_variable_outside_of_its_section_is_not_touched(compiled):
    with BpfObject("own", content=compiled(CONSTANT, "-g")) as bpf:
        offset, size = bpf.btf.sections[".rodata"]["limit"]
        bpf.btf.sections[".rodata"]["limit"] = (offset + 4096, size)
        with pytest.raises(UnavailableError, match=r"limit is not inside of \.rodata"):
            bpf.set_constants({"limit": 7})


def test_an_object_without_btf_is_refused(compiled):
    with pytest.raises(UnavailableError, match="own has no BTF"):
        BpfObject("own", content=compiled(CONSTANT, "-DBARE"))
