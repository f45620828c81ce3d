import pytest

from schedtuna.errors import UsageError
from schedtuna.knobs import services
from schedtuna.knobs.services import unit_group, unit_name


@pytest.fixture
def groups(tmp_path):
    for name in ("cpu/system.slice/web.service", "v2/system.slice/web.service", "v2/system.slice/db.service"):
        (tmp_path / name).mkdir(parents=True)
    for user in ("1", "2"):
        (tmp_path / f"v2/user.slice/user-{user}.slice/app.slice/own.service").mkdir(parents=True)
    return [tmp_path / "cpu", tmp_path / "v2"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("web", "cpu/system.slice/web.service"),
        ("web.service", "cpu/system.slice/web.service"),
        ("db", "v2/system.slice/db.service"),
        ("system.slice", "cpu/system.slice"),
    ],
)
def test_the_first_hierarchy_that_has_it_counts(groups, name, found):
    assert unit_group(name, groups) == groups[0].parent / found


def test_one_of_two_namesakes_is_not_chosen(groups):
    with pytest.raises(UsageError, match="several control groups") as raised:
        unit_group("own", groups)
    assert "--cgroup" in str(raised.value.hint)


def test_a_unit_that_does_not_run(groups):
    with pytest.raises(UsageError, match=r"no control group of nope\.service"):
        unit_group("nope", groups)


@pytest.mark.parametrize("told", ["/system.slice/db.service", ""])
def test_what_systemd_says_counts(groups, monkeypatch, told):
    monkeypatch.setattr(services, "_told_by_systemd", lambda unit: told if unit == "x.service" else "/other")
    monkeypatch.setattr(services, "_hierarchies", lambda: iter(groups))
    if told:
        assert unit_group("x") == groups[1] / "system.slice/db.service"
    else:
        with pytest.raises(UsageError, match="does not run here"):
            unit_group("x")


def test_names():
    assert [unit_name(name) for name in ("a", "a@b", "a.scope", "a.b")] == [
        "a.service",
        "a@b.service",
        "a.scope",
        "a.b.service",
    ]
