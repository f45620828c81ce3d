"""Whatever a record of the journal holds: `undo` says what is wrong with it, and keeps it."""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.knobs.journal import Journal
from schedtuna.knobs.records import (
    Change,
    FileSubject,
    GroupTasksSubject,
    LoaderSubject,
    NewGroupSubject,
    ProcessSubject,
    TaskSubject,
    UnitSubject,
)
from schedtuna.knobs.registry import OTHER_CHANGES, all_knobs
from schedtuna.knobs.undo import UndoResult, undo
from schedtuna.machine.tasks import start_ticks

NAMES = [knob.name for knob in (*all_knobs(), *OTHER_CHANGES)]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["scheduler", "mode", "policy", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def sleeper():
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def subjects(pid):
    nowhere = Path("/nonexistent/x")
    return [
        TaskSubject(tid=pid, tgid=pid, start_ticks=start_ticks(pid), reach="thread"),
        TaskSubject(tid=pid, tgid=pid, start_ticks=1, reach="process"),
        GroupTasksSubject(path=nowhere, inode=1),
        FileSubject(path=nowhere),
        NewGroupSubject(path=nowhere),
        ProcessSubject(pid=pid, start_ticks=1, program="scx_x"),
        LoaderSubject(),
        UnitSubject(path=nowhere),
    ]


@settings(max_examples=200)
@given(knob=st.sampled_from(NAMES), number=st.integers(0, 7), old=JSON, new=JSON)
def test_a_damaged_record_is_told_and_kept(sleeper, knob, number, old, new):
    with TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "state")
        subject = subjects(sleeper)[number]
        journal.begin([Change(knob, subject, old, new)])
        (outcome,) = undo(journal, force=True)
        assert outcome.record.tell()
        assert outcome.result in {UndoResult.RESTORED, UndoResult.GONE, UndoResult.FAILED}
        assert bool(journal.open_records()) == (outcome.result is UndoResult.FAILED)
