"""perf.data files, made byte by byte as tools/perf/Documentation/perf.data-file-format.txt has it."""

# ruff: noqa: E501  # the kernel's lines are as long as they are

from __future__ import annotations

import struct
from dataclasses import dataclass, field

IP, TID, TIME, READ, CALL_CHAIN, ID, CPU, PERIOD, RAW, IDENTIFIER = (
    1 << bit for bit in (0, 1, 2, 4, 5, 6, 7, 8, 10, 16)
)
USUAL = IP | TID | TIME | CPU | PERIOD | RAW | IDENTIFIER
SAMPLE_ID_ALL, USE_CLOCKID = 1 << 18, 1 << 25
ROUND = struct.pack("<IHH", 68, 0, 8)

_COMMON = """\
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

"""
SWITCH_FORMAT = f"""name: sched_switch
ID: 372
format:
{_COMMON}	field:char prev_comm[16];	offset:8;	size:16;	signed:0;
	field:pid_t prev_pid;	offset:24;	size:4;	signed:1;
	field:int prev_prio;	offset:28;	size:4;	signed:1;
	field:long prev_state;	offset:32;	size:8;	signed:1;
	field:char next_comm[16];	offset:40;	size:16;	signed:0;
	field:pid_t next_pid;	offset:56;	size:4;	signed:1;
	field:int next_prio;	offset:60;	size:4;	signed:1;

print fmt: "prev_comm=%s ...", REC->prev_comm, (REC->prev_state & 255) ? \
__print_flags(REC->prev_state & 255, "|", {{ 0x00000001, "S" }}, {{ 0x00000002, "D" }}, {{ 0x00000004, "T" }}, \
{{ 0x00000008, "t" }}, {{ 0x00000010, "X" }}, {{ 0x00000020, "Z" }}, {{ 0x00000040, "P" }}, {{ 0x00000080, "I" }}) : "R", REC->prev_state & 256 ? "+" : ""
"""
WAKEUP_FORMAT = f"""name: sched_wakeup
ID: 374
format:
{_COMMON}	field:char comm[16];	offset:8;	size:16;	signed:0;
	field:pid_t pid;	offset:24;	size:4;	signed:1;
	field:int prio;	offset:28;	size:4;	signed:1;
	field:int target_cpu;	offset:32;	size:4;	signed:1;
"""
FORK_FORMAT = f"""name: sched_process_fork
ID: 366
format:
{_COMMON}	field:__data_loc char[] parent_comm;	offset:8;	size:4;	signed:0;
	field:pid_t parent_pid;	offset:12;	size:4;	signed:1;
	field:__data_loc char[] child_comm;	offset:16;	size:4;	signed:0;
	field:pid_t child_pid;	offset:20;	size:4;	signed:1;
"""
FORMATS = {372: SWITCH_FORMAT, 374: WAKEUP_FORMAT, 366: FORK_FORMAT}


def switch_raw(
    prev: int, next_: int, state: int = 1, *, comms: tuple[bytes, bytes] = (b"one", b"two")
) -> bytes:
    """Return the kernel's record of a sched_switch."""
    return struct.pack("<HBBi16siiq16sii", 372, 0, 0, prev, comms[0], prev, 120, state, comms[1], next_, 98)


def wakeup_raw(tid: int, target_cpu: int = 0, *, comm: bytes = b"two") -> bytes:
    """Return the kernel's record of a sched_wakeup."""
    return struct.pack("<HBBi16siii", 374, 0, 0, 0, comm, tid, 120, target_cpu)


def fork_raw(parent: int, child: int, *, comms: tuple[bytes, bytes] = (b"mother", b"child")) -> bytes:
    """Return the kernel's record of a sched_process_fork, with names that are elsewhere."""
    at = 24
    places = [at | len(comms[0]) + 1 << 16, at + len(comms[0]) + 1 | len(comms[1]) + 1 << 16]
    head = struct.pack("<HBBiIiIi", 366, 0, 0, parent, places[0], parent, places[1], child)
    return head + comms[0] + b"\0" + comms[1] + b"\0"


def record(type_: int, body: bytes, misc: int = 0) -> bytes:
    """Return a record."""
    body += bytes(-len(body) % 8)
    return struct.pack("<IHH", type_, misc, 8 + len(body)) + body


def sample(
    time: int, raw: bytes, *, id_: int, cpu: int = 0, tid: int = 7, tgid: int = 7, between: bytes = b""
) -> bytes:
    """Return a sample as `USUAL` has it; `between` is what READ and CALL_CHAIN put before the record."""
    fixed = struct.pack("<QQIIQIIQ", id_, 0xFFFF, tgid & 0xFFFFFFFF, tid & 0xFFFFFFFF, time, cpu, 0, 1)
    raw += bytes(-(len(raw) + 4) % 8)
    return record(9, fixed + between + struct.pack("<I", len(raw)) + raw)


def trailer(time: int, *, id_: int = 0, cpu: int = 0) -> bytes:
    """Return what ends other records, with sample_id_all."""
    return struct.pack("<IIQIIQ", 7, 7, time, cpu, 0, id_)


def comm(tid: int, name: bytes, *, tgid: int = 0, time: int = 0) -> bytes:
    """Return a COMM record."""
    return record(3, struct.pack("<II", tgid, tid) + name + bytes(8 - len(name) % 8) + trailer(time))


def lost(nr_lost: int, time: int, *, cpu: int = 0) -> bytes:
    """Return a LOST record."""
    return record(2, struct.pack("<QQ", 0, nr_lost) + trailer(time, cpu=cpu))


def lost_samples(nr_lost: int, *, id_: int) -> bytes:
    """Return a LOST_SAMPLES record of one event."""
    return record(13, struct.pack("<Q", nr_lost) + trailer(0, id_=id_))


def thread_map(*tids: int) -> bytes:
    """Return a THREAD_MAP record: whom perf looked at; -1: everybody."""
    return record(73, struct.pack("<Q", len(tids)) + b"".join(struct.pack("<q16s", tid, b"") for tid in tids))


def command(*words: str) -> bytes:
    """Return the header's part with perf's command."""
    padded = [word.encode() + bytes(64 - len(word) % 64) for word in words]
    parts = [struct.pack("<I", len(word)) + word for word in padded]
    return struct.pack("<I", len(padded)) + b"".join(parts)


@dataclass
class Attr:
    """An event of the file."""

    config: int
    ids: tuple[int, ...]
    type: int = 2
    sample_type: int = USUAL
    read_format: int = 0
    flags: int = SAMPLE_ID_ALL
    clockid: int = 0


@dataclass
class PerfFile:
    """A file, and what goes into it."""

    records: list[bytes]
    attrs: list[Attr] = field(
        default_factory=lambda: [Attr(372, (1, 2)), Attr(374, (3, 4)), Attr(366, (5,)), Attr(9, (6,), type=1)]
    )
    formats: dict[int, str] = field(default_factory=lambda: dict(FORMATS))
    features: dict[int, bytes] = field(default_factory=dict)
    header_size: int = 104

    def tracing_data(self) -> bytes:
        """Return the section with the formats."""
        texts = [text.encode() for text in self.formats.values()]
        part = b"\x17\x08\x44tracing0.6\0" + struct.pack("<BBI", 0, 8, 4096)
        part += b"header_page\0" + struct.pack("<Q", 3) + b"abc" + b"header_event\0" + struct.pack("<Q", 0)
        part += struct.pack("<IQ", 1, 2) + b"xy" + struct.pack("<I", 2)
        part += b"irq\0" + struct.pack("<IQ", 1, 4) + b"name" + b"sched\0" + struct.pack("<I", len(texts))
        return part + b"".join(struct.pack("<Q", len(text)) + text for text in texts) + bytes(16)

    def build(self) -> bytes:
        """Return the file."""
        ids = b"".join(struct.pack(f"<{len(attr.ids)}Q", *attr.ids) for attr in self.attrs)
        ids_at, attrs = 104, b""
        for attr in self.attrs:
            head = struct.pack(
                "<IIQQQQQ", attr.type, 128, attr.config, 1, attr.sample_type, attr.read_format, attr.flags
            )
            one = head.ljust(92, b"\0") + struct.pack("<i", attr.clockid)
            attrs += one.ljust(128, b"\0") + struct.pack("<QQ", ids_at, 8 * len(attr.ids))
            ids_at += 8 * len(attr.ids)
        attrs_at = 104 + len(ids)
        data_at, data = attrs_at + len(attrs), b"".join(self.records)
        features = {1: self.tracing_data(), **self.features}
        at, places, parts = data_at + len(data) + 16 * len(features), b"", b""
        for number in sorted(features):
            places += struct.pack("<QQ", at + len(parts), len(features[number]))
            parts += features[number]
        bits = sum(1 << number for number in features)
        header = b"PERFILE2" + struct.pack(
            "<8Q", self.header_size, 144, attrs_at, len(attrs), data_at, len(data), 0, 0
        )
        return header + bits.to_bytes(32, "little") + ids + attrs + data + places + parts
