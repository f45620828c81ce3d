import subprocess

import pytest

from schedtuna.errors import ConformanceError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.conformance import check_knob, values_of
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.registry import knob_named, knobs_for
from schedtuna.space import ParameterSpec, ParameterType


@pytest.fixture
def target():
    process = subprocess.Popen(["sleep", "60"])
    yield Target(Scope.PID, pid=process.pid)
    process.kill()
    process.wait()


@pytest.mark.parametrize("name", [knob.name for knob in knobs_for(Scope.PID)])
def test_every_knob_of_a_process_keeps_the_contract(name, target, tmp_path):
    journal = Journal(tmp_path / "state")
    check_knob(knob_named(name), target, journal)
    assert journal.open_records() == []


def test_a_knob_that_does_not_is_told_how(target, tmp_path, monkeypatch):
    knob = knob_named("nice")
    monkeypatch.setattr(type(knob), "apply", lambda *_: None)
    with pytest.raises(ConformanceError, match="without a record in the journal"):
        check_knob(knob, target, Journal(tmp_path / "state"))


def test_values_are_the_ends_and_the_middle_of_a_range_without_the_default():
    nice = ParameterSpec(name="nice", type=ParameterType.INTEGER, default=0, min_value=0, max_value=10)
    assert values_of(nice) == [5, 10]
    assert values_of(ParameterSpec(name="x", type=ParameterType.BOOLEAN, default=True)) == [False]
