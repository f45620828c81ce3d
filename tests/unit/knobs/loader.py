"""What keeps scx_tuna in charge, without a kernel: the very socket that the loader serves, in a process."""

import os
import signal
import time
from typing import Any, cast

from schedtuna.errors import UsageError
from schedtuna.scheduler import tuna
from schedtuna.scheduler.scx_object import StatsSocket


class Scheduler:
    """What the loader keeps in charge, without a kernel: parameters of scx_tuna, checked as there."""

    def __init__(self, hot=True):
        self.params, self.hot = tuna.pack({}, 1), hot

    def counters(self):
        return {}

    def answer(self, request, arguments, _seen):
        if not self.hot:
            raise UsageError(f"unknown request {request!r}")
        if request == "set":
            values = {name: tuna.parse(name, str(text)) for name, text in arguments.items()}
            self.params = tuna.changed(self.params, values)
            return {}
        return {"values": {"sticky_wait_ns": 7}, "params": tuna.unpack(self.params), "refused": False}


class Loader:
    """A process that serves the socket until it is ended."""

    def __init__(self, place, **options):
        place.unlink(missing_ok=True)
        self.pid = os.fork()
        if self.pid == 0:
            served = StatsSocket(cast("Any", Scheduler(**options)), str(place))
            while True:
                served.serve(1.0)
        deadline = time.monotonic() + 30
        while not place.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def machine_of(folder):
    """Folders of a machine that scx_tuna is in charge of: sysfs, and where its socket goes."""
    sysfs = folder / "sysfs"
    (sysfs / "root").mkdir(parents=True)
    (sysfs / "state").write_text("enabled\n")
    (sysfs / "root/ops").write_text("scx_tuna\n")
    return sysfs, folder / "stats"


def be_of(machine, monkeypatch):
    """Have parameters be looked for there."""
    monkeypatch.setattr("schedtuna.knobs.scheduler_parameter.SYSFS", machine[0])
    monkeypatch.setattr("schedtuna.knobs.scheduler_parameter.SOCKET", machine[1])
