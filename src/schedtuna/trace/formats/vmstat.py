"""What vmstat printed, as system samples: which column is which, in which unit, and since when?

vmstat translates the words of its header, so a word is looked up by name where the header is not the
usual one, and by its place where it is. Nothing in the text says `-y` (no row since boot), `-S` (other
units of memory) or the interval: what can be seen from the numbers is, and the rest is told.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from io import BufferedIOBase

from schedtuna.errors import TraceError
from schedtuna.trace.formats.sampled import (
    KIB,
    Column,
    Notes,
    S,
    Times,
    Value,
    check_shares,
    lines,
    named,
    row,
    shown,
)
from schedtuna.trace.formats.sink import Sink

# Column -> (our name, factor), in the order in which procps 3 and 4 print them.
VMSTAT = {
    "r": ("run_queue_length", 1.0),
    "b": ("nr_io_blocked_threads", 1.0),
    "swpd": ("swap_used_bytes", KIB),
    "free": ("memory_free_bytes", KIB),
    "buff": ("buffers_bytes", KIB),
    "cache": ("cache_bytes", KIB),
    "si": ("swap_in_bytes_per_s", KIB),
    "so": ("swap_out_bytes_per_s", KIB),
    "bi": ("io_read_bytes_per_s", KIB),
    "bo": ("io_written_bytes_per_s", KIB),
    "in": ("interrupts_per_s", 1.0),
    "cs": ("switches_per_s", 1.0),
    "us": ("user_percent", 1.0),
    "sy": ("system_percent", 1.0),
    "id": ("idle_percent", 1.0),
    "wa": ("iowait_percent", 1.0),
    "st": ("steal_percent", 1.0),
    "gu": ("guest_percent", 1.0),
    "inact": ("memory_inactive_bytes", KIB),
    "active": ("memory_active_bytes", KIB),
}
_LAYOUT = list(VMSTAT)[:18]
_WIDTHS = (16, 17, 18)  # without st, without gu, all
_ACTIVE = ("inact", "active")  # where -a has them instead of buff and cache
_FEWEST_ANCHORS = 5  # English words that must be in their places, for the others to be known by theirs
# Where a place has a choice of words, or none at all; by the catalogues of procps-ng 4.0.2.
_TRANSLATED = {
    "inakt": "inact", "inativ": "inact", "nieakt": "inact", "비활": "inact", "不活动": "inact",
    "aktiv": "active", "aktivt": "active", "ativo": "active", "akt": "active", "actif": "active",
    "activo": "active", "activă": "active", "активно": "active", "hđộng": "active", "აქტიური": "active",
    "활성": "active", "活动": "active",
    "tampon": "buff", "búf": "buff", "bufor": "buff", "버퍼": "buff", "缓冲": "buff",
    "Cache": "cache", "caché": "cache", "кеш": "cache", "nhớtạm": "cache", "캐시": "cache", "缓存": "cache",
    "sk": "st", "go": "gu", "gä": "gu",
}  # fmt: skip
_SHARES = ("user_percent", "system_percent", "idle_percent", "iowait_percent", "steal_percent")
_MEMORY = frozenset(VMSTAT[word][0] for word in ("swpd", "free", "buff", "cache", "inact", "active"))
_SCALED = {*_MEMORY, VMSTAT["si"][0], VMSTAT["so"][0]}  # what -S changes
_PAGE_KIB = 4
_LEAST_KIB = 1 << 16  # free, buffers and cache of the smallest machine that is taken for one
_ZONE = re.compile(r"[A-Z]{3,5}|[+-]\d\d(\d\d)?")  # of a time; columns have small letters
_ROWS_PER_HEADER = 21  # where the output is not a terminal
_HINT = "LC_ALL=C vmstat -t 1 > FILE"


@dataclass
class _Row:
    line: int
    time_ns: int | None
    values: dict[str, Value]
    is_first: bool  # after a header with which a run may begin


def is_vmstat(head: bytes) -> bool:
    """Whether a text that begins so is vmstat's, in any language."""
    texts = [line.split() for line in head.decode("utf-8", "replace").splitlines()]
    return any(
        words[:3] == ["r", "b", "swpd"]
        or (len({*words} & {*VMSTAT}) >= _FEWEST_ANCHORS and len(row) >= _WIDTHS[0] and _is_integer(row[0]))
        for words, row in itertools.pairwise([*texts, []])
    )


def parse_vmstat(stream: BufferedIOBase, sink: Sink) -> None:
    """Read the output of `vmstat INTERVAL`, best with `-t`, in any language of procps.

    The first row of each run, which covers the time since boot, is left out.

    Raises:
        TraceError: It is something else.
    """
    _parse(stream, sink, has_row_since_boot=True)


def parse_vmstat_without_boot(stream: BufferedIOBase, sink: Sink) -> None:
    """Read the output of `vmstat -y INTERVAL`, of which every row is a sample.

    Raises:
        TraceError: It is something else.
    """
    _parse(stream, sink, has_row_since_boot=False)


def _parse(stream: BufferedIOBase, sink: Sink, *, has_row_since_boot: bool) -> None:
    notes = Notes()
    rows = _rows(stream, notes)
    samples = _without_boot(rows, notes) if has_row_since_boot else rows
    if not samples:
        raise TraceError(
            "no rows of vmstat"
            + (" but the first, which covers the time since boot" if has_row_since_boot else ""),
            hint="LC_ALL=C vmstat -t 1 > FILE (of vmstat -y, every row counts with --format vmstat-y)",
        )
    _scale(samples, rows, notes)
    timed = all(one.time_ns is not None for one in samples)
    before_ns = 0
    for index, one in enumerate(samples, start=1):
        time_ns = one.time_ns if timed and one.time_ns is not None else index * S
        if time_ns < before_ns:
            notes.add(f"line {one.line}: the clock went back")
        before_ns = time_ns
        sink.write_samples(time_ns, one.values)
    notes.write(sink, Times.COLUMN if timed else Times.MADE_UP, remedy="record with vmstat -t")


def _rows(stream: BufferedIOBase, notes: Notes) -> list[_Row]:
    """All rows of the text, memory as printed."""
    rows: list[_Row] = []
    header: list[str] = []
    columns: list[Column] = []
    nr_of_block = 0
    for number, line in lines(stream):
        words = line.split()
        if not words or "---" in line or words[0] == "procs":
            continue
        if not _is_integer(words[0]) and _may_be_header(words):
            may_go_on = nr_of_block == _ROWS_PER_HEADER
            header, columns, nr_of_block = words, [], 0
            continue
        if not header or not _is_integer(words[0]):
            raise TraceError(f"line {number}: expected the header of vmstat, got {shown(line)}", hint=_HINT)
        words, time_ns = _split_time(words, header, notes)
        has_zone = time_ns is not None and _ZONE.fullmatch(header[-1])
        columns = columns or _columns(header[:-1] if has_zone else header[: len(words)], number)
        nr_zones = len(header) - len(words)
        if len(words) != len(columns) or nr_zones not in ({0, 1} if time_ns is not None else {0}):
            raise TraceError(f"line {number}: expected {len(columns)} numbers, got {shown(line)}", hint=_HINT)
        values = row(columns, words, number, _HINT)
        values["cpu_percent"] = _cpu_percent(values, number)
        rows.append(_Row(number, time_ns, values, is_first=not nr_of_block and not (rows and may_go_on)))
        nr_of_block += 1
    return rows


def _may_be_header(words: list[str]) -> bool:
    nr_columns = {*_WIDTHS, *(width + 1 for width in _WIDTHS)}  # with the zone of -t
    return {"us", "sy", "id"} <= set(words) or len(words) in nr_columns


def _split_time(words: list[str], header: list[str], notes: Notes) -> tuple[list[str], int | None]:
    """Take the time off a row's end: a date, a time, and of old versions the zone."""
    for at in (-2, -3):
        try:
            time = datetime.fromisoformat(" ".join(words[at:][:2]))
        except ValueError:
            continue
        rest = words[:at]
        zone = words[-1] if at == -3 else header[-1] if len(header) > len(rest) else ""
        return rest, _zoned_ns(time, zone, notes)
    return words, None


def _zoned_ns(time: datetime, zone: str, notes: Notes) -> int:
    known = _offset(zone)
    if known is None:
        notes.add(f"times are local (zone {zone[:12] or 'not given'}), and taken for UTC; record with TZ=UTC")
    return int(time.replace(tzinfo=known or UTC).timestamp()) * S


def _offset(zone: str) -> timezone | None:
    """The offset of a zone's abbreviation, where that says it."""
    if zone in {"UTC", "GMT"}:
        return UTC
    digits = zone[1:].ljust(4, "0")
    if zone[:1] not in {"+", "-"} or not (digits.isascii() and digits.isdecimal()) or len(digits) != 4:
        return None
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return timezone(timedelta(minutes=minutes if zone[0] == "+" else -minutes)) if minutes < 24 * 60 else None


def _columns(words: list[str], line: int) -> list[Column]:
    """Name the columns of a header, by their places where it is the usual one, else by their words."""
    places = [_LAYOUT.index(word) if word in _LAYOUT else 4 + _ACTIVE.index(word)
              for word in words if word in VMSTAT]  # fmt: skip
    seen = [place for place, word in enumerate(words) if word in VMSTAT]
    if len(words) in _WIDTHS and places == seen and len(seen) >= _FEWEST_ANCHORS:
        pair = [_TRANSLATED.get(word, word) for word in words[4:6]]
        known = [both for both in (_ACTIVE, tuple(_LAYOUT[4:6])) if pair[0] == both[0] or pair[1] == both[1]]
        pair = list(known[0]) if len(known) == 1 else words[4:6]  # which of the two it is can't be known
        last = [_TRANSLATED.get(word, word) for word in words[_WIDTHS[0] :]]  # not every version has them
        words = [*_LAYOUT[:4], *pair, *_LAYOUT[6 : _WIDTHS[0]], *last]
    elif not {"us", "sy", "id"} <= set(words) or len({*words} & {*VMSTAT}) < len(seen):
        raise TraceError(
            f"line {line}: the columns of vmstat's header are not known: {shown(' '.join(words))}", hint=_HINT
        )
    return named(VMSTAT, words, "vmstat")


def _cpu_percent(values: dict[str, Value], line: int) -> float:
    """The share of the CPUs' time that was used; guests' time is in the user's, or beside it."""
    guest = _float(values.get("guest_percent"))
    total = sum(_float(values.get(name)) for name in _SHARES)
    beside = guest > 0 and abs(total + guest - 100) < abs(total - 100)
    check_shares(values, (*_SHARES, "guest_percent") if beside else _SHARES, line, _HINT)
    return (
        _float(values.get("user_percent")) + _float(values.get("system_percent")) + (guest if beside else 0.0)
    )


def _without_boot(rows: list[_Row], notes: Notes) -> list[_Row]:
    """Leave out the rows that cover the time since boot: the first of each run."""
    dropped = [one for one in rows if one.is_first]
    samples = [one for one in rows if not one.is_first]
    for before, one in itertools.pairwise(rows):
        # A run that ended where the next header was due looks as if it went on.
        if one.line - before.line > 1 and not one.is_first and _is_alike(one.values, rows[0].values):
            dropped.append(one)
            samples.remove(one)
    if samples:
        notes.add(
            "left out as averages since boot: "
            + ("the first row" if len(dropped) == 1 else f"the first rows of {len(dropped)} runs")
            + " (of vmstat -y every row counts: --format vmstat-y)"
        )
    return samples


def _is_alike(values: dict[str, Value], boot: dict[str, Value]) -> bool:
    """Whether a row may be an average since boot, as that hardly changes."""
    rates = (VMSTAT[word][0] for word in ("bi", "bo", "in", "cs"))
    near = dict.fromkeys(_SHARES, 0.0) | dict.fromkeys(rates, 0.05)
    differences = {name: abs(_float(values.get(name)) - _float(boot.get(name))) for name in near}
    return all(differences[name] <= max(1.0, share * _float(boot.get(name))) for name, share in near.items())


def _scale(samples: list[_Row], rows: list[_Row], notes: Notes) -> None:
    """Give memory no unit where it is not in KiB: the kernel counts pages, which are whole KiB times 4."""
    names = [name for name in rows[0].values if name in _MEMORY]
    in_kib = [_float(one.values[name]) / KIB for one in rows for name in names if name in one.values]
    whole_pages = all(value % _PAGE_KIB == 0 for value in in_kib)
    most = max(sum(_float(one.values.get(name)) / KIB for name in names) for one in rows)
    if not names or (whole_pages and most >= _LEAST_KIB):
        return
    for one in samples:
        for word, (name, factor) in VMSTAT.items():
            if name in _SCALED and name in one.values:
                one.values[f"vmstat_{word}"] = _float(one.values.pop(name)) / factor
    notes.add(
        "memory and swap are not in KiB (vmstat -S), and the text does not name their unit: their columns are"
        " kept as vmstat_free and the like; record without -S"
    )


def _is_integer(word: str) -> bool:
    return word.removeprefix("-").isdecimal()


def _float(value: Value) -> float:
    return value if isinstance(value, float) else 0.0
