"""What a loader prepared, given to its object: by hand here, by a guest in tests/kernel."""

from __future__ import annotations

import binascii
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.sim.test_bpf_schedulers import CLANG, SOURCES, compile_bpf, hogs

from schedtuna.errors import SimulationError, UsageError
from schedtuna.sim import simulate
from schedtuna.sim.native import cost_table
from schedtuna.sim.objects import KERNEL_VARIABLE, loaded_object
from schedtuna.sim.settings import LoaderSettings, keep_settings, read_settings, write_settings
from schedtuna.sim.topology import MachineShape
from schedtuna.trace.analysis import Analysis

pytestmark = pytest.mark.skipif(CLANG is None, reason="no clang-17 or newer: enumerators of 64 bits")
FREE = {name: 0 for name, *_ in cost_table() if name != "tick_ns"}
COMMON_BYTES = 64  # of kernel.c's struct bpf_struct_ops_sched_ext_ops
OPERATIONS = ("select_cpu", "enqueue", "dispatch", "running", "stopping", "enable", "init")
GUESTS = 0x10_0000_0010  # an address there


def packed(data: bytes) -> str:
    return binascii.b2a_base64(zlib.compress(data), newline=False).decode()


def operations(*, without: str = "", timeout_ms: int = 5000) -> str:
    """The operations as the kernel has them: numbers of programs, or 0."""
    words = [0 if name == without else 77 for name in OPERATIONS]
    values = b"".join(word.to_bytes(8, "little") for word in [*words, 0])  # hotplug_seq
    return packed(bytes(COMMON_BYTES) + values + timeout_ms.to_bytes(4, "little") + bytes(132))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    work = tmp_path_factory.mktemp("prepared")
    kernel = work / "kernel"
    kernel.write_bytes(compile_bpf(work, "kernel", (SOURCES / "kernel.c").read_text()))
    text = (SOURCES / "vtime.bpf.c").read_text()
    before, operations_, after = text.partition('SEC(".struct_ops.link")')
    after = after.replace("(void *)vtime_enable", "(void *)prepared_enable")
    path = work / "own.bpf.o"
    path.write_bytes(
        compile_bpf(work, "own", before + (SOURCES / "prepared.bpf.c").read_text() + operations_ + after)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KERNEL_VARIABLE, str(kernel))
        patch.setenv("SCHEDTUNA_OBJECTS_DIR", str(work / "objects"))
        yield path


def rodata(path: Path, name: str, value: int) -> str:
    """The object's .rodata with another value of one of its variables."""
    translated = loaded_object(path).translated
    rows = translated.description
    section = next(row for row in rows.sections[: rows.nr_sections] if row.name == b".rodata")
    data = bytearray(section.data[: section.size].ljust(section.size, b"\0"))
    address, size = translated.globals[name]
    data[address - section.address :][:size] = b""
    start = address - section.address
    data[start : start + size] = value.to_bytes(size, "little")
    return packed(bytes(data))


@pytest.fixture
def settings(own: Path) -> Callable[..., LoaderSettings]:
    def made(**changed: Any) -> LoaderSettings:
        plain: dict[str, Any] = {
            "program": "scx_own",
            "sha256": loaded_object(own).translated.sha256,
            "topology": "1x1x1",
            "release": "",
            "sections": {},
            "maps": (),
            "unread": (),
            "operations": operations(),
            "calls": (),
            "written": (),
        }
        return LoaderSettings.model_validate(plain | changed)

    return made


def type_number(path: Path, name: str) -> int:
    """The number of a function's type in an object's BTF."""
    from schedtuna.sim.bpf.elf import Elf
    from schedtuna.sim.bpf.types import FUNC, Types

    elf = Elf(path.read_bytes(), str(path))
    types = Types(elf.content(elf.index(".BTF") or 0), str(path))
    return next(number for number in types.of_kinds(FUNC) if types.name(number) == name)


def call(own: Path, name: str, **changed: Any) -> dict[str, Any]:
    """A run of one of its programs, that the guest's kernel calls by 3 characters of its name."""
    plain: dict[str, Any] = {
        "function": (type_number(own, name), name[:3]),
        "context": packed(bytes(16)),
        "left": packed(bytes(16)),
        "pointers": (),
        "left_pointers": (),
        "written": (),
        "returned": 0,
    }
    return plain | changed


def words(*numbers: int) -> str:
    return packed(b"".join(number.to_bytes(8, "little") for number in numbers))


def given_back(own: Path, **changed: Any) -> list[dict[str, Any]]:
    """`give` gives an address, behind which the loader writes 30; `take` adds 12."""
    gives = call(own, "give", left=words(GUESTS, 0), left_pointers=(hex(GUESTS),), returned=5)
    written = (("", hex(GUESTS), 0, words(30)),)
    takes = call(own, "take", context=words(GUESTS, 12), pointers=(hex(GUESTS),), written=written)
    return [gives, takes | changed]


def run(own: Path, file: Path, text: str = "") -> Any:
    return simulate(hogs(0, 0), f"{own}{text}", cpus=1, costs=FREE, settings=file)


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[LoaderSettings], Path]:
    def written(settings: LoaderSettings) -> Path:
        path = tmp_path / "given.settings.json"
        write_settings(path, settings)
        return path

    return written


def test_variables_have_the_loaders_values_and_the_users_go_before(own, settings, kept):
    file = kept(settings(sections={"own_bpf.rodata": rodata(own, "slice_us", 8000)}))
    found = {
        text: Analysis(run(own, file, text)).overall()["nr_switches"] for text in ("", ":slice_us=20000")
    }
    assert found[""] == pytest.approx(4 / 0.008, rel=0.02)
    assert found[":slice_us=20000"] == pytest.approx(4 / 0.020, rel=0.02)


def test_what_is_kept_is_found_for_its_layout_alone_and_told(own, settings):
    plain = Analysis(simulate(hogs(0, 0), str(own), cpus=1, costs=FREE)).overall()["nr_switches"]
    kept = keep_settings(
        settings(sections={"own_bpf.rodata": rodata(own, "slice_us", 8000)}, arguments=("-s", "8")),
        MachineShape(1, 1),
    )
    try:
        assert read_settings(kept).arguments == ("-s", "8")
        trace = simulate(hogs(0, 0), str(own), cpus=1, costs=FREE)
        assert Analysis(trace).overall()["nr_switches"] > 2 * plain
        told = trace.manifest["simulation"]["scheduler"]["object"]["settings"]
        assert told["program"] == "scx_own" and told["arguments"] == ["-s", "8"]
        other = simulate(hogs(0, 0), str(own), cpus=2, costs=FREE)
        assert other.manifest["simulation"]["scheduler"]["object"]["settings"] is None
    finally:
        kept.unlink()


def test_programs_run_again_with_addresses_of_here(own, settings, kept):
    with pytest.raises(SimulationError, match=r"taken 42$"):
        run(own, kept(settings(calls=given_back(own))))


def test_what_was_written_last_goes_before_what_programs_left(own, settings, kept):
    address, _ = loaded_object(own).translated.globals["taken"]
    rows = loaded_object(own).translated.description
    section = next(row for row in rows.sections[: rows.nr_sections] if row.name == b".bss")
    after = (("own_bpf.bss", "", address - section.address, words(77)),)
    with pytest.raises(SimulationError, match=r"taken 77$"):
        run(own, kept(settings(calls=given_back(own), written=after)))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"returned": 3}, r"take\(\) returned 0, in the guest 3"),
        ({"pointers": ("0x20",), "context": words(0x20, 1)}, r"gave take\(\) an address that no program"),
        ({"written": (("", "0x30", 0, words(1)),)}, "behind an address that no program had given"),
        ({"function": (1, "take")}, "have a program take, which its object does not have"),
    ],
)
def test_a_run_that_goes_otherwise_than_in_the_guest_is_refused(own, settings, kept, changed, expected):
    with pytest.raises(UsageError, match=expected):
        run(own, kept(settings(calls=given_back(own, **changed))))


def test_operations_that_the_loader_took_out_are_not_called(own, settings, kept):
    executed = simulate(
        hogs(0, 0),
        str(own),
        cpus=1,
        coverage=True,
        settings=kept(settings(operations=operations(without="stopping"))),
    ).manifest["simulation"]["executed"]
    assert executed["vtime_stopping"][0] == 0 < executed["vtime_running"][0]


def test_entries_of_maps_are_there(own, settings, kept):
    entry = {
        "name": "timers",
        "type": 2,
        "key_size": 4,
        "value_size": 24,
        "entries": [(packed(bytes(4)), packed(bytes(24)))],
    }
    run(own, kept(settings(maps=[entry])))
    with pytest.raises(UsageError, match="have a map timers, which its object does not have"):
        run(own, kept(settings(maps=[entry | {"value_size": 16}])))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"sha256": "0" * 64}, "are of object 0000000000000000, and this is"),
        ({"topology": "2x1x1"}, "topology 2x1x1, and this is 1x1x1"),
        ({"release": "6.12.1"}, "kernel 6.12.1, and this is unknown"),
        ({"sections": {"own_bpf.nodata": packed(b"1")}}, "a section own_bpf.nodata of 1 bytes"),
        ({"operations": "AAAA"}, "damaged"),
    ],
)
def test_settings_of_something_else_are_refused(own, settings, kept, changed, expected):
    with pytest.raises(UsageError, match=expected):
        run(own, kept(settings(**changed)))


def test_settings_are_of_objects_alone(kept, settings):
    with pytest.raises(UsageError, match="this scheduler has none"):
        simulate(hogs(0), "vtime", settings=kept(settings()))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 99}', '{"version": 1, "program": 3}'])
def test_a_file_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "bad.settings.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"bad\.settings\.json"):
        read_settings(path)


def test_a_file_stays_readable(tmp_path, settings):
    made = settings(unread=("a",), sections={"own_bpf.data": packed(b"abc")})
    write_settings(tmp_path / "a", made)
    assert read_settings(tmp_path / "a") == made
    assert json.loads((tmp_path / "a").read_text())["version"] == 1
