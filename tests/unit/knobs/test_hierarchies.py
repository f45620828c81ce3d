"""Where control groups are, from made-up mounts of both versions."""

import os
from pathlib import Path

import pytest

from schedtuna.errors import KnobError
from schedtuna.knobs.hierarchies import Hierarchy, find_hierarchy, parent_for, remove_group


def mountinfo(tmp_path, *lines):
    path = tmp_path / "mountinfo"
    path.write_text("".join(f"{number} 1 0:{number} {line}\n" for number, line in enumerate(lines, 30)))
    return path


def test_a_v1_controller_is_found_by_its_option(tmp_path):
    path = mountinfo(
        tmp_path,
        "/ / rw - ext4 /dev/vda rw",
        "/ /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct",
        "/ /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset",
    )
    assert find_hierarchy("cpu", path) == Hierarchy(1, "cpu", Path("/sys/fs/cgroup/cpu,cpuacct"))
    assert find_hierarchy("cpuset", path) == Hierarchy(1, "cpuset", Path("/sys/fs/cgroup/cpuset"))
    assert find_hierarchy("memory", path) is None


def test_v2_counts_only_with_the_controller(tmp_path):
    mount = tmp_path / "cg two"
    mount.mkdir()
    path = mountinfo(tmp_path, f"/ {str(mount).replace(' ', chr(92) + '040')} rw - cgroup2 cgroup2 rw")
    (mount / "cgroup.controllers").write_text("memory pids\n")
    assert find_hierarchy("cpu", path) is None
    (mount / "cgroup.controllers").write_text("cpuset cpu memory\n")
    assert find_hierarchy("cpu", path) == Hierarchy(2, "cpu", mount)


def test_the_part_of_a_hierarchy_that_a_container_sees(tmp_path):
    hierarchy = Hierarchy(2, "cpu", tmp_path, root="/docker/x")
    assert hierarchy._visible("/docker/x") == tmp_path
    assert hierarchy._visible("/docker/x/a") == tmp_path / "a"
    assert hierarchy._visible("/docker/xyz") is None
    assert Hierarchy(2, "cpu", tmp_path)._visible("/../other") is None


def v2_tree(mount, subtree_control):
    """A tree a/b/c whose groups hand down the given controllers."""
    folder = mount
    for part in ("", "a", "b", "c"):
        folder = folder / part
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.subtree_control").write_text(subtree_control.get(part, ""))
        (folder / "cgroup.procs").write_text("")
    return folder


@pytest.mark.parametrize(
    ("subtree_control", "expected"),
    [
        ({"": "cpu memory", "a": "cpu", "b": "memory"}, "a"),
        ({"": "cpu"}, "."),
        ({"": "memory", "a": "memory"}, None),
        ({"": "cpu", "c": "cpu"}, "a/b/c"),
    ],
)
def test_a_v2_group_is_made_below_the_nearest_one_that_hands_the_controller_down(
    tmp_path, monkeypatch, subtree_control, expected
):
    own = v2_tree(tmp_path, subtree_control)
    monkeypatch.setattr(Hierarchy, "group_of", lambda self, pid: own)
    found = parent_for(Hierarchy(2, "cpu", tmp_path), os.getpid())
    assert found == (None if expected is None else tmp_path / expected)


def test_quotas_are_lifted_before_a_group_is_left(tmp_path):
    """What ends can't be moved out, and ends no sooner than its quota lets it."""
    files = {tmp_path / "group/cpu.max": "max", tmp_path / "group/nested/cpu.cfs_quota_us": "-1"}
    (tmp_path / "group/nested").mkdir(parents=True)
    for path in files:
        path.write_text("1000 100000")
    with pytest.raises(KnobError, match="can't be removed"):  # these files are real, and do not go
        remove_group(tmp_path / "group", tmp_path)
    assert {path: path.read_text().split("\n")[0] for path in files} == files
