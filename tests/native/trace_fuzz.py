"""Give the readers damaged files, as many as argv[1] says; test_trace_readers.py runs this.

The buffers that the library reads are as long as what is in them, so that AddressSanitizer sees every
byte that is read too many.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from tests.native.checked_library import CHECKED
from tests.unit.trace.formats import perf_files as pf
from tests.unit.trace.formats.perf_files import PerfFile
from tests.unit.trace.formats.test_perf_data import RECORDS
from tests.unit.trace.formats.texts import FTRACE, PERF_SCRIPT, TRACE_CMD
from tests.unit.trace.making import random_events

from schedtuna.errors import TraceError
from schedtuna.trace import native
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.formats import perf_data, sched_text
from schedtuna.trace.formats.sink import Collector
from schedtuna.trace.trace import MemorySource, Trace

NUMBERS = [0, 1, 7, 9, 24, 255, 1 << 15, 1 << 16, (1 << 22) - 1, 1 << 22, (1 << 31) - 1, (1 << 64) - 1]
WITH_ALL = pf.USUAL | pf.READ | pf.CALL_CHAIN
BETWEEN = np.array([2, 9, 1, 2, 3, 4, 1, 77], "<u8").tobytes()  # a group of two, and one caller
FILES = [
    PerfFile(RECORDS),
    PerfFile(
        [pf.sample(5, pf.switch_raw(1, 2), id_=1, between=BETWEEN)] * 3
        + [pf.lost(3, 9), pf.lost_samples(9, id_=1)],
        [pf.Attr(372, (1,), sample_type=WITH_ALL, read_format=1 | 4 | 8)],
    ),
]


def damage(rng: np.random.Generator, data: bytes, low: int, high: int) -> bytes:
    """Replace some numbers, and cut or double a piece at times."""
    changed = bytearray(data)
    for _ in range(rng.integers(0, 6)):
        at = int(rng.integers(low, min(high, len(changed))))
        size = int(rng.choice([1, 2, 4, 8]))
        changed[at : at + size] = NUMBERS[rng.integers(len(NUMBERS))].to_bytes(8, "little")[:size]
    if rng.random() < 0.3:
        at, end = sorted(rng.integers(low, len(changed), 2).tolist())
        changed[at:end] = changed[at:end] * int(rng.integers(0, 3))
    return bytes(changed)


def read_perf(data: bytes, folder: Path) -> None:
    """Read a perf.data file, and all that is in it."""
    path = folder / "perf.data"
    path.write_bytes(data)
    collector = Collector()
    perf_data.parse(path, collector)
    Analysis(collector.trace(), allow_lost=True).by("task")


def read_text(data: bytes) -> None:
    """Read scheduler text, and all that is in it."""
    collector = Collector()
    sched_text.parse(io.BytesIO(data), collector)
    Analysis(collector.trace(), allow_lost=True).by("task")


def main() -> None:
    """Read as many damaged files of each format as argv[1] says."""
    assert native.library()._name == str(CHECKED)
    rng = np.random.default_rng(0)
    nr_read = nr_refused = 0
    with tempfile.TemporaryDirectory() as scratch:
        for k in range(int(sys.argv[1])):
            file = FILES[k % 2].build()
            records_at = int.from_bytes(file[40:48], "little")
            low = 0 if k % 4 == 0 else records_at  # the header, or only the records
            text = [PERF_SCRIPT, FTRACE, TRACE_CMD][k % 3]
            for read, arguments in (
                (read_perf, (damage(rng, file, low, records_at + 700), Path(scratch))),
                (read_text, (damage(rng, text, 0, len(text)),)),
            ):
                try:
                    read(*arguments)
                    nr_read += 1
                except TraceError:
                    nr_refused += 1
        Analysis(Trace({}, MemorySource(random_events(rng, 20_000)))).by("cpu")
    print(nr_read, nr_refused)


if __name__ == "__main__":
    main()
