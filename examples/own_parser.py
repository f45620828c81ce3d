"""Read the output of a tool that Schedtuna has no parser for: dd.

python examples/own_parser.py [COUNT]
PYTHONPATH=examples LC_ALL=C schedtuna compare default fair:policy=batch --parser own_parser:DD -- dd ...
"""

import re
import sys

from schedtuna.workload.command import run
from schedtuna.workload.measured import Basis
from schedtuna.workload.metrics import default_metric, read_metrics
from schedtuna.workload.parsers.base import MAX, MIN, NUMBER, Field, OutputParser
from schedtuna.workload.spec import Workload

_LAST_LINE = re.compile(rf"^(\d+) bytes .*copied, {NUMBER} s, ", re.MULTILINE)


def parse(text: str) -> dict[str, float]:
    """Return what `4096 bytes (4.1 kB, 4.0 KiB) copied, 5.2e-05 s, 78.8 MB/s` says."""
    if (found := _LAST_LINE.search(text)) is None:
        return {}
    nr_bytes, time_s = float(found[1]), float(found[2])
    return {"bytes": nr_bytes, "time_s": time_s, "bytes_per_s": nr_bytes / time_s}


DD = OutputParser(
    name="dd",
    commands=(("dd",),),
    fields=(
        Field("bytes_per_s", "B/s", MAX, "bytes copied per second"),
        Field("time_s", "s", MIN, "time that copying took"),
        Field("bytes", "B", MAX, "bytes copied"),
    ),
    primary="bytes_per_s",  # what is optimised where no --metric is given
    throughput="bytes_per_s",  # what --metric throughput stands for
    latency="time_s",
    bases=(Basis("bytes", ("bytes_per_s", "time_s", "bytes")),),  # a run that copied nothing fails
    parse=parse,
    hint="run it as env LC_ALL=C dd, without status=none",
)


def main(count: int) -> None:
    """Run dd once, and read it."""
    copy = ("dd", "if=/dev/zero", "of=/dev/null", "bs=64k", f"count={count}")
    workload = Workload(argv=("env", "LC_ALL=C", *copy), parser="own_parser:DD")
    raw = run(workload, seed=1)
    values = read_metrics(workload, [default_metric(workload)], raw)
    print(f"{values['bytes']:.0f} bytes, {values['bytes_per_s'] / 1e6:.0f} MB/s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
