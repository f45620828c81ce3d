"""Which lines of text tell of lost events, or of where a CPU's buffer begins?

What ftrace, trace-cmd and perf print between events, one row of `_LOSSES` per kind. A line that speaks of
lost events in words of its own counts as a loss of an unknown number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from schedtuna.trace.reading import APART, TOGETHER

_LOSSES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # ftrace: CPU:1 [LOST 7 EVENTS], CPU:1 [LOST EVENTS]
        rb"\s*(?:CPU:?\s*(?P<cpu>\d{1,5})\s+)?\[\s*(?:LOST|DROPPED|MISSED)\s+(?:(?P<count>\d{1,12})\s+)?EVENTS?\s*\]\s*",
        # trace-cmd: CPU:1 [40 EVENTS DROPPED], CPU:1 [EVENTS DROPPED]
        rb"\s*(?:CPU:?\s*(?P<cpu>\d{1,5})\s+)?\[\s*(?:(?P<count>\d{1,12})\s+)?EVENTS?\s+(?:LOST|DROPPED|MISSED)\s*\]\s*",
        # perf script --show-lost-events: comm 1/1 [001] 5.0: PERF_RECORD_LOST lost 40
        rb"(?:.*\[(?P<cpu>\d{1,5})\].*[\s:])?PERF_RECORD_LOST(?:_SAMPLES)?\b:?(?:\s+(?:lost\s+)?(?P<count>\d{1,12}))?.*",
        # perf report --stats, and what trace-cmd counts
        rb"\s*(?:LOST(?:_SAMPLES)? events|dropped events):\s*(?P<count>\d{1,12})\b.*",
        # perf: Processed 12 events and lost 3 chunks!
        rb".*\blost (?:\d{1,12} )?(?:chunks|events|samples)\b.*",
        rb".*\b(?:events?|samples?) (?:were |was |have been )?(?:lost|dropped|missed)\b.*",
        rb".*\b(?:dropped|missed) (?:\d{1,12} )?events?\b.*",
    )
)
_LONGEST = 240  # bytes of such a line
_STARTED = re.compile(rb"#+ CPU \d{1,5} buffer started #+\s*")
_ENTRIES = re.compile(rb"#\s*entries-in-buffer/entries-written:\s*(\d{1,18})/(\d{1,18})\b.*", re.DOTALL)
_OVERRUN = re.compile(rb"\s*(?:commit )?overrun:\s*(\d{1,18})\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Mark:
    """What a line tells.

    Attributes:
        is_loss: Events were lost before the next event.
        nr_lost: How many; None: it does not say.
        cpu: On which CPU; -1: it does not say.
        cpus_begin: How the recording of CPUs began (`reading`); None: it does not say.
    """

    is_loss: bool = False
    nr_lost: int | None = None
    cpu: int = -1
    cpus_begin: str | None = None


def read_mark(line: bytes) -> Mark | None:
    """Return what a line tells that is not an event; None: nothing of the kind."""
    if len(line) > _LONGEST:
        return None
    entries, overrun = _ENTRIES.fullmatch(line), _OVERRUN.fullmatch(line)
    if entries:
        return Mark(cpus_begin=TOGETHER if int(entries[1]) == int(entries[2]) else APART)
    if _STARTED.fullmatch(line) or (overrun and int(overrun[1])):
        return Mark(cpus_begin=APART)
    for pattern in () if line.startswith(b"#") else _LOSSES:
        match = pattern.fullmatch(line)
        if match is None:
            continue
        found = match.groupdict()
        count = found.get("count")
        cpu = int(found.get("cpu") or -1)
        if count is None or int(count):
            return Mark(True, None if count is None else int(count), cpu if cpu < 1 << 16 else -1)
        return None
    return None
