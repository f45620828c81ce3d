"""Settings that are files, on made-up files of kernels old and new."""

import fcntl
import os
from pathlib import Path

import pytest

from schedtuna.errors import JournalError, KnobError
from schedtuna.knobs import kernel_files
from schedtuna.knobs.base import Availability, Scope, Target
from schedtuna.knobs.file_formats import BRACKETED, SCALING, SWITCH, feature, number
from schedtuna.knobs.journal import Journal, TargetBusyError
from schedtuna.knobs.kernel_files import FileKnob
from schedtuna.knobs.records import Change, FileSubject
from schedtuna.knobs.settings import FILE_KNOBS

MACHINE = Target(Scope.MACHINE)
FEATURES = "GENTLE_FAIR_SLEEPERS NO_NEXT_BUDDY PLACE_LAG NO_RUN_TO_PARITY \n"


def knob(tmp_path, form, text, **options):
    path = tmp_path / "setting"
    path.write_text(text)
    return FileKnob("setting", (tmp_path / "older", path), form, "a setting", **options)


@pytest.mark.parametrize(
    ("form", "text", "shown", "value", "written", "then", "old"),
    [
        (number(1, 99_999, scale=1000), "2800001\n", 2800, 500, "500000", "500000\n", "2800001"),
        (number(1, 128), "32\n", 32, 8, "8", "8\n", "32"),
        (SWITCH, "1\n", True, False, "0", "0\n", "1"),
        (BRACKETED, "none (full) lazy \n", "full", "lazy", "lazy", "none full (lazy) \n", "full"),
        (SCALING, "1\n", "log", "none", "0", "0\n", "1"),
        (feature("PLACE_LAG"), FEATURES, True, False, "NO_PLACE_LAG", "NO_PLACE_LAG X", "PLACE_LAG"),
        (
            feature("RUN_TO_PARITY"),
            FEATURES,
            False,
            True,
            "RUN_TO_PARITY",
            "RUN_TO_PARITY",
            "NO_RUN_TO_PARITY",
        ),
    ],
)
def test_text_and_values_become_each_other(tmp_path, form, text, shown, value, written, then, old):
    setting, journal, file = knob(tmp_path, form, text), Journal(tmp_path / "state"), tmp_path / "setting"
    assert setting.probe(MACHINE).ok
    assert setting.spec(MACHINE).default == shown
    setting.spec(MACHINE).validate_value(value)
    setting.apply(MACHINE, value, journal)
    assert file.read_text().splitlines()[0] == written
    file.write_text(then)  # what the kernel's file shows after such a write
    assert setting.show(MACHINE) == value
    setting.revert(journal.open_records()[0])
    assert file.read_text().splitlines()[0] == old


def test_bounds_hold_what_is_set(tmp_path):
    spec = knob(tmp_path, number(100, 1000), "5000").spec(MACHINE)
    assert (spec.min_value, spec.max_value, spec.default) == (100, 5000, 5000)
    spec = knob(tmp_path, number(1, 1000), "0").spec(MACHINE)
    assert (spec.min_value, spec.log) == (0, False)


@pytest.mark.parametrize(
    ("form", "text"), [(number(1, 9), "what?"), (SCALING, "7"), (number(1, 9), ""), (SWITCH, "")]
)
def test_a_form_that_is_not_known_makes_the_knob_unavailable(tmp_path, form, text):
    setting = knob(tmp_path, form, text)
    found = setting.probe(MACHINE)
    assert not found.ok
    assert "says" in found.reason
    with pytest.raises(KnobError):
        setting.show(MACHINE)


def test_a_feature_that_the_kernel_has_not_is_not_offered(tmp_path):
    setting = knob(tmp_path, feature("PREEMPT_SHORT"), FEATURES, token="PREEMPT_SHORT")
    assert "no PREEMPT_SHORT" in setting.probe(MACHINE).reason


def test_a_setting_that_does_nothing_here_says_so(tmp_path):
    idle = Availability(False, "one cache only", "buy another")
    setting = knob(tmp_path, SWITCH, "1", acts=lambda: idle)
    assert setting.probe(MACHINE) == idle
    (tmp_path / "setting").unlink()
    assert "this kernel has no older" in setting.probe(MACHINE).reason


def test_a_feature_that_the_kernel_took_and_does_not_show_is_an_error(tmp_path, monkeypatch):
    setting = knob(tmp_path, feature("PLACE_LAG"), FEATURES, token="PLACE_LAG")
    monkeypatch.setattr(kernel_files, "write_kernel_file", lambda _path, _text: None)
    with pytest.raises(KnobError, match="does not show it"):
        setting.apply(MACHINE, False, Journal(tmp_path / "state"))


def test_what_is_as_it_was_is_not_written_again(tmp_path):
    """A file that refuses every write must not keep a record open for ever."""
    read_only = Path("/proc/sys/kernel/ngroups_max")
    setting = FileKnob("setting", (read_only,), number(0, 9), "a setting")
    subject = FileSubject(path=read_only)
    journal = Journal(tmp_path / "state")
    same, other = journal.begin(
        [Change("setting", subject, read_only.read_text().strip(), "3"), Change("setting", subject, "4", "3")]
    )
    assert setting.revert(same) == "restored"
    with pytest.raises(KnobError, match="writing '4'"):
        setting.revert(other)


def test_knobs_that_share_a_file_can_be_turned_together(tmp_path):
    path = tmp_path / "features"
    path.write_text(FEATURES)
    first, second = (FileKnob(name, (path,), feature(name), "a bit") for name in ("PLACE_LAG", "NEXT_BUDDY"))
    journal = Journal(tmp_path / "state")
    first.apply(MACHINE, False, journal)
    path.write_text("NO_NEXT_BUDDY NO_PLACE_LAG")
    assert second.probe(MACHINE).ok
    second.apply(MACHINE, True, journal)
    assert path.read_text().startswith("NEXT_BUDDY")
    path.write_text("NEXT_BUDDY NO_PLACE_LAG")
    for record, setting in zip(reversed(journal.open_records()), (second, first), strict=True):
        setting.revert(record)
    assert kernel_files._held[path] == []


def three_knobs(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text("1")
    return [FileKnob(name, (tmp_path / name,), SWITCH, "a switch") for name in "abc"]


def texts(tmp_path):
    return [(tmp_path / name).read_text().strip() for name in "abc"]


def test_everything_is_written_down_before_the_first_knob_is_turned(tmp_path):
    seen = []

    def look(step):
        if not step.startswith("journal"):
            records = [record.knob for record in Journal(tmp_path / "state").open_records()]
            seen.append((step, records, texts(tmp_path)))

    journal = Journal(tmp_path / "state", on_step=look)
    journal.carry_out(setting.plan(MACHINE, False) for setting in three_knobs(tmp_path))
    assert seen[0] == ("a: before the change", ["a", "b", "c"], ["1", "1", "1"])
    assert seen[-1] == ("c: after the change", ["a", "b", "c"], ["0", "0", "0"])
    for record, setting in zip(journal.begun, three_knobs(tmp_path), strict=True):
        setting.revert(record)


@pytest.mark.parametrize("refuses", ["planning", "journal"])
def test_where_one_knob_can_not_be_turned_none_is_and_none_is_held(tmp_path, refuses):
    knobs = three_knobs(tmp_path)
    if refuses == "planning":
        (tmp_path / "c").write_text("what?")
    else:
        (tmp_path / "state").write_text("not a folder")
    with pytest.raises(KnobError if refuses == "planning" else JournalError):
        Journal(tmp_path / "state").carry_out(setting.plan(MACHINE, False) for setting in knobs)
    assert texts(tmp_path)[:2] == ["1", "1"]
    assert [kernel_files._held.get(tmp_path / name) for name in "ab"] == [[], []]


def test_what_another_process_holds_is_busy_and_is_not_changed(tmp_path):
    setting = knob(tmp_path, SWITCH, "1")
    with (tmp_path / "setting").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        found = setting.probe(MACHINE)
        assert (found.ok, found.busy) == (False, True)
        with pytest.raises(TargetBusyError, match="another process"):
            setting.apply(MACHINE, False, Journal(tmp_path / "state"))
    assert (tmp_path / "setting").read_text() == "1"
    (tmp_path / "setting").write_text("nonsense")
    found = setting.probe(MACHINE)
    assert (found.ok, found.busy) == (False, False)


def test_the_first_place_that_is_there_counts(tmp_path):
    setting = knob(tmp_path, SWITCH, "0")
    (tmp_path / "older").write_text("1")
    assert setting.show(MACHINE) is True
    assert setting.path == tmp_path / "older"


def test_revert_writes_only_to_files_of_the_knob(tmp_path):
    setting = knob(tmp_path, SWITCH, "1")
    other = tmp_path / "passwd"
    other.write_text("root")
    journal = Journal(tmp_path / "state")
    (record,) = journal.begin([Change("setting", FileSubject(path=other), "0", "1")])
    with pytest.raises(KnobError, match="names no file of this knob"):
        setting.revert(record)
    assert other.read_text() == "root"


def test_a_file_that_went_away_is_an_error_and_is_not_created(tmp_path):
    setting = knob(tmp_path, SWITCH, "1")
    journal = Journal(tmp_path / "state")
    setting.apply(MACHINE, False, journal)
    (tmp_path / "setting").unlink()
    with pytest.raises(KnobError, match="No such file"):
        setting.revert(journal.open_records()[0])
    assert not (tmp_path / "setting").exists()


def test_reasons_name_lockdown_missing_debugfs_and_read_only_mounts(tmp_path, monkeypatch):
    debugfs = tmp_path / "debug/sched"
    setting = FileKnob("base_slice_us", (debugfs / "base_slice_ns",), number(1, 9), "a slice")
    monkeypatch.setattr(kernel_files, "DEBUGFS", debugfs)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "not mounted" in setting.probe(MACHINE).reason
    debugfs.mkdir(parents=True)
    assert "this kernel has no base_slice_ns" in setting.probe(MACHINE).reason
    (debugfs / "base_slice_ns").write_text("3")

    def refuse(error):
        def open_refused(*_args):
            raise error

        monkeypatch.setattr(os, "open", open_refused)
        return setting.probe(MACHINE).reason

    assert "locked down" in refuse(PermissionError(1, "Operation not permitted"))
    assert "only be written by root" in refuse(PermissionError(13, "Permission denied"))
    assert "read-only" in refuse(OSError(30, "Read-only file system"))


def test_the_table_names_each_setting_once_and_never_the_realtime_budget():
    names = [setting.name for setting in FILE_KNOBS]
    assert len(set(names)) == len(names)
    paths = [path for setting in FILE_KNOBS for path in setting._paths]
    assert not any("rt_runtime" in path.name for path in paths)
    assert all(
        path.is_relative_to("/proc/sys/kernel") or path.is_relative_to("/sys/kernel/debug/sched")
        for path in paths
    )
    assert all(isinstance(path, Path) for path in paths)
