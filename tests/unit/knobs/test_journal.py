"""The journal's file: what it trusts, what it survives, and what it refuses."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from schedtuna.errors import JournalError
from schedtuna.knobs import journal as journal_module
from schedtuna.knobs import private_file
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.records import STORED, Change, FileSubject, TaskSubject, UnitSubject
from schedtuna.knobs.state import JOURNAL_NAME, state_directory

SUBJECT = TaskSubject(tid=1, tgid=1, start_ticks=0, reach="thread")
CHANGE = Change("nice", SUBJECT, 0, 5)
UNIT = Change("unit", UnitSubject(path=Path("/etc/systemd/system/a.service")), None, "text")


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "state")


@pytest.fixture
def file(journal):
    return journal.directory / JOURNAL_NAME


def test_an_open_record_says_all_that_undo_needs(journal):
    (record,) = journal.begin([CHANGE])
    (found,) = Journal(journal.directory).open_records()
    assert found == record
    assert (found.knob, found.subject, found.old, found.new) == CHANGE
    assert found.owner.pid == os.getpid()
    assert found.owner.alive
    assert found.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_records_are_in_the_file_before_begin_returns(journal, file):
    journal.begin([CHANGE, CHANGE])
    assert len(file.read_text().splitlines()) == 2


def test_only_what_a_reboot_leaves_in_force_waits_for_the_disk(journal, monkeypatch):
    waits = []
    monkeypatch.setattr(os, "fsync", waits.append)
    (nice,) = journal.begin([CHANGE])
    journal.finish({nice.id: "restored"})
    assert waits == []
    nice, unit = journal.begin([CHANGE, UNIT])
    assert len(waits) == 2  # the file, and the folder that has it
    journal.finish({nice.id: "restored"})
    assert len(waits) == 2
    journal.finish({unit.id: "restored"})
    assert len(waits) == 3


def test_a_journal_is_cut_only_where_there_is_something_to_cut(journal, file, monkeypatch):
    """ext4 writes a file that was cut to disk when it is closed, and the next cut waits for that."""
    cuts, cut = [], os.ftruncate

    def note(fd, length):
        cuts.append((os.fstat(fd).st_size, length))
        cut(fd, length)

    monkeypatch.setattr(os, "ftruncate", note)
    for _ in range(3):
        (record,) = journal.begin([CHANGE])
        size = file.stat().st_size
        journal.finish({record.id: "restored"})
        assert cuts == [(size, 0)]
        cuts.clear()


def test_closed_records_are_not_open_and_an_idle_journal_is_empty(journal, file):
    first, second = journal.begin([CHANGE, CHANGE])
    journal.finish({first.id: "restored"})
    assert journal.open_records() == [second]
    journal.finish({second.id: "restored"})
    assert journal.open_records() == []
    assert file.read_bytes() == b""


def test_reading_creates_nothing(journal):
    assert journal.open_records() == []
    assert journal.stale() == []
    with journal.undoing():
        pass
    journal.finish({"unknown": "restored"})
    assert not journal.directory.exists()


def test_folder_and_file_are_for_the_owner_only(journal, file):
    before = os.umask(0)
    try:
        journal.begin([CHANGE])
    finally:
        os.umask(before)
    assert journal.directory.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("torn", [b'{"version": 1, "id', b"\0\0\0\0", b'{"done": "x"}'])
def test_a_last_line_that_was_cut_off_is_dropped(journal, file, torn):
    (record,) = journal.begin([CHANGE])
    with file.open("ab") as raw:
        raw.write(torn)
    assert journal.open_records() == [record]
    (later,) = journal.begin([CHANGE])
    assert journal.open_records() == [record, later]


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "5",
        '"done"',
        '{"done": []}',
        "{}",
        '{"version": 1}',
        '{"version": "x"}',
        '{"id": "x", "knob": 1}',
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_any_other_damage_is_an_error_that_says_where_and_what_to_do(journal, file, line):
    journal.begin([CHANGE])
    with file.open("a") as raw:
        raw.write(line + "\n")
    for use in (journal.open_records, lambda: journal.begin([CHANGE])):
        with pytest.raises(JournalError, match="line 2") as raised:
            use()
        assert str(file) in str(raised.value.hint)


def test_a_record_of_a_newer_version_says_what_can_read_it(journal, file):
    journal.begin([CHANGE])
    with file.open("a") as raw:
        raw.write('{"version": 99}\n')
    for use in (journal.open_records, lambda: journal.begin([CHANGE])):
        with pytest.raises(
            JournalError, match=rf"journal\.jsonl, line 2 has version 99, .* up to {STORED.newest}"
        ) as raised:
            use()
        assert "update schedtuna" in raised.value.hint


def test_a_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(JournalError, match="can't be opened") as raised:
        Journal(tmp_path / "link").begin([CHANGE])
    assert "not a link" in str(raised.value.hint)
    assert list((tmp_path / "real").iterdir()) == []


@pytest.mark.parametrize("mode", [0o770, 0o705, 0o710])
def test_a_folder_that_others_can_open_is_refused(journal, mode):
    journal.directory.mkdir()
    journal.directory.chmod(mode)
    for use in (journal.open_records, lambda: journal.begin([CHANGE])):
        with pytest.raises(JournalError, match=f"mode 0{mode:o}") as raised:
            use()
        assert "chmod 700" in str(raised.value.hint)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_a_folder_of_somebody_else_is_refused(journal):
    journal.directory.mkdir(mode=0o700)
    os.chown(journal.directory, 65534, 65534)
    with pytest.raises(JournalError, match="belongs to user 65534"):
        journal.open_records()


def test_a_file_that_others_may_write_is_refused(journal, file):
    journal.begin([CHANGE])
    file.chmod(0o620)
    with pytest.raises(JournalError, match="mode 0620"):
        journal.open_records()


def test_a_file_that_is_a_link_is_refused_and_its_target_left_alone(journal, file, tmp_path):
    journal.directory.mkdir(mode=0o700)
    target = tmp_path / "precious"
    target.write_text("keep me")
    file.symlink_to(target)
    with pytest.raises(JournalError, match="can't be opened"):
        journal.begin([CHANGE])
    file.unlink()
    os.link(target, file)
    with pytest.raises(JournalError, match="has a second name elsewhere"):
        journal.begin([CHANGE])
    assert target.read_text() == "keep me"


def test_a_fifo_in_its_place_does_not_hang(journal, file):
    journal.directory.mkdir(mode=0o700)
    os.mkfifo(file, 0o600)
    with pytest.raises(JournalError, match="not a plain file"):
        journal.begin([CHANGE])


def test_a_place_that_can_not_be_written_names_the_variable(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError) as raised:
        Journal(tmp_path / "file" / "state").begin([CHANGE])
    assert "SCHEDTUNA_STATE_DIR" in str(raised.value.hint)


def test_a_lock_that_is_never_released_is_an_error(journal, monkeypatch):
    journal.begin([CHANGE])
    monkeypatch.setattr(private_file, "LOCK_PATIENCE_S", 0.05)
    holder = os.open(journal.directory, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(JournalError, match="has been locked by another process"):
            journal.open_records()
    finally:
        os.close(holder)


def test_a_long_journal_is_shortened_to_its_open_records(journal, file, monkeypatch):
    monkeypatch.setattr(journal_module, "_REWRITE_BYTES", 4000)
    (kept,) = journal.begin([CHANGE])
    for _ in range(40):
        (record,) = journal.begin([CHANGE])
        journal.finish({record.id: "restored"})
        assert file.stat().st_size < 5000
    assert journal.open_records() == [kept]
    assert [path.name for path in journal.directory.iterdir()] == [JOURNAL_NAME]
    assert file.stat().st_mode & 0o777 == 0o600


def test_records_hold_whatever_a_path_may_contain(journal):
    subject = FileSubject(path=Path("/sys/fs/cgroup/a\nb\u2028c d/cpu.weight"), inode=3)
    journal.begin([Change("cpu_weight", subject, "100", "200")])
    assert [record.subject for record in journal.open_records()] == [subject]


def test_lines_are_plain_json(journal, file):
    journal.begin([CHANGE])
    entry = json.loads(file.read_text())
    assert entry["version"] == STORED.newest
    assert {"id", "boot_id", "owner", "time", "knob", "subject", "old", "new"} < set(entry)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SCHEDTUNA_STATE_DIR": "/x/y"}, "/x/y"),
        ({"XDG_STATE_HOME": "/xdg", "HOME": "/home/me"}, "/xdg/schedtuna"),
        ({"HOME": "/home/me"}, "/home/me/.local/state/schedtuna"),
    ],
)
def test_where_an_ordinary_users_journal_is(monkeypatch, environment, expected):
    for name in ("SCHEDTUNA_STATE_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert state_directory() == Path(expected)
