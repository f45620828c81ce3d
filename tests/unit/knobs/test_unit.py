import os
import shutil
import subprocess

import pytest

from schedtuna.errors import KnobError
from schedtuna.knobs.base import Reverted
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.undo import UndoResult, undo
from schedtuna.knobs.unit import FOLDER, UNIT, SystemUnit

TEXT = "[Service]\nExecStart=/bin/true\n"


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "state")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "root" / FOLDER / UNIT


def install(journal, path, text=TEXT):
    return SystemUnit().install(text, journal, root=path.parents[3])


def test_it_is_written_and_undo_removes_it(journal, path):
    assert install(journal, path) == path
    assert path.read_text() == TEXT
    (outcome,) = undo(journal, force=True)
    assert outcome.result is UndoResult.RESTORED
    assert not path.exists()
    assert list(path.parent.iterdir()) == []


def test_a_second_one_replaces_the_first_and_undo_removes_both(journal, path):
    install(journal, path)
    install(journal, path, TEXT.replace("true", "false"))
    assert "false" in path.read_text()
    assert [o.result for o in undo(journal, force=True)] == [UndoResult.RESTORED, UndoResult.RESTORED]
    assert not path.exists()


def test_what_somebody_edited_is_not_removed(journal, path):
    install(journal, path)
    path.write_text(TEXT + "# mine\n")
    (outcome,) = undo(journal, force=True)
    assert outcome.result is UndoResult.FAILED
    assert "was edited" in outcome.reason
    assert path.exists()


def test_what_somebody_removed_is_gone(journal, path):
    install(journal, path)
    path.unlink()
    assert undo(journal, force=True)[0].result is UndoResult.GONE


def test_a_reboot_does_not_end_it(journal, path, monkeypatch):
    install(journal, path)
    monkeypatch.setattr("schedtuna.knobs.undo.boot_id", lambda: "another boot")
    (outcome,) = undo(journal, force=True, dry_run=True)
    assert outcome.result is UndoResult.WOULD_RESTORE
    undo(journal, force=True)
    assert not path.exists()


def test_where_it_can_not_be_written_nothing_remains_to_be_undone(journal, path):
    path.parent.mkdir(parents=True)
    path.mkdir()
    (path / "in the way").touch()
    with pytest.raises(KnobError, match=r"can't be read: Is a directory"):
        install(journal, path)
    assert journal.open_records() == []


def test_a_record_that_names_another_file_is_refused(journal, path):
    install(journal, path)
    (record,) = journal.open_records()
    other = record.model_copy(
        update={"subject": record.subject.model_copy(update={"path": path.parent / "sshd"})}
    )
    with pytest.raises(KnobError, match="names no unit"):
        SystemUnit().revert(other)
    assert SystemUnit().revert(record) is Reverted.RESTORED


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="no systemctl")
def test_systemd_finds_it_where_it_is_written(journal, path):
    install(journal, path, TEXT + "[Install]\nWantedBy=multi-user.target\n")
    root = path.parents[3]
    subprocess.run(["systemctl", f"--root={root}", "enable", UNIT], check=True, capture_output=True)
    assert (path.parent / "multi-user.target.wants" / UNIT).is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
@pytest.mark.parametrize("whose", ["etc", "link"])
def test_nothing_is_installed_where_somebody_else_could_change_it(journal, path, tmp_path, whose):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    etc = path.parents[2]
    etc.parent.mkdir()
    if whose == "link":
        etc.symlink_to(elsewhere)
    else:
        etc.mkdir()
    os.lchown(etc, 65534, 65534)
    with pytest.raises(KnobError, match="was not written"):
        install(journal, path)
    assert journal.open_records() == []
    assert not path.exists()
    assert not list(elsewhere.iterdir())


def test_a_link_at_its_name_is_replaced_and_not_followed(journal, path, tmp_path):
    (tmp_path / "canary").write_text(TEXT)
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "canary")
    install(journal, path, TEXT.replace("true", "false"))
    assert (tmp_path / "canary").read_text() == TEXT
    assert not path.is_symlink()
