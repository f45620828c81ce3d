import ctypes
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.kernel.objects import BpfObject
from schedtuna.kernel.sched_ext import find_operations
from schedtuna.resources import resource_path
from schedtuna.scheduler import tuna

ROOT = Path(__file__).parents[3]
VALUES = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.booleans() for name in tuna.SWITCHES},
        "slice_us": st.integers(*tuna.SLICE_US),
        "cpu_util_threshold": st.integers(103, 1024).map(lambda part: part / 1024),
        "scheduling_policy": st.sampled_from(tuna.POLICIES),
    },
)


@pytest.fixture(scope="module")
def bpf():
    try:
        content = resource_path("native/scx_tuna.bpf.o").read_bytes()
    except UnavailableError:
        pytest.skip("built without clang 17 or newer")
    with BpfObject(tuna.OBJECT, content=content) as opened:
        yield opened


@given(VALUES)
def test_values_come_back_from_the_kernels_form(values):
    found = tuna.unpack(tuna.pack(values, 7))
    expected = {**tuna.DEFAULTS, **values}
    threshold = expected.pop("cpu_util_threshold")
    assert found.pop("cpu_util_threshold") == pytest.approx(threshold, abs=1 / tuna.ONE)
    assert found == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"slice_us": 999},
        {"slice_us": 100001},
        {"slice_us": 8000.5},
        {"cpu_util_threshold": 0.09},
        {"cpu_util_threshold": 1.01},
        {"cpu_util_threshold": float("nan")},
        {"scheduling_policy": "fast"},
        {"rr_sched": 2},
        {"slice": 1},
    ],
    ids=str,
)
def test_what_is_out_of_bounds_is_refused_by_name(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        tuna.pack(wrong, 1)


def test_the_object_has_the_structures_as_python_has_them(bpf):
    tuna.check_layout(bpf.btf)
    assert find_operations(bpf) == ("scx_tuna", "scx_tuna")


def test_an_object_of_another_version_is_refused(bpf, monkeypatch):
    class Longer(ctypes.Structure):
        _fields_ = (*tuna.Params._fields_, ("more", ctypes.c_uint64))

    monkeypatch.setitem(tuna.STRUCTURES, "tuna_params", Longer)
    with pytest.raises(UnavailableError, match="tuna_params"):
        tuna.check_layout(bpf.btf)


def rows(heading):
    """The rows of the table below a heading of the document, as lists of cells."""
    text = (ROOT / "docs/scx-tuna.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1:]]


def test_the_document_has_each_parameter_with_its_default_and_a_counter():
    found = {row[0]: row for row in rows("Parameters")}
    assert set(found) == set(tuna.DEFAULTS)
    assert {name: row[1] for name, row in found.items()} == {
        name: str(value).lower() for name, value in tuna.DEFAULTS.items()
    }
    assert {row[3] for row in found.values()} <= {field[0] for field in tuna.Stats._fields_}


def test_the_document_says_what_each_parameter_was_measured_to_do():
    assert {row[0].partition(",")[0] for row in rows("Measured effects")} == set(tuna.DEFAULTS)


def test_each_parameter_has_its_place_in_the_source():
    source = "".join(path.read_text() for path in sorted((ROOT / "bpf/sched").glob("*.bpf.[ch]")))
    for name in tuna.DEFAULTS:
        assert re.search(rf"#ifn?def NO_{name.upper()}\n", source), name


def test_the_source_has_the_same_defaults():
    source = (ROOT / "bpf/sched/params.bpf.h").read_text()
    (found,) = re.findall(r"defaults = \{([^}]*)\}", source)
    numbers = {name: int(value) for name, value in re.findall(r"\.(\w+) = (\d+)", found)}
    expected = tuna.pack({}, 1)
    assert numbers == {name: getattr(expected, name) for name in numbers}
    assert tuna.unpack(tuna.Params(**numbers)) == tuna.DEFAULTS


def test_the_document_has_each_reason_to_leave():
    assert {int(code): reason for code, reason in rows("Why it leaves")} == tuna.EXITS


def test_what_is_not_named_stays_to_the_last_bit_however_often_something_is_set():
    params = tuna.pack({"cpu_util_threshold": 0.333}, version=1)
    for number in range(50):
        params = tuna.changed(params, {"slice_us": 5000 + number})
    assert (params.version, params.slice_us, params.cpu_util_threshold) == (51, 5049, 340)


def test_gpus_devices_are_those_whose_drivers_are_known():
    lines = ["Character devices:", "  1 mem", "226 drm", "195 nvidia-frontend", "511 kfd", ""]
    assert tuna.gpu_devices("\n".join([*lines, "Block devices:", "  8 sd", "  9 drm", ""])) == {
        226: 0,
        195: 0,
        511: 0,
    }
    assert tuna.gpu_devices("") == {}


def test_who_notices_opens_is_in_the_object_and_is_loaded_only_where_it_is_asked_for(bpf):
    assert tuna.DEVICE_PROGRAM in bpf.programs
    source = (ROOT / "bpf/sched/devices.bpf.h").read_text()
    assert f'SEC("?fentry/{tuna.DEVICE_FUNCTION}")\nint BPF_PROG({tuna.DEVICE_PROGRAM},' in source
