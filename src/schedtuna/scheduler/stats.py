"""What does a scheduler say of itself? Schedulers built on scx_stats answer on a Unix socket.

One JSON object per line each way; each connection gets what was counted since it asked last. So the
question is put twice by one process on the scheduler's machine, before a run and after it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from schedtuna.configfile import parse_json
from schedtuna.scheduler.entry import entries
from schedtuna.scheduler.helper import Helper

if TYPE_CHECKING:
    from schedtuna.scheduler.scx import Machine

SOCKET = "/var/run/scx/root/stats"
REQUEST = {"req": "stats", "args": {"target": "top"}}
_WITHIN_S = 15.0
_MOST = 100  # values; a scheduler with statistics per CPU has thousands
_CLOCKS = ("at_us", "at_ns")  # points in time, not counts
# Asks once, says so, and asks again at SIGUSR1. Arguments: the socket, the request.
_CLIENT = """
import signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
import socket
for _ in range(50):
    line = socket.socket(socket.AF_UNIX)
    try:
        line.connect(sys.argv[1])
        break
    except OSError:
        time.sleep(0.1)
else:
    sys.exit("no socket")
line.settimeout(10)
answers = line.makefile("r")
def ask():
    line.sendall(sys.argv[2].encode() + b"\\n")
    while not (answer := answers.readline().strip()):
        pass
    return answer
ask()
print("ready", flush=True)
signal.sigwait([signal.SIGUSR1])
print(ask(), flush=True)
"""


def offered(name: str) -> bool:
    """Whether a scheduler is known to answer: those that do have `--stats`."""
    entry = entries().get(name)
    return entry is not None and any(flag.flag == "--stats" for flag in entry.flags)


class StatsClient:
    """Asks the scheduler in charge what it counts from now on.

    A scheduler that does not answer, or a machine without Python, costs the statistics only.

    Args:
        machine: The scheduler's.
        python: The machine's Python.
        path: The scheduler's socket.
    """

    def __init__(self, machine: Machine, python: str, path: str = SOCKET) -> None:
        self._client = Helper(machine, [python, "-I", "-S", "-c", _CLIENT, path, json.dumps(REQUEST)])
        self._ready = self._client.await_lines(1, _WITHIN_S)

    def finish(self) -> dict[str, float]:
        """What was counted since the start, by name; empty where nobody answered."""
        answer = ""
        if self._ready:
            self._client.ask()
            if self._client.await_lines(2, _WITHIN_S):
                answer = self._client.lines()[1]
        self.close()
        return parse_answer(answer)

    def close(self) -> None:
        """End the client."""
        self._client.close()


def parse_answer(text: str) -> dict[str, float]:
    """Read an answer: ``{"errno": 0, "args": {"resp": {...}}}``; empty where it is an error, or none.

    Numbers keep their names, nested ones with dots; lists and points in time are left out.
    """
    try:
        answer = parse_json(text, any_text=True)
        found = answer["args"]["resp"] if answer.get("errno") == 0 else {}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
    return dict(list(_numbers(found))[:_MOST]) if isinstance(found, dict) else {}


def _numbers(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif not isinstance(value, (int, float)) or isinstance(value, bool) or name.endswith(_CLOCKS):
            continue
        elif abs(value) <= sys.float_info.max:
            yield f"{prefix}{name}", float(value)
