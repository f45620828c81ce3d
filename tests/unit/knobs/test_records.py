from pathlib import Path

import pytest

from schedtuna.knobs.records import (
    FileSubject,
    GroupTasksSubject,
    LoaderSubject,
    NewGroupSubject,
    Owner,
    ProcessSubject,
    Record,
    TaskSubject,
    UnitSubject,
)
from schedtuna.knobs.undo import UndoOutcome, UndoResult

TASK = {"tid": 12, "tgid": 10, "start_ticks": 5}
UNIT = Path("/etc/systemd/system/x.service")


def record(subject, old=0, new=5):
    owner = Owner(pid=3, start_ticks=1)
    return Record(id="a", boot_id="b", owner=owner, time=1.5, knob="k", subject=subject, old=old, new=new)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (record(TaskSubject(**TASK, reach="thread")), "thread 12: 5 -> 0"),
        (record(TaskSubject(**TASK, reach="tree")), "process 12: 5 -> 0"),
        (record(GroupTasksSubject(path=Path("/g"), inode=1)), "/g: 5 -> 0"),
        (record(FileSubject(path=Path("/f"))), "/f: 5 -> 0"),
        (record(NewGroupSubject(path=Path("/g/new"))), "the control group /g/new: removed"),
        (
            record(ProcessSubject(pid=7, start_ticks=1, program="scx_x"), new={"scheduler": "scx_x:a=1"}),
            "scx_x:a=1, process 7: stopped",
        ),
        (
            record(LoaderSubject(), old={"scheduler": "scx_old"}, new={"scheduler": "scx_new"}),
            "scx_loader: scx_new -> scx_old",
        ),
        (record(UnitSubject(path=UNIT), old=None), f"{UNIT}: removed"),
        (record(UnitSubject(path=UNIT), old="[Unit]"), f"{UNIT}: as it was"),
    ],
)
def test_a_record_tells_what_reverting_it_does(found, told):
    assert found.tell() == told


def test_only_units_outlive_a_boot_and_only_what_was_meant_to_last_does():
    unit, loader = record(UnitSubject(path=UNIT)), record(LoaderSubject())
    task = record(TaskSubject(**TASK, reach="thread"))
    assert [one.outlives_boot for one in (unit, loader, task)] == [True, False, False]
    assert [one.lasting for one in (unit, loader, task)] == [True, True, False]


def test_what_became_of_a_record_is_plain_data_for_programs():
    outcome = UndoOutcome(record(FileSubject(path=Path("/f"))), UndoResult.FAILED, "it is read-only")
    assert outcome.to_dict() == {
        "result": "failed",
        "reason": "it is read-only",
        "closed": False,
        "knob": "k",
        "subject": {"kind": "file", "path": "/f", "inode": None},
        "old": 0,
        "new": 5,
        "owner_pid": 3,
        "time": 1.5,
        "id": "a",
    }
