import pytest

from schedtuna.errors import ConformanceError
from schedtuna.scheduler.conformance import check_machine
from schedtuna.scheduler.host import HostMachine


@pytest.fixture
def machine():
    host = HostMachine()
    yield host
    host.close()


def test_this_host_keeps_the_contract(machine):
    check_machine(machine)


def test_a_machine_that_does_not_is_told_how(machine, monkeypatch):
    monkeypatch.setattr(machine, "log", lambda pid: "")
    with pytest.raises(ConformanceError, match="its outputs are lost"):
        check_machine(machine)
