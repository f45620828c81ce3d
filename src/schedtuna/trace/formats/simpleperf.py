r"""What simpleperf's report_sample.py printed of scheduler events, read as lines of perf script.

An event has several lines; `--show_tracing_data` prints its fields:

    app\t101/102 [001] 10.000123: 1 sched:sched_wakeup:
    \tffffffc010203040 try_to_wake_up ([kernel.kallsyms])
    \ttracing data:
    \t\tcomm : worker
    \t\tpid : 103
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BufferedIOBase

from schedtuna.errors import TraceError
from schedtuna.trace.formats import sched_text
from schedtuna.trace.formats.sched_head import TYPES
from schedtuna.trace.formats.sink import Sink

HEAD = rb"^[^\n]{1,64}\t(?:\d{1,10}/)?\d{1,10} \[\d{3,5}\] \d{1,10}\.\d{6}:\s+\d{1,20} \S{1,80}:[ \t\r]*$"
HINT = (
    "simpleperf record -a -e sched:sched_switch,sched:sched_wakeup; then"
    " report_sample.py --show_tracing_data -i perf.data > FILE"
)
_HEAD = re.compile(HEAD)
_EVENT = re.compile(rb"sched:(?:%b):\s*\Z" % b"|".join(TYPES))
_FIELD = re.compile(rb"\t\t(?!common_)([a-z_][a-z0-9_]{0,40}) : (.*)")
_LONGEST = 1 << 16


class _Joined(BufferedIOBase):
    """A text with each scheduler event on one line; other events are left out."""

    def __init__(self, stream: BufferedIOBase) -> None:
        self._lines = self._join(stream)
        self._rest = b""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes: of whole lines, or their rest."""
        parts, length = [self._rest], len(self._rest)
        while size is None or size < 0 or length < size:
            line = next(self._lines, None)
            if line is None:
                break
            parts.append(line)
            length += len(line)
        text = b"".join(parts)
        end = len(text) if size is None or size < 0 else size
        self._rest = text[end:]
        return text[:end]

    def _join(self, stream: BufferedIOBase) -> Iterator[bytes]:
        head, fields = b"", list[bytes]()
        while read := stream.readline(_LONGEST):
            line = read.rstrip(b"\r\n")
            if _HEAD.fullmatch(line):
                yield from self._event(head, fields)
                head, fields = (line, []) if _EVENT.search(line) else (b"", [])
            elif (
                head and read != line and (field := _FIELD.fullmatch(line))
            ):  # not of a last line that is cut
                fields.append(b"%b=%b" % field.groups())
        yield from self._event(head, fields)

    @staticmethod
    def _event(head: bytes, fields: list[bytes]) -> Iterator[bytes]:
        if head:  # without fields it counts as an event that can't be read
            yield b"%b %b\n" % (head.rstrip().replace(b"\t", b" "), b" ".join(fields))


def parse_simpleperf(stream: BufferedIOBase, sink: Sink) -> int:
    """Read the text of report_sample.py; return how many events it says were lost, which it never does.

    Raises:
        TraceError: It has no scheduler events, or not their fields.
    """
    try:
        return sched_text.parse(_Joined(stream), sink)
    except TraceError as error:
        raise TraceError(str(error), hint=HINT) from None
