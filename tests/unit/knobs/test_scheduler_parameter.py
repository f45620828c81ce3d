"""Parameters of a running scheduler, at the very socket that the loader serves."""

import json
import os
import signal
import socket
import threading

import pytest
from tests.unit.knobs.loader import Loader, be_of, machine_of

from schedtuna.errors import KnobError
from schedtuna.knobs.base import Reverted
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.scheduler_parameter import SchedulerParameter, is_same
from schedtuna.knobs.undo import UndoResult, undo


@pytest.fixture
def machine(tmp_path):
    return machine_of(tmp_path)


@pytest.fixture
def parameter(machine, monkeypatch):
    be_of(machine, monkeypatch)
    return SchedulerParameter()


@pytest.fixture
def loader(machine):
    made = Loader(machine[1])
    yield made
    made.end()


def test_it_is_set_and_put_back(parameter, loader, tmp_path):
    found = parameter.read()
    assert (found.scheduler, found.pid, found.values["slice_us"]) == ("scx_tuna", loader.pid, 20000)
    assert found.values["sticky_wait_ns"] == 7
    journal = Journal(tmp_path / "state")
    journal.carry_out([parameter.plan("scx_tuna", "slice_us", 4000)])
    (record,) = journal.open_records()
    assert (record.old, record.new, record.tell()) == (20000, 4000, "slice_us of scx_tuna: 4000 -> 20000")
    assert parameter.show("scx_tuna", "slice_us") == 4000
    assert parameter.revert(record) is Reverted.RESTORED
    assert parameter.revert(record) is Reverted.RESTORED
    assert parameter.show("scx_tuna", "slice_us") == 20000


def test_undo_puts_back_what_a_killed_process_set(parameter, loader, tmp_path):
    child = os.fork()
    if child == 0:
        turns = [parameter.plan("scx_tuna", "slice_us", 4000), parameter.plan("scx_tuna", "rr_sched", True)]
        Journal(tmp_path / "state").carry_out(turns)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert parameter.show("scx_tuna", "rr_sched") is True
    outcomes = undo(Journal(tmp_path / "state"), owner=child)
    assert [one.result for one in outcomes] == [UndoResult.RESTORED] * 2
    now = parameter.read().values
    assert (now["slice_us"], now["rr_sched"]) == (20000, False)


def test_what_has_ended_is_not_put_back_to_a_namesake(parameter, machine, tmp_path):
    first = Loader(machine[1])
    journal = Journal(tmp_path / "state")
    journal.carry_out([parameter.plan("scx_tuna", "slice_us", 4000)])
    (record,) = journal.open_records()
    first.end()
    second = Loader(machine[1])
    try:
        parameter.plan("scx_tuna", "slice_us", 7000).make(lambda _step: None)
        assert parameter.revert(record) is Reverted.GONE
        assert parameter.show("scx_tuna", "slice_us") == 7000
    finally:
        second.end()


def test_what_is_planned_for_one_is_not_set_of_another(parameter, machine):
    first = Loader(machine[1])
    turn = parameter.plan("scx_tuna", "slice_us", 4000)
    first.end()
    second = Loader(machine[1])
    try:
        with pytest.raises(KnobError, match="started anew"):
            turn.make(lambda _step: None)
        assert parameter.show("scx_tuna", "slice_us") == 20000
    finally:
        second.end()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("slice_us", 5, "refuses: slice_us=5"),
        ("rr_sched", "perhaps", "refuses"),
        ("colour", 1, "no parameter"),
    ],
)
def test_what_is_refused_is_said(parameter, loader, name, value, words):
    with pytest.raises(KnobError, match=words):
        parameter.plan("scx_tuna", name, value).make(lambda _step: None)


def test_without_any_it_says_which_scheduler_runs(parameter, machine):
    sysfs, place = machine
    with pytest.raises(KnobError, match=r"scx_tuna has no parameters .* nobody answers"):
        parameter.read()
    cold = Loader(place, hot=False)
    try:
        with pytest.raises(KnobError, match="scx_tuna reads its flags at start"):
            parameter.read()
    finally:
        cold.end()
    (sysfs / "state").write_text("disabled\n")
    with pytest.raises(KnobError, match="no sched_ext scheduler is in charge"):
        parameter.read()
    assert parameter.show("scx_tuna", "slice_us") is None


@pytest.mark.parametrize(
    "line", [b"", b"{}\n", b"not json\n", json.dumps({"errno": 0, "args": 3}).encode() + b"\n"]
)
def test_an_answer_that_is_none_is_no_value(parameter, machine, line):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(machine[1]))
    listener.listen()

    def answer():
        client, _ = listener.accept()
        client.recv(1000)
        client.sendall(line)
        client.close()

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(KnobError, match="no answer"):
        parameter.read()
    thread.join()
    listener.close()


def test_a_fraction_reads_back_as_the_kernel_has_it():
    assert is_same(0.332, 0.333)
    assert not is_same(0.32, 0.333)
    assert not is_same(1, True)
    assert not is_same(None, 3)
