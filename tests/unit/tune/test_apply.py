import os
import signal
import sys

import pytest

from schedtuna.errors import UsageError, WorkloadError
from schedtuna.knobs.position import Position
from schedtuna.scheduler.fair import fair
from schedtuna.scheduler.parse import DEFAULT
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.tune.apply import (
    is_for_the_machine,
    require_trusted_settings,
    run_applied,
    service_drop_in,
    what_held,
)
from schedtuna.workload.spec import Workload

WORKLOAD = Workload(argv=("true",))
NO_VALUES = SchedulerConfig(name=DEFAULT, description="")


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def warnings():
    return []


def nicer(by=1):
    """A value of nice that any user may set, and that differs from ours."""
    return fair(include=["nice"]).with_values({"nice": os.getpriority(os.PRIO_PROCESS, 0) + by})


def run(scheduler, code, warnings):
    return run_applied(scheduler, [sys.executable, "-c", code], warn=warnings.append)


def test_a_command_ends_as_it_would_without_us(warnings):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert run(NO_VALUES, "raise SystemExit(7)", warnings) == 7
    assert run(NO_VALUES, "import os; os.kill(os.getpid(), 9)", warnings) == 128 + 9
    assert run_applied(NO_VALUES, ["true"], warn=warnings.append) == 0
    assert warnings == []
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_command_that_is_not_there_is_not_started(warnings):
    with pytest.raises(WorkloadError):
        run_applied(NO_VALUES, ["/no/such/program"], warn=warnings.append)


def test_settings_hold_from_the_commands_first_instruction(warnings):
    chosen = nicer()
    code = f"import os; raise SystemExit(os.getpriority(0, 0) != {chosen.values['nice']})"
    assert run(chosen, code, warnings) == 0


def test_what_a_setting_does_only_inside_is_said(warnings, monkeypatch):
    monkeypatch.setattr("schedtuna.scheduler.fair.position_of", lambda _target: Position.SESSION)
    assert run(nicer(), "", warnings) == 0
    assert "nice: autogroup is on: it counts only among the threads of one session" in warnings[0]


def test_a_command_that_undoes_all_its_settings_is_no_success(warnings):
    spin = (
        "import os, time; os.nice(1)\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    )
    assert run(nicer(), spin, warnings) == 1
    assert "in force: nothing" in warnings[-1]


@pytest.mark.parametrize(
    ("in_force", "said"),
    [
        ({"nice": "in force", "policy": "in force"}, ""),
        ({"nice": "not checked", "policy": "in force"}, "nice=3: not checked; in force: policy=batch"),
        ({}, ""),
    ],
)
def test_only_what_was_not_in_force_is_told(in_force, said):
    assert what_held(in_force, {"nice": 3, "policy": "batch"}, WORKLOAD) == said


def test_only_other_schedulers_are_for_the_whole_machine():
    assert not is_for_the_machine(NO_VALUES)
    assert not is_for_the_machine(nicer())
    assert is_for_the_machine(SchedulerConfig(name="scx_simple", description=""))


def test_trust_is_for_a_folder_that_is_there(tmp_path):
    require_trusted_settings(str(tmp_path), NO_VALUES, ["true"], trusted=True)
    require_trusted_settings("fair:nice=3", NO_VALUES, ["true"], trusted=False)
    with pytest.raises(UsageError, match="--trust-folder: there is no folder or file nowhere"):
        require_trusted_settings("nowhere", NO_VALUES, ["true"], trusted=True)


def test_a_service_is_started_through_us_only_where_systemd_has_no_directive(tmp_path):
    text = service_drop_in("fair:nice=3", fair(include=["nice"]).with_values({"nice": 3}), [], trusted=False)
    assert text == "[Service]\nNice=3\n"
    with pytest.raises(UsageError, match="sets nothing"):
        service_drop_in(str(tmp_path), NO_VALUES, ["true"], trusted=False)
    with pytest.raises(UsageError, match="is for the whole machine"):
        service_drop_in("scx_simple", SchedulerConfig(name="scx_simple", description=""), [], trusted=False)
