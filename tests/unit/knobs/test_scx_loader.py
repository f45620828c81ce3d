"""The adaptor for scx_loader against a real D-Bus daemon, and a service with the documented interface."""

import shutil
import subprocess
import threading

import pytest
from jeepney import DBusAddress, HeaderFields, MessageType, new_error, new_method_call, new_method_return
from jeepney.io.blocking import open_dbus_connection

from schedtuna.errors import KnobError
from schedtuna.knobs.base import Reverted
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.scx_loader import NAME, LoaderScheduler, LoaderService, LoaderState

pytestmark = pytest.mark.skipif(
    not (shutil.which("dbus-daemon") and shutil.which("busctl")), reason="no dbus-daemon or no busctl"
)
CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path={path}</listen><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>
"""


@pytest.fixture
def bus(tmp_path):
    (tmp_path / "bus.conf").write_text(CONFIGURATION.format(path=tmp_path / "bus"))
    argv = ["dbus-daemon", f"--config-file={tmp_path / 'bus.conf'}", "--nofork", "--print-address"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as daemon:
        yield daemon.stdout.readline().strip()
        daemon.terminate()


class Service:
    """org.scx.Loader, as its documentation has it; `calls` are the methods that were called."""

    def __init__(self, address, *, old=False):
        self.calls = []
        self.running = ("unknown", 0, [])
        self.old = old
        self._address = address
        self._connection = open_dbus_connection(bus=address)
        daemon = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
        self._connection.send_and_get_reply(new_method_call(daemon, "RequestName", "su", (NAME, 4)))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self):
        client = open_dbus_connection(bus=self._address)
        client.send(new_method_call(DBusAddress("/org/scx/Loader", NAME, NAME), "End"))
        self._thread.join()
        client.close()
        self._connection.close()

    def _serve(self):
        while True:
            message = self._connection.receive()
            if message.header.message_type is not MessageType.method_call:
                continue
            member = message.header.fields[HeaderFields.member]
            if member == "End":
                return
            self._connection.send(self._answer(message, member, message.body))

    def _answer(self, message, member, body):
        if member == "Get":
            values = {
                "CurrentScheduler": ("s", self.running[0]),
                "SchedulerMode": ("u", self.running[1]),
                "SupportedSchedulers": ("as", ["scx_rusty", "scx_bpfland"]),
            }
            if not self.old:
                values["CurrentSchedulerArgs"] = ("as", self.running[2])
            if body[1] not in values:
                return new_error(message, "org.freedesktop.DBus.Error.UnknownProperty")
            return new_method_return(message, "v", (values[body[1]],))
        self.calls.append((member, *body))
        if body and body[0] == "scx_broken":
            return new_error(message, "org.freedesktop.DBus.Error.Failed", "s", ("no such scheduler",))
        if member == "StopScheduler":
            self.running = ("unknown", 0, [])
        elif member.endswith("WithArgs"):
            self.running = (body[0], 0, body[1])
        else:
            self.running = (body[0], body[1], [])
        return new_method_return(message)


@pytest.fixture
def service(bus):
    running = Service(bus)
    yield running
    running.close()


def test_a_bus_without_the_service_is_told_apart(bus, tmp_path):
    assert not LoaderService(bus).present()
    assert not LoaderService(f"unix:path={tmp_path / 'none'}").present()


def test_a_scheduler_is_started_with_flags_switched_and_stopped(bus, service):
    loader = LoaderService(bus)
    assert loader.present()
    assert loader.state() == LoaderState("unknown")
    assert loader.supported() == ("scx_rusty", "scx_bpfland")
    loader.run(LoaderState("scx_rusty", arguments=("--slice-us-underutil=1000", "-k")))
    assert loader.state() == LoaderState("scx_rusty", 0, ("--slice-us-underutil=1000", "-k"))
    loader.run(LoaderState("scx_bpfland", mode=2))
    assert loader.state() == LoaderState("scx_bpfland", 2)
    loader.run(LoaderState("unknown"))
    assert not loader.state().running
    assert service.calls == [
        ("StartSchedulerWithArgs", "scx_rusty", ["--slice-us-underutil=1000", "-k"]),
        ("SwitchScheduler", "scx_bpfland", 2),
        ("StopScheduler",),
    ]


def test_nothing_is_stopped_where_nothing_runs(bus, service):
    LoaderService(bus).run(LoaderState("unknown"))
    assert service.calls == []


def test_an_older_service_does_not_say_its_flags(bus):
    service = Service(bus, old=True)
    LoaderService(bus).run(LoaderState("scx_rusty", arguments=("-k",)))
    assert LoaderService(bus).state() == LoaderState("scx_rusty")
    service.close()


def test_a_refusal_is_an_error_with_its_words(bus, service):
    with pytest.raises(KnobError, match="no such scheduler"):
        LoaderService(bus).run(LoaderState("scx_broken"))


def test_a_refused_change_leaves_nothing_to_undo(bus, service, tmp_path):
    journal = Journal(tmp_path / "state")
    with pytest.raises(KnobError, match="no such scheduler"):
        LoaderScheduler(LoaderService(bus)).apply(LoaderState("scx_broken"), journal)
    assert journal.open_records() == []


def test_undo_makes_it_run_what_it_ran_before(bus, service, tmp_path):
    loader = LoaderService(bus)
    loader.run(LoaderState("scx_bpfland", mode=1))
    journal, change = Journal(tmp_path / "state"), LoaderScheduler(loader)
    assert change.apply(LoaderState("scx_rusty", arguments=("-k",)), journal).scheduler == "scx_rusty"
    (record,) = journal.open_records()
    assert record.lasting
    assert journal.stale() == []
    assert change.revert(record) is Reverted.RESTORED
    assert loader.state() == LoaderState("scx_bpfland", 1)
    assert change.revert(record) is Reverted.RESTORED
    assert service.calls[-1] == ("SwitchScheduler", "scx_bpfland", 1)


def test_a_service_that_is_gone_has_nothing_to_undo(bus, tmp_path):
    service = Service(bus)
    journal, change = Journal(tmp_path / "state"), LoaderScheduler(LoaderService(bus))
    change.apply(LoaderState("scx_rusty"), journal)
    service.close()
    assert change.revert(journal.open_records()[0]) is Reverted.GONE
