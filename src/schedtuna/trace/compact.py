"""`python -m schedtuna.trace.compact FOLDER END...`: compact each table's finished segments before END.

The recorder starts this beside itself when its raw files pile up; it runs only on CPU time that
nobody else wants, and in a process of its own, so that the recorder stays small.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from schedtuna.trace.parts import compact_segment, segments


def main(folder: Path, ends: list[Path]) -> None:
    """Compact every raw segment of `folder` that sorts before its table's end."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    for end in ends:
        for path in segments(folder, end.stem.partition("-")[0]):
            if path.suffix == ".spool" and path.stem < end.stem:
                compact_segment(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(end) for end in sys.argv[2:]])
