import pytest
from tests.unit.kernel.btf_bytes import RIGHT, WRONG, kernel_functions

from schedtuna.kernel.kfuncs import is_refusal, uncallable_kfuncs


@pytest.mark.parametrize(("functions", "names"), [(WRONG, ["scx_bpf_kick_cpu"]), (RIGHT, [])])
def test_functions_that_show_the_hidden_argument_are_named(tmp_path, functions, names):
    (tmp_path / "vmlinux").write_bytes(kernel_functions(functions))
    assert uncallable_kfuncs(tmp_path / "vmlinux") == names


def test_where_there_is_no_btf_nothing_is_wrong_with_it(tmp_path):
    assert uncallable_kfuncs(tmp_path / "vmlinux") == []
    (tmp_path / "vmlinux").write_bytes(b"\x7fELF, but no BTF")
    assert uncallable_kfuncs(tmp_path / "vmlinux") == []


def test_libbpfs_words_are_a_refusal_and_the_verifiers_are_not():
    assert is_refusal(
        "extern (func ksym) 'scx_bpf_kick_cpu': func_proto [19] incompatible with vmlinux [48729]"
    )
    assert not is_refusal("libbpf: prog 'simple_enqueue': BPF program load failed: Permission denied")
