"""Which files have a scheduler, what is refused of them, and what is made of an object that others built."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
from tests.unit.sim.bpf.elf_writer import write_object
from tests.unit.sim.bpf.sources import KERNEL, SCHEDULER, compile_bpf

from schedtuna.errors import SchedtunaError, UnavailableError, UntrustedError, UsageError
from schedtuna.sim.bpf.c_source import source_of
from schedtuna.sim.bpf.compiled import cache_folder, find_library, library_key, prune
from schedtuna.sim.bpf.elf import Elf
from schedtuna.sim.bpf.embedded import embedded_objects
from schedtuna.sim.bpf.kernel import KernelTypes, parse_options, read_kernel
from schedtuna.sim.bpf.load import load_object, scheduler_in
from schedtuna.sim.bpf.translation import translate

DAMAGES = 300


def test_an_object_is_cut_out_of_a_loaders_program(scheduler: bytes, tmp_path: Path) -> None:
    other = write_object([("f", bytes(8))])
    path = tmp_path / "loader"
    path.write_bytes(
        Path("/bin/true").read_bytes() + b"\7" * 3 + other + b"padding" + scheduler + b"\x7fELF\x02\x01\x01"
    )
    assert list(embedded_objects(path.read_bytes())) == [other, scheduler]
    assert scheduler_in(path) == scheduler


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is no BPF object"),
        (b"\x7fELF\x02\x01\x01", "is no BPF object"),
        (write_object([("f", bytes(8))]), "none of which defines a scheduler"),
    ],
)
def test_a_file_without_a_scheduler_is_refused(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=expected):
        scheduler_in(path)


def test_operations_of_another_form_are_named(work: Path, tmp_path: Path) -> None:
    # The second form of Linux 7.3, in which CPUs have topological numbers.
    path = tmp_path / "object"
    path.write_bytes(
        compile_bpf(work, "cid", SCHEDULER.replace("struct sched_ext_ops", "struct sched_ext_ops_cid"))
    )
    with pytest.raises(UsageError, match="operations of sched_ext_ops_cid, which are not known here"):
        scheduler_in(path)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageError, match="is no file"):
            scheduler_in(path)
        with pytest.raises(UsageError, match="is no file"):
            read_kernel(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="can't read"):
        scheduler_in(tmp_path / "none")


def test_two_schedulers_in_a_file_are_refused(scheduler: bytes, work: Path, tmp_path: Path) -> None:
    other = compile_bpf(work, "other", SCHEDULER.replace('"tested"', '"other"'))
    path = tmp_path / "loader"
    path.write_bytes(scheduler + other)
    with pytest.raises(UsageError, match="2 schedulers"):
        scheduler_in(path)


def test_what_the_kernel_lacks_is_refused_by_name(work: Path, kernel: KernelTypes) -> None:
    declared = (
        "extern void scx_bpf_dsq_insert(struct task_struct *p, u64 dsq, u64 slice, u64 flags) __weak __ksym;"
    )
    assert declared in SCHEDULER
    text = SCHEDULER.replace(
        declared, declared.replace("__weak ", "").replace("u64 flags", "u64 flags, u64 more")
    )
    text = text.replace("sum << 32)", "sum << 32, 0)")
    data = compile_bpf(work, "strong", text)
    with pytest.raises(UnavailableError, match=r"needs what the kernel .* lacks: scx_bpf_dsq_insert"):
        translate(data, "strong", kernel)


@pytest.mark.parametrize(
    ("release", "options", "named"),
    [("", {"CONFIG_SMP": "y"}, "LINUX_KERNEL_VERSION"), ("7.3.4", {}, "CONFIG_SMP")],
)
def test_what_is_not_known_of_the_kernel_is_not_taken_as_zero(
    scheduler: bytes, kernel: KernelTypes, release: str, options: dict[str, str], named: str
) -> None:
    bare = KernelTypes("bare", release, kernel.data, options)
    with pytest.raises(UnavailableError, match=rf"not known of the kernel .*: {named}$"):
        translate(scheduler, "tested", bare)
    assert translate(scheduler, "tested", KernelTypes("bare", "7.3.4", kernel.data, {"CONFIG_X": "y"}))


def test_one_of_several_operations_is_named(work: Path, kernel: KernelTypes) -> None:
    start = SCHEDULER.index('SEC(".struct_ops.link")')
    end = SCHEDULER.index("char licence")
    second = SCHEDULER[start:end].replace(" tested = ", " second = ").replace('"tested"', '"two"')
    data = compile_bpf(work, "several", SCHEDULER + second)
    with pytest.raises(UsageError, match="several schedulers: tested, second"):
        translate(data, "several", kernel)
    assert translate(data, "several", kernel, operations="two").operations.variable == "second"
    with pytest.raises(UsageError, match="no scheduler 'three'"):
        translate(data, "several", kernel, operations="three")


def test_members_that_the_kernel_lacks_are_dropped_and_named(scheduler: bytes, kernel: KernelTypes) -> None:
    assert translate(scheduler, "tested", kernel).operations.dropped == ["newer"]


def test_damaged_objects_are_refused_or_translated(scheduler: bytes, kernel: KernelTypes) -> None:
    """Whatever is in the file: an error of ours, or a translation; and nothing that takes for ever."""
    pick, refused = random.Random(7), 0
    for _ in range(DAMAGES):
        data = bytearray(scheduler)
        for _ in range(pick.choice((1, 1, 4, 40))):
            data[pick.randrange(len(data))] = pick.randrange(256)
        try:
            translate(bytes(data[: pick.choice((len(data), pick.randrange(len(data))))]), "damaged", kernel)
        except SchedtunaError:
            refused += 1
    assert DAMAGES // 4 < refused < DAMAGES


def test_a_library_is_kept_and_is_made_anew_for_another_kernel(
    scheduler: bytes, kernel: KernelTypes, tmp_path: Path
) -> None:
    path, folder = tmp_path / "s.bpf.o", tmp_path / "cache"
    path.write_bytes(scheduler)
    first = load_object(path, kernel, folder=folder)
    if first.library is None:
        pytest.skip("no C compiler")
    made = first.library.stat().st_mtime_ns
    assert load_object(path, kernel, folder=folder).library == first.library
    assert first.library.stat().st_mtime_ns == made
    other = KernelTypes(kernel.source, "7.4.0", kernel.data, kernel.options)
    assert load_object(path, other, folder=folder).library != first.library
    assert load_object(path, kernel, folder=folder, coverage=True).library != first.library


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_library_that_others_could_change_is_refused(
    scheduler: bytes, kernel: KernelTypes, tmp_path: Path
) -> None:
    path, folder = tmp_path / "s.bpf.o", tmp_path / "cache"
    path.write_bytes(scheduler)
    library = load_object(path, kernel, folder=folder).library
    if library is None:
        pytest.skip("no C compiler")
    library.chmod(0o666)
    with pytest.raises(UnavailableError, match="can be written by others"):
        load_object(path, kernel, folder=folder)


def test_a_folder_that_others_can_write_is_refused(
    scheduler: bytes, kernel: KernelTypes, tmp_path: Path
) -> None:
    """What lies there would be loaded as code, whoever we are."""
    path, folder = tmp_path / "s.bpf.o", tmp_path / "cache"
    path.write_bytes(scheduler)
    if load_object(path, kernel, folder=folder).library is None:
        pytest.skip("no C compiler")
    folder.chmod(0o777)
    with pytest.raises(UntrustedError):
        load_object(path, kernel, folder=folder)


def test_without_a_compiler_it_is_interpreted(
    scheduler: bytes, kernel: KernelTypes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.bpf.o"
    path.write_bytes(scheduler)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert load_object(path, kernel).interpreted
    with pytest.raises(UnavailableError, match="no C compiler"):
        load_object(path, kernel, interpret=False)


def test_the_cache_is_where_the_environment_says(tmp_path: Path) -> None:
    assert cache_folder({"SCHEDTUNA_OBJECTS_DIR": str(tmp_path)}) == tmp_path
    if os.geteuid():
        assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "schedtuna" / "objects"


def test_a_kernel_is_read_with_its_configuration(work: Path, tmp_path: Path) -> None:
    data = compile_bpf(work, "vmlinux", KERNEL + 'const char banner[] = "Linux version 7.3.4-test (x@y)";')
    (tmp_path / "vmlinux").write_bytes(data)
    (tmp_path / "config").write_text("CONFIG_SMP=y\n# CONFIG_NUMA is not set\nCONFIG_HZ=250\n")
    kernel = read_kernel(tmp_path / "vmlinux")
    assert (kernel.release, kernel.version_code) == ("7.3.4-test", 0x070304)
    assert kernel.options == {"CONFIG_SMP": "y", "CONFIG_HZ": "250"}
    assert kernel.has_sched_ext
    elf = Elf(data, "vmlinux")
    (tmp_path / "raw.btf").write_bytes(elf.content(elf.index(".BTF") or 0))
    raw = read_kernel(tmp_path / "raw.btf")
    assert (raw.data, raw.version_code) == (kernel.data, None)


def test_a_kernel_without_types_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no file"):
        read_kernel(tmp_path / "none")
    for content, expected in ((b"", "is empty"), (b"noise", "can't be read as a kernel")):
        (tmp_path / "noise").write_bytes(content)
        with pytest.raises(UsageError, match=expected):
            read_kernel(tmp_path / "noise")
    (tmp_path / "object").write_bytes(write_object([]).replace(b".BTF", b".XXX"))
    with pytest.raises(UsageError, match="no types"):
        read_kernel(tmp_path / "object")
    (tmp_path / "btf").write_bytes(b"\x9f\xeb" + bytes(range(30)))
    with pytest.raises(UsageError, match="damaged"):
        read_kernel(tmp_path / "btf").types  # noqa: B018


def test_options_are_read_as_the_kernel_writes_them() -> None:
    text = 'CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D="a b"\nCONFIG_E=0x10\n'
    assert parse_options(text) == {"CONFIG_A": "y", "CONFIG_B": "m", "CONFIG_D": '"a b"', "CONFIG_E": "0x10"}


@pytest.mark.parametrize("odd", ["*/", "**//", '"', "\\", "\n#error", "??/", "é"])
def test_names_of_an_object_can_not_become_code(
    odd: str, scheduler: bytes, kernel: KernelTypes, tmp_path: Path
) -> None:
    """Whoever made the object chose them: the compiler is to see nothing but names."""
    data = scheduler
    for name in (b"enqueue", b"counts", b"tested", b"slice_ns", b"mixed"):
        evil = f"{odd}evil;evil".encode()[: len(name)]
        data = data.replace(b"\0" + name + b"\0", b"\0" + evil + b"\0")
    try:
        translation = translate(data, "odd", kernel)
    except UsageError:
        return  # the names no longer fit each other: refused is as good
    code = re.sub(r'"(?:[^"\\\n]|\\[0-7]{3})*"', '""', source_of(translation))
    bare = re.sub(r"/\*.*?\*/", "", code, flags=re.DOTALL)
    assert "*/" not in bare
    words = re.compile(r"[A-Za-z_]\w*")
    assert set(words.findall(bare)) <= set(words.findall(plain_code(scheduler, kernel)))


def plain_code(scheduler: bytes, kernel: KernelTypes) -> str:
    code = re.sub(r'"[^"]*"', '""', source_of(translate(scheduler, "plain", kernel)))
    return re.sub(r"/\*.*?\*/", "", code, flags=re.DOTALL)


def stock() -> list[Path]:
    folders = os.environ.get("SCHEDTUNA_SCX_PATH", "").split(":")
    return sorted(path for folder in folders if folder for path in Path(folder).glob("scx_*"))


@pytest.mark.skipif(not stock(), reason="SCHEDTUNA_SCX_PATH names no folder with schedulers")
@pytest.mark.parametrize("path", stock(), ids=lambda path: path.name)
def test_a_stock_scheduler_translates(path: Path) -> None:
    lab = Path("/var/cache/schedtuna/lab/kernels")
    kernels = sorted(lab.glob("*/vmlinux")) if lab.is_dir() else []
    if not kernels:
        pytest.skip("no kernel with sched_ext: set the lab up")
    translation = translate(scheduler_in(path), path.name, read_kernel(kernels[-1]))
    assert translation.operations.name in path.name
    assert len(translation.required_calls) > 20
    assert {"select_cpu", "enqueue", "init"} <= set(translation.operations.functions)


def test_libraries_that_nobody_used_lately_are_removed(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.so" for number in range(5)]
    for number, path in enumerate(files):
        path.touch()
        os.utime(path, ns=(number, number))
    kept = tmp_path / "0.bpf.o"
    kept.touch()
    os.utime(kept, ns=(0, 0))
    prune(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.bpf.o", "3.so", "4.so"]


def test_what_is_found_is_used_last(tmp_path: Path) -> None:
    compiler, flags = "/bin/true", ("-O2",)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("schedtuna.sim.bpf.compiled.FLAGS", flags)
        path = tmp_path / f"{library_key('d', compiler, flags)[:32]}.so"
        path.touch(mode=0o600)
        os.utime(path, ns=(1, 1))
        tmp_path.chmod(0o700)
        assert find_library("d", compiler, coverage=False, folder=tmp_path) == path
        assert path.stat().st_atime_ns > path.stat().st_mtime_ns == 1
