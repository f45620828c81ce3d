import os
import stat

import pytest

from schedtuna.errors import UnavailableError
from schedtuna.files import trust
from schedtuna.files.trust import distrusted, others_can_write, parent_problem, require_trusted

STRANGER = 12_345_678  # a user and group that no system has by name


def status(*, mode=stat.S_IFDIR | 0o755, uid=0, gid=0):
    return os.stat_result((mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "gid", "expected"),
    [
        (0o755, STRANGER, False),
        (0o775, STRANGER, False),  # a group of the owner's number, and of no name: nobody else is in it
        (0o775, STRANGER + 1, True),
        (0o777, STRANGER, True),
    ],
)
def test_who_else_can_write(mode, gid, expected):
    assert others_can_write(status(mode=stat.S_IFDIR | mode, uid=STRANGER, gid=gid)) is expected


@pytest.mark.parametrize(
    ("mode", "problem"), [(0o755, ""), (0o777, "can be written by others"), (0o1777, "")]
)
def test_others_replace_nothing_in_a_sticky_folder(monkeypatch, mode, problem):
    monkeypatch.setattr(trust, "writes_anywhere", lambda: True)
    assert parent_problem(status(mode=stat.S_IFDIR | mode)) == problem


def test_a_strangers_folder_is_named():
    assert parent_problem(status(uid=STRANGER)) == f"belongs to user {STRANGER}"


def test_who_called_sudo_is_trusted_by_root_alone(monkeypatch):
    monkeypatch.setenv("SUDO_UID", str(STRANGER))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert STRANGER in trust.owners()
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    assert STRANGER not in trust.owners()


def test_a_program_is_distrusted_for_every_folder_above_it(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "scx_x"
    program.touch(mode=0o755)
    if (found := distrusted(program)) and str(tmp_path) not in found:
        pytest.skip(f"the folder for tests is not trusted itself: {found}")
    assert distrusted(program) == ""
    folder.chmod(0o777)
    assert distrusted(program) == f"{folder} can be written by others"
    folder.chmod(0o1777)
    assert distrusted(program) == ""
    program.unlink()
    assert distrusted(program).startswith("it can't be read")


def test_only_privilege_makes_a_writable_file_dangerous(tmp_path, monkeypatch):
    program = tmp_path / "libx.so"
    program.touch()
    program.chmod(0o666)
    monkeypatch.setattr(trust, "privileged", lambda: True)
    with pytest.raises(UnavailableError, match=r"as libbpf with privilege, but .*libx\.so can be written"):
        require_trusted(program, "as libbpf", hint="install it elsewhere")
    monkeypatch.setattr(trust, "privileged", lambda: False)
    assert require_trusted(program, "as libbpf", hint="install it elsewhere") == program.resolve()


def test_what_no_file_can_be_called_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(trust, "privileged", lambda: True)
    name = tmp_path / ("x" * 300)
    assert require_trusted(name, "as libbpf", hint="") == name
