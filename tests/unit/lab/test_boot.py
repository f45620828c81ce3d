from typing import Any

import pytest

from schedtuna.lab import boot as module
from schedtuna.lab.boot import GuestRun, boot
from schedtuna.lab.errors import BootError
from schedtuna.workload.command import RawRun


def guest_run(*, exit_code=0, signal=None, timed_out=False, nr_failed_boots=0, warnings=()):
    usage = {"wall_time_s": 2.0}
    raw = RawRun(exit_code, signal, timed_out, started_at=0.0, usage=usage, warnings=warnings)
    return GuestRun(raw, "6.12", 2, "1x2x1", 1.5, nr_failed_boots, ())


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (guest_run(exit_code=5), 5),
        (guest_run(exit_code=None, signal=9), 137),
        (guest_run(exit_code=None, signal=9, timed_out=True), 1),
    ],
)
def test_a_run_ends_as_a_shell_would_tell(run, code):
    assert run.exit_code == code


def test_remarks_are_of_what_the_output_does_not_show():
    assert guest_run(exit_code=5).remarks == []
    warned = guest_run(warnings=("output was lost",), nr_failed_boots=1)
    assert warned.remarks == ["output was lost", "the first guest did not boot; this is the second"]
    (late,) = guest_run(exit_code=None, signal=9, timed_out=True).remarks
    assert "timeout" in late


def test_a_boot_that_fails_is_tried_once_more(monkeypatch):
    outcomes = [BootError("no"), "guest"]

    def make(lab, spec):
        outcome = outcomes.pop(0)
        if isinstance(outcome, BootError):
            raise outcome
        return outcome

    monkeypatch.setattr(module, "BootedGuest", make)
    lab: Any = None  # they are only handed on
    spec: Any = None
    assert boot(lab, spec)[1] == 1
    outcomes[:] = ["guest"]
    assert boot(lab, spec)[1] == 0
    outcomes[:] = [BootError("no"), BootError("again")]
    with pytest.raises(BootError, match="again"):
        boot(lab, spec)
