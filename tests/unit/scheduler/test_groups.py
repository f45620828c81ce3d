import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.errors import UsageError
from schedtuna.scheduler.groups import group_limits, require_honoured
from schedtuna.scheduler.spec import SchedulerConfig

TEXTS = {
    "cpu.weight": ("100", "300"),
    "cpu.max": ("max 100000", "50000 100000"),
    "cpu.idle": ("0", "1"),
}
KINDS = {"cpu.weight": "weight", "cpu.max": "quota", "cpu.idle": "idle"}


def make_group(folder, asked=()):
    folder.mkdir(parents=True, exist_ok=True)
    for name, texts in TEXTS.items():
        (folder / name).write_text(texts[name in asked] + "\n")


def scheduler(name):
    return SchedulerConfig(name=name)


@given(st.dictionaries(st.sampled_from(["a", "a/b", "c", "d e"]), st.sets(st.sampled_from(list(TEXTS)))))
def test_what_a_group_asks_for_is_found_and_nothing_else(tmp_path_factory, asked):
    root = tmp_path_factory.mktemp("cgroup")
    make_group(root)
    for path in ("a", "a/b", "c", "d e"):
        make_group(root / path, asked.get(path, ()))
    found = {(str(one.group.relative_to(root)), one.kind) for one in group_limits(root, 2)}
    assert found == {(path, KINDS[name]) for path, names in asked.items() for name in names}


def test_a_scheduler_is_refused_only_for_what_it_does_not_give(tmp_path):
    make_group(tmp_path / "web.slice", {"cpu.weight"})
    require_honoured(scheduler("scx_tuna"), ignored=False, root=tmp_path)
    with pytest.raises(UsageError, match=r"scx_simple does not give .*web.slice: cpu.weight=300") as caught:
        require_honoured(scheduler("scx_simple"), ignored=False, root=tmp_path)
    assert "--ignore-cgroup-limits" in caught.value.hint
    require_honoured(scheduler("scx_simple"), ignored=True, root=tmp_path)
    make_group(tmp_path / "db.slice", {"cpu.max"})
    with pytest.raises(UsageError, match=r"scx_flatcg does not give .*db.slice: cpu.max=50000 100000$"):
        require_honoured(scheduler("scx_flatcg"), ignored=False, root=tmp_path)


def test_scx_tuna_gives_what_the_kernel_tells_it_of(tmp_path):
    make_group(tmp_path / "db.slice", {"cpu.max", "cpu.idle"})

    def ask(*callbacks):
        told = frozenset(callbacks)
        require_honoured(scheduler("scx_tuna"), ignored=False, root=tmp_path, callbacks=lambda: told)

    ask("cgroup_set_bandwidth", "cgroup_set_idle")
    with pytest.raises(UsageError, match=r"cpu.idle=1 \(it would, but .* no cgroup_set_idle to") as caught:
        ask("cgroup_set_bandwidth")
    assert "cpu.max" not in str(caught.value)
    with pytest.raises(UsageError, match=r"no cgroup_set_bandwidth, cgroup_set_idle to tell it\)$"):
        ask()


def test_many_groups_are_counted_not_named(tmp_path):
    for number in range(12):
        make_group(tmp_path / f"g{number:02}", {"cpu.idle"})
    with pytest.raises(UsageError, match=r"g09: cpu.idle=1; and 2 more$"):
        require_honoured(scheduler("scx_simple"), ignored=False, root=tmp_path)


def test_version_1_has_other_files(tmp_path):
    (tmp_path / "x").mkdir()
    for name, text in {"cpu.shares": "512", "cpu.cfs_quota_us": "-1", "cpu.idle": "0"}.items():
        (tmp_path / "x" / name).write_text(text)
    assert [one.text for one in group_limits(tmp_path, 1)] == ["cpu.shares=512"]
