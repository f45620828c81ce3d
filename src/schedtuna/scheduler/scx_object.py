"""Keeps the sched_ext scheduler of a BPF object in charge, as the programs of others do for theirs.

    scx_object.py OBJECT [--ops-name=NAME] [--SETTING=VALUE]...

It does for an object what a scheduler's own program would: fills in what the object leaves to a loader
(`kernel.sched_ext`), sets constants and variables by name, loads and attaches it, and answers on scx_stats'
socket: what it counts (variables of .bss called ``nr_*``), and what is set. It stays until it is told to
end or the kernel has thrown the scheduler out, and then says why. Killed, it takes the scheduler along.

It runs as a file, on a machine and in guests. Beside the standard library it needs `schedtuna.kernel`,
which is copied into a guest with it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import stat
import sys
import time

if not __package__:  # in a guest, what it needs of the package is beside it; else the package is around it
    _HERE = os.path.dirname(os.path.abspath(__file__))
    _BESIDE = os.path.join(_HERE, "python")
    sys.path.insert(0, _BESIDE if os.path.isdir(_BESIDE) else os.path.dirname(os.path.dirname(_HERE)))

from schedtuna.errors import SchedtunaError, UsageError
from schedtuna.kernel.kernel_btf import KernelBtf
from schedtuna.kernel.objects import BpfObject
from schedtuna.kernel.sched_ext import OPS_NAME, UNREGISTERED, fill_in, find_operations, read_exit
from schedtuna.kernel.settings import Settings
from schedtuna.scheduler import tuna, tuna_advice, tuna_model

TYPE_CHECKING = False  # typing's own would be imported for it
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SYSFS = "/sys/kernel/sched_ext"
STATS = "/var/run/scx/root/stats"
STOP = {signal.SIGINT, signal.SIGTERM}
COUNTER = "nr_"
LOOK_EVERY_S = 0.2
LOOKS_PER_GPU_SEARCH = 50
TOLD_WITHIN_S = 30.0  # from the kernel's decision to its call of the scheduler's `exit`
LONGEST_REQUEST = 1 << 16
MOST_PARTS = 512  # of a model that is sent
REFUSED = 22  # EINVAL
_FIRST_VERSION = 2  # of parameters; 1 are the defaults, which the object sets itself


class ObjectScheduler:
    """A scheduler that is loaded and attached.

    Args:
        bpf: Its open object.
        ops_name: What it is called in the kernel; empty: as in the object.
        settings: What is set of it, by name.
    """

    def __init__(self, bpf: BpfObject, ops_name: str, settings: Mapping[str, str]) -> None:
        operations, own_name = find_operations(bpf)
        self.name = ops_name or own_name
        if dropped := fill_in(bpf, operations, name=ops_name):
            say(f"this kernel does not call {', '.join(dropped)}: left out")
        self._bpf = bpf
        self._settings = Settings(bpf)
        params = {}
        if tuna.is_tuna(bpf.btf):
            tuna.check_layout(bpf.btf)
            if tuna_model.has_model(bpf.btf):
                tuna_model.check_layout(bpf.btf)
                tuna_advice.check_layout(bpf.btf)
            params = {name: tuna.parse(name, settings[name]) for name in settings if name in tuna.DEFAULTS}
            first = tuna.pack(params, version=_FIRST_VERSION)
        self._settings.set({name: text for name, text in settings.items() if name not in params})
        notices_opens = tuna.DEVICE_PROGRAM in bpf.programs and kernel_has(tuna.DEVICE_FUNCTION)
        if notices_opens:
            bpf.include(tuna.DEVICE_PROGRAM)
        bpf.load()
        self._tuna = tuna.RunningTuna() if tuna.is_tuna(bpf.btf) else None
        self._model = tuna_model.InsideModel(bpf) if tuna_model.has_model(bpf.btf) else None
        self._parts: list[str] = []
        if self._tuna:  # before it decides anything
            speeds = {cpu: tuna.speed_of(cpu, read) for cpu in range(os.cpu_count() or 1)}
            self._tuna.set_fast_cpus(tuna.fast_cpus(speeds))
            if params:
                self._tuna.set_raw(first)
            self._notice_opens(possible=notices_opens)
        bpf.attach_operations(operations)

    def _notice_opens(self, *, possible: bool) -> None:
        """See to it that who opens a GPU's device is noticed, and say where that can't be."""
        reason = f"this kernel has no {tuna.DEVICE_FUNCTION}"
        if possible:
            try:
                self._bpf.attach([tuna.DEVICE_PROGRAM])
            except SchedtunaError as error:
                possible, reason = False, str(error)
        if possible:
            self.look_for_gpus()
        else:
            say(f"who opens a GPU's device is not noticed: {reason}")

    def look_for_gpus(self) -> None:
        """Take in which devices are GPUs': a driver may have come since."""
        if self._tuna:
            self._tuna.set_gpu_devices(tuna.gpu_devices(read("/proc/devices")))

    def in_charge(self) -> bool:
        """Whether the kernel still says so."""
        return (read(f"{SYSFS}/state"), read(f"{SYSFS}/root/ops")) == ("enabled", self.name)

    def counters(self) -> dict[str, int]:
        """What it has counted since it was loaded."""
        return (self._tuna.stats() if self._tuna else {}) | {
            name: self._bpf.variable(name)
            for name in self._bpf.btf.sections.get(".bss", {})
            if name.startswith(COUNTER) and name in self._bpf.btf.integers
        }

    def answer(self, request: str, arguments: Mapping[str, Any], seen: dict[str, int]) -> Any:
        """Answer a request of scx_stats' form.

        Args:
            request: ``stats``, ``settings``, ``set``, ``model`` or ``hint``.
            arguments: Of ``set``: texts by name. Of ``model``: see `_model_request`; of ``hint``: `_hint`.
            seen: What the one who asks has seen before; what it sees now is put there.

        Raises:
            UsageError: There is no such request, setting or value.
        """
        if request == "stats":
            before, now = dict(seen), self.counters()
            seen |= now
            return {name: number - before.get(name, 0) for name, number in now.items()}
        if request == "settings":
            return {"values": self._settings.values(), **(self._tuna.status() if self._tuna else {})}
        if request == "set":
            return self._set({name: str(value) for name, value in arguments.items()})
        if request == "model":
            return self._model_request(arguments)
        if request == "hint":
            return self._hint(arguments)
        raise UsageError(f"unknown request {request!r}: expected stats, settings, set, model or hint")

    def _hint(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Say of which class a task or a control group is; see `tuna_advice.Hints`."""
        if self._model is None:
            raise UsageError(f"{self.name} takes no hints")
        hints = tuna_advice.Hints()
        try:
            hints.set(str(arguments.get("class")), tid=arguments.get("tid"), group=arguments.get("group"))
        finally:
            hints.close()
        return dict(arguments)

    def _model_request(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Do something with the model inside; returns its status.

        Args:
            arguments: ``part``: a part of the text of what is to be loaded. Or ``do``: ``load`` what the
                parts are together, ``status``, or a mode, with ``settings``.
        """
        if self._model is None:
            raise UsageError(f"{self.name} has no model inside")
        if "part" in arguments:
            self._parts.append(str(arguments["part"]))
            if len(self._parts) > MOST_PARTS:
                self._parts = []
                raise UsageError(f"a model of more than {MOST_PARTS} parts")
            return {"parts": len(self._parts)}
        action, found = str(arguments.get("do")), {}
        if action == "load":
            text, self._parts = "".join(self._parts), []
            found["nr_rows"] = self._model.load(json.loads(text))
        elif action != "status":
            self._model.switch(action, dict(arguments.get("settings") or {}))
        return {**self._model.status(), **found}

    def _set(self, texts: dict[str, str]) -> dict[str, Any]:
        """Set some, or none where one of them can't be; returns how they read afterwards."""
        params = {name: texts.pop(name) for name in list(texts) if self._tuna and name in tuna.DEFAULTS}
        values = {name: tuna.parse(name, text) for name, text in params.items()}
        tuna.pack(values, version=_FIRST_VERSION)  # refused before anything is set
        found: dict[str, Any] = dict(self._settings.set(texts))
        if self._tuna and values:
            self._tuna.set(values)
            now = tuna.unpack(self._tuna.params())
            found |= {name: now[name] for name in values}
        return found

    def detach(self) -> int:
        """Let go, where it still is in charge, and say why it is not any more; returns the exit code."""
        was_in_charge = self.in_charge()
        self._bpf.detach()
        # The kernel gives a scheduler up before it tells it why, and `kind` is what `exit` writes last.
        deadline = time.monotonic() + TOLD_WITHIN_S
        while (told := read_exit(self._bpf)) is not None and not told.kind:
            if time.monotonic() > deadline:
                say("EXIT: the kernel has not said why")
                return 1
            time.sleep(LOOK_EVERY_S)
        if told is None:
            word = "unregistered from user space" if was_in_charge else "the object does not keep why"
            say(f"EXIT: {word}")
            return 0 if was_in_charge else 1
        say("\n".join(told.lines()))
        return 0 if told.kind == UNREGISTERED else 1


class StatsSocket:
    """Answers on scx_stats' socket, which only its owner can connect to: one JSON object per line."""

    def __init__(self, scheduler: ObjectScheduler, path: str = STATS) -> None:
        self._scheduler = scheduler
        self._path = path
        self._clients: dict[socket.socket, tuple[bytearray, dict[str, int]]] = {}
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        if os.path.lexists(path):  # of one that was killed: nobody else is in charge
            os.unlink(path)
        before = os.umask(0o177)
        try:
            self._listener.bind(path)
        finally:
            os.umask(before)
        self._listener.listen()

    def serve(self, within_s: float) -> None:
        """Answer what comes within this time, and what has come."""
        for source in select.select([self._listener, *self._clients], [], [], within_s)[0]:
            if source is self._listener:
                client, _ = source.accept()
                client.settimeout(1.0)  # who does not read is not waited for
                self._clients[client] = bytearray(), self._scheduler.counters()
                continue
            try:
                data = source.recv(LONGEST_REQUEST)
                self._take(source, data)
            except OSError:
                data = b""
            if not data or len(self._clients[source][0]) > LONGEST_REQUEST:
                del self._clients[source]
                source.close()

    def _take(self, client: socket.socket, data: bytes) -> None:
        buffer, seen = self._clients[client]
        buffer += data
        while (end := buffer.find(b"\n") + 1) > 0:
            line = bytes(buffer[:end])
            del buffer[:end]
            try:
                asked = json.loads(line)
                said: Any = self._scheduler.answer(str(asked["req"]), dict(asked.get("args") or {}), seen)
                number = 0
            except (ValueError, TypeError, LookupError, AttributeError, UsageError) as error:
                number, said = REFUSED, str(error)
            client.sendall(json.dumps({"errno": number, "args": {"resp": said}}).encode() + b"\n")

    def close(self) -> None:
        """Leave no socket behind."""
        self._listener.close()
        os.unlink(self._path)


def say(line: str) -> None:
    """Print for the log."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def kernel_has(function: str) -> bool:
    """Whether the kernel's BTF has a function."""
    with KernelBtf() as kernel:
        return kernel.has_function(function)


def read(path: str) -> str:
    """The text of a file; empty where there is none."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def content_of(path: str) -> bytes:
    """The object, if nobody but its owner, who is root or who runs this, could have written it.

    Raises:
        UsageError: Somebody else could.
    """
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid not in {0, os.geteuid()} or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UsageError(f"{path} would be loaded with privilege, but others can write it")
        return file.read()


def parse_arguments(words: list[str]) -> tuple[str, dict[str, str]]:
    """Return the operations' name, and the settings: ``--slice-us=8000`` is ``slice_us``.

    Raises:
        UsageError: A word is none of them.
    """
    name, settings = "", {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key.startswith("--"):
            raise UsageError(f"{word}: expected --NAME=VALUE")
        if key == OPS_NAME:
            name = value
        else:
            settings[key[2:].replace("-", "_")] = value if equals else "true"
    return name, settings


def run(path: str, words: list[str]) -> int:
    """Keep it in charge; returns the exit code."""
    ops_name, settings = parse_arguments(words)
    with BpfObject(os.path.basename(path), content=content_of(path)) as bpf:
        scheduler = ObjectScheduler(bpf, ops_name, settings)
        stats = StatsSocket(scheduler)
        try:
            looks = 0
            while not signal.sigpending() & STOP and scheduler.in_charge():
                stats.serve(LOOK_EVERY_S)
                looks += 1
                if not looks % LOOKS_PER_GPU_SEARCH:
                    scheduler.look_for_gpus()
        finally:
            stats.close()
        return scheduler.detach()


def main() -> int:
    """Run, and say why where it can't."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    os.environ["SCHEDTUNA_DEBUG"] = "1"  # the verifier's words are the reason
    try:
        return run(sys.argv[1], sys.argv[2:])
    except SchedtunaError as error:
        for note in getattr(error, "__notes__", []):
            say(note)
        say(str(error))
        return 1
    except OSError as error:
        say(str(error))
        return 1
    except (LookupError, OverflowError) as error:  # a structure or constant that is not what it is called
        say(f"the object is laid out as no scheduler is: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
