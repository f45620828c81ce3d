"""What the files of control groups mean, in both versions, on made-up groups."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.errors import KnobError
from schedtuna.knobs.cgroup import CpuQuota, Cpuset, CpuWeight
from schedtuna.knobs.hierarchies import Hierarchy
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.records import Change, FileSubject, NewGroupSubject
from schedtuna.knobs.undo import remarks, undo
from schedtuna.machine.cpu_lists import format_cpu_list, parse_cpu_list

NR_CPUS = os.cpu_count() or 1


def group(tmp_path, **files):
    folder = tmp_path / "parent" / "group"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("weight", "shares"), [(100, 1024), (1, 10), (10_000, 102_400), (50, 512), (200, 2048), (33, 338)]
)
def test_weights_and_shares_are_the_same_scale(tmp_path, weight, shares):
    knob = CpuWeight()
    v1 = group(tmp_path, cpu__shares=str(shares))
    assert knob.to_text(weight, v1, 1) == str(shares)
    assert knob.to_value(str(shares), v1) == weight
    v2 = group(tmp_path / "two", cpu__weight=str(weight))
    assert knob.to_text(weight, v2, 2) == str(weight)
    assert knob.to_value(str(weight), v2) == weight


@pytest.mark.parametrize("percent", [1, 50, 99])
def test_quotas_are_percent_of_one_cpu_for_the_period_that_is_set(tmp_path, percent):
    knob = CpuQuota()
    v1 = group(tmp_path, cpu__cfs_quota_us="-1", cpu__cfs_period_us="50000")
    assert knob.to_text(percent, v1, 1) == str(max(1000, 500 * percent))  # the kernel takes 1 ms or more
    v2 = group(tmp_path / "two", cpu__max="max 200000")
    assert knob.to_text(percent, v2, 2) == f"{2000 * percent} 200000"
    assert knob.to_value(f"{2000 * percent} 200000", v2) == percent


def test_all_cpus_mean_no_limit(tmp_path):
    knob = CpuQuota()
    v1 = group(tmp_path, cpu__cfs_period_us="100000")
    v2 = group(tmp_path / "two", cpu__max="5000 100000")
    assert (knob.to_text(100 * NR_CPUS, v1, 1), knob.to_value("-1", v1)) == ("-1", 100 * NR_CPUS)
    assert (knob.to_text(100 * NR_CPUS, v2, 2), knob.to_value("max 100000", v2)) == (
        "max 100000",
        100 * NR_CPUS,
    )


def test_an_empty_cpuset_is_all_and_an_odd_one_is_as_found(tmp_path):
    knob = Cpuset()
    folder = group(tmp_path, cpuset__cpus="0")
    (folder.parent / "cpuset.cpus.effective").write_text("0")
    assert knob.to_value("", folder) == "all"
    assert knob.to_value("0", folder) == "all"
    assert knob.to_value("4000", folder) == "as_found"
    assert knob.to_text("as_found", folder, 2) == "0"


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """A pretended v2 mount with one group; returns the group."""
    mount = tmp_path / "mnt"
    folder = mount / "service"
    folder.mkdir(parents=True)
    (folder / "cpu.weight").write_text("700")
    monkeypatch.setattr(
        "schedtuna.knobs.cgroup_knob.find_hierarchy", lambda controller: Hierarchy(2, controller, mount)
    )
    return folder


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "{group}/cpu.max", "{group}/../../outside/cpu.weight", "/tmp/cpu.weight"],
)
def test_a_journal_can_not_name_other_files(mounted, tmp_path, path):
    subject = FileSubject(path=Path(path.format(group=mounted)), inode=mounted.stat().st_ino)
    (record,) = Journal(tmp_path / "state").begin([Change("cpu_weight", subject, "100", "700")])
    with pytest.raises(KnobError):
        CpuWeight().revert(record)
    assert (mounted / "cpu.weight").read_text() == "700"


def test_a_journal_can_not_remove_other_groups(mounted, tmp_path):
    for path in (mounted, tmp_path / "schedtuna-1-1"):
        path.mkdir(exist_ok=True)
        subject = NewGroupSubject(path=path)
        (record,) = Journal(tmp_path / "state").begin([Change("cpu_weight", subject, "/", str(path))])
        with pytest.raises(KnobError, match="not a group that Schedtuna makes"):
            CpuWeight().revert(record)
        assert path.is_dir()


CPUS = st.sets(st.integers(0, 7), min_size=1)


@settings(max_examples=200)
@given(data=st.data(), parents=CPUS, tried=CPUS, old=st.none() | CPUS, version=st.sampled_from([1, 2]))
def test_a_cpuset_counts_as_put_back_only_where_the_group_runs_where_it_ran(
    tmp_path_factory, data, parents, tried, old, version
):
    """Kernels pretended: whether they take an empty set, and what they make of the parent's CPUs."""
    refusal = data.draw(st.sampled_from([None, errno.ENOSPC, errno.EINVAL]), "the kernel's answer to none")
    held_back = data.draw(st.booleans(), "another group holds one of the CPUs")
    folder = tmp_path_factory.mktemp("mount") / "service"
    folder.mkdir()
    effective = "cpuset.cpus.effective" if version == 2 else "cpuset.effective_cpus"
    before = format_cpu_list(sorted(old or ()))
    (folder.parent / effective).write_text(format_cpu_list(sorted(parents)))

    def write(path, text):
        if not text and refusal:
            raise OSError(refusal, os.strerror(refusal))
        path.write_text(text)
        runs_on = parse_cpu_list(text) if text else sorted(parents)
        (folder / effective).write_text(format_cpu_list(runs_on[1:] if held_back else runs_on))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("schedtuna.knobs.cgroup_knob.write_kernel_file", write)
        patch.setattr(
            "schedtuna.knobs.cgroup_knob.find_hierarchy", lambda name: Hierarchy(version, name, folder.parent)
        )
        journal = Journal(folder.parent / "state")
        subject = FileSubject(path=folder / "cpuset.cpus", inode=folder.stat().st_ino)
        journal.begin([Change("cpuset", subject, before, format_cpu_list(sorted(tried)))])
        write(folder / "cpuset.cpus", format_cpu_list(sorted(tried)))
        outcomes = undo(journal, force=True)
    now, taken = (folder / "cpuset.cpus").read_text(), bool(before) or refusal is None
    alike = not taken and refusal == errno.ENOSPC and version == 2 and not held_back
    assert [outcome.result for outcome in outcomes] == ["restored" if taken or alike else "failed"]
    assert bool(journal.open_records()) == (not taken and not alike)
    assert now == before if taken else not alike or now == format_cpu_list(sorted(parents))
    assert len(remarks(outcomes)) == alike
