"""Make the reference sets that ship with the package, of their recipe: tools/reference_sets.py [TASK...]."""

from __future__ import annotations

import sys
from pathlib import Path

from schedtuna.learn.dataset_form import write_dataset
from schedtuna.learn.reference import SETS, SUITE, load_names, make_reference, reference_source

DATA = Path(__file__).parents[1] / "src/schedtuna/learn/data"


def main(tasks: list[str]) -> None:
    """Make some sets; default: all."""
    sources = [reference_source(number) for number in range(len(load_names()))]
    for task in tasks or SETS:
        data = write_dataset(DATA / SUITE / task, make_reference(task, sources), force=True)
        size = sum(path.stat().st_size for path in (DATA / SUITE / task).iterdir())
        sys.stdout.write(f"{task}: {len(data):,} rows, {size:,} bytes\n")


if __name__ == "__main__":
    main(sys.argv[1:])
