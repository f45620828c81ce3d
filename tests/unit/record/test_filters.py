from pathlib import Path

import pytest

from schedtuna.errors import UsageError
from schedtuna.machine.mounts import CgroupMounts
from schedtuna.record.filters import TaskFilter, cgroup_names, cgroup_path


@pytest.fixture
def layout(tmp_path):
    (tmp_path / "cpu/fast/inner").mkdir(parents=True)
    (tmp_path / "unified/other").mkdir(parents=True)
    relative = {name: str(tmp_path / name).lstrip("/") for name in ("cpu", "unified")}
    return CgroupMounts(v1_mounts={"cpu": relative["cpu"]}, v2_mount=relative["unified"])


def test_a_cgroup_is_found_by_folder_or_by_path_in_the_cpu_hierarchy(layout, tmp_path):
    for name in ("/fast/inner", "fast/inner", str(tmp_path / "cpu/fast/inner")):
        constants = TaskFilter(cgroup=name).constants(layout)
        assert constants["wanted_cgroup_id"] == (tmp_path / "cpu/fast/inner").stat().st_ino
        assert constants["wanted_cgroup_level"] == 2


@pytest.mark.parametrize("name", ["/nope", "/other", "../unified/other", ""])
def test_what_is_not_a_cgroup_of_that_hierarchy_is_refused(layout, name):
    if name:
        with pytest.raises(UsageError, match="no cgroup"):
            cgroup_path(name, layout)
    else:
        assert cgroup_path(name, layout) == Path("/", layout.v1_mounts["cpu"]).resolve()  # the root


def test_cgroups_are_named_by_their_inode(layout, tmp_path):
    assert cgroup_names(layout) == {
        (tmp_path / "cpu").stat().st_ino: "/",
        (tmp_path / "cpu/fast").stat().st_ino: "/fast",
        (tmp_path / "cpu/fast/inner").stat().st_ino: "/fast/inner",
    }
    assert cgroup_names(CgroupMounts()) == {}


@pytest.mark.parametrize(
    "values",
    [{"comm": ""}, {"comm": "sixteen-bytes-xx"}, {"sample_1_in": 0}, {"tgid": 0}, {"tree": (4, -1)}],
)
def test_what_can_never_match_is_refused(values):
    with pytest.raises(UsageError):
        TaskFilter(**values)


def test_constants_and_manifest():
    layout = CgroupMounts()
    assert TaskFilter().constants(layout) == {"wanted_tgid": 0, "sample_1_in": 1, "filter_tree": False}
    task_filter = TaskFilter(tgid=7, comm="x\udcff", tree=(3,), sample_1_in=10)
    assert task_filter.constants(layout) == {
        "wanted_tgid": 7,
        "sample_1_in": 10,
        "filter_tree": True,
        "filter_comm": True,
        "wanted_comm": b"x\xff",
    }
    assert task_filter.as_dict() == {"tgid": 7, "comm": "x\udcff", "tree": (3,), "sample_1_in": 10}
    assert TaskFilter().everything
    assert not task_filter.everything
