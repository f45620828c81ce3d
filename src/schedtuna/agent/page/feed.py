"""What do all open pages see? The agent is asked once for all of them, and not at all while none is open."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schedtuna.agent.log import MOST_RECENT
from schedtuna.errors import SchedtunaError

_SHORTEST_S, _LONGEST_S = 0.5, 5.0  # between two questions
_AFTER_INTERVAL_S = 0.1  # the agent has logged by then what it did in it
_SILENT_S = 15.0  # until a reader is told that the line is open

AskView = Callable[[int], Mapping[str, Any]]  # number of the last known row -> `agent.status.view_of`


@dataclass
class _Heard:
    """What was heard last.

    Attributes:
        number: Of answers so far.
        told: The last one, at
        heard_s: this time (time.monotonic()).
        pid: The agent's; 0: none has answered yet.
        rows: Of its log, with their numbers.
    """

    number: int = 0
    told: Mapping[str, Any] = field(default_factory=dict)
    heard_s: float = 0.0
    pid: int = 0
    rows: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=MOST_RECENT))


class PageFeed:
    """Server-sent events for any number of readers.

    Args:
        ask: Asks the agent.
        sleep: Waits for so many seconds.
    """

    def __init__(self, ask: AskView, sleep: Callable[[float], None] = time.sleep) -> None:
        self._ask, self._sleep = ask, sleep
        self._heard = _Heard()
        self._nr_readers = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._listen, name="schedtuna-page-feed", daemon=True).start()

    def events(self, last_id: str = "") -> Generator[bytes]:
        """Give events: `row` for each row of the log, `view` for all else, which is whole each time.

        Args:
            last_id: Of the last row that the reader knows: rows after it come first.
        """
        seen = self._enter()
        try:
            while True:
                heard = self._next(seen)
                if heard is None:
                    yield b": nothing new\n\n"
                    continue
                seen, told, rows = heard
                for name, row in _after(rows, last_id):
                    yield _event("row", row, name)
                    last_id = name
                yield _event("view", told)
        finally:
            with self._changed:
                self._nr_readers -= 1

    def _enter(self) -> int:
        """Begin to read; returns the last answer that is too old to be told: nobody has asked meanwhile."""
        with self._changed:
            self._nr_readers += 1
            self._changed.notify_all()
            return self._heard.number if self._nr_readers == 1 else 0

    def _next(self, seen: int) -> tuple[int, dict[str, Any], list[tuple[str, Mapping[str, Any]]]] | None:
        """Wait for an answer after one: its number, itself and all rows; None: there is none for long."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._heard.number > seen, _SILENT_S):
                return None
            heard = self._heard
            since_s = time.monotonic() - heard.heard_s
            rows = [(_row_id(heard.pid, row), row) for row in heard.rows]
            return heard.number, {**heard.told, "heard_s_ago": since_s}, rows

    def _listen(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._nr_readers > 0)
                after = self._heard.rows[-1]["number"] if self._heard.rows else 0
            pause_s = self._hear(after)
            self._sleep(pause_s)

    def _hear(self, after: int) -> float:
        """Ask once, and return how long to wait until the next time."""
        try:
            view = dict(self._ask(after))
            if after and view["pid"] != self._heard.pid:  # another agent, with rows of its own
                view = dict(self._ask(0))
        except SchedtunaError as error:
            self._tell({"problem": str(error), "hint": error.hint or ""})
            return _LONGEST_S / 2
        self._tell(view, view.pop("rows"))
        return pause_after(view)

    def _tell(self, told: Mapping[str, Any], rows: Sequence[Mapping[str, Any]] = ()) -> None:
        with self._changed:
            heard = self._heard
            if (pid := told.get("pid", heard.pid)) != heard.pid:
                heard.rows.clear()
            known = heard.rows[-1]["number"] if heard.rows else 0
            heard.rows.extend(row for row in rows if row["number"] > known)
            heard.number, heard.told, heard.pid = heard.number + 1, told, pid
            heard.heard_s = time.monotonic()
            self._changed.notify_all()


def pause_after(view: Mapping[str, Any]) -> float:
    """Return when to ask again, in seconds: shortly after the interval that runs has ended."""
    interval = view.get("interval")
    left_s = float(view["interval_s"]) - (float(interval["age_s"]) if interval else 0.0)
    return min(max(left_s + _AFTER_INTERVAL_S, _SHORTEST_S), _LONGEST_S)


def _after(
    rows: list[tuple[str, Mapping[str, Any]]], last_id: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows after one; all of them where it is not among them."""
    names = [name for name, _ in rows]
    begin = names.index(last_id) + 1 if last_id in names else 0
    yield from rows[begin:]


def _row_id(pid: int, row: Mapping[str, Any]) -> str:
    return f"{pid}-{row['number']}"


def _event(kind: str, content: Mapping[str, Any], name: str = "") -> bytes:
    """An event as the stream has it; JSON has no newline."""
    lines = [f"id: {name}"] if name else []
    lines += [f"event: {kind}", f"data: {json.dumps(content)}"]
    return ("\n".join(lines) + "\n\n").encode()
