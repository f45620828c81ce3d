"""How much room does the base install take, and each extra beyond it?

The sum over a distribution and all that it requires here, by what their installers wrote down; the compiled
Python files, which pip writes as well, included. Goal: at most 400 MB for the base.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = "schedtuna"
EXTRAS = ("trace", "search", "rl")
GOAL_MB = 400


def distributions(extra: str = "") -> set[str]:
    """Return the names of all that an install needs, itself included.

    Raises:
        PackageNotFoundError: Not all of it is installed here.
    """
    found: set[tuple[str, str]] = set()
    waiting = [(ROOT, extra)]
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) not in found:
            found.add((name, wanted))
            waiting += [(name, ""), *_required(name, wanted)]
    return {name for name, _ in found}


def _required(name: str, extra: str) -> Iterator[tuple[str, str]]:
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            other = re.sub(r"[-_.]+", "-", requirement.name).lower()
            yield from ((other, wanted) for wanted in (requirement.extras or {""}))


def size_mb(name: str) -> float:
    """Return what a distribution's files take, in MB (2^20 bytes of disk, as `du -m` counts)."""
    paths = [Path(str(file.locate())) for file in metadata.files(name) or ()]
    return sum(path.stat().st_blocks * 512 for path in paths if path.exists()) / (1 << 20)


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same: it takes no time")
    parser.parse_args()
    base = {name: size_mb(name) for name in sorted(distributions())}
    beyond = {extra: sum(map(size_mb, distributions(extra) - set(base))) for extra in EXTRAS}
    total = sum(base.values())
    print(
        json.dumps(
            {
                "benchmark": "install_size",
                "base_mb": round(total),
                "extras_mb": {extra: round(size) for extra, size in beyond.items()},
                "of_base_mb": {
                    name: round(size, 1) for name, size in sorted(base.items(), key=lambda pair: -pair[1])
                },
                "goal_mb": GOAL_MB,
                "met": total <= GOAL_MB,
            }
        )
    )


if __name__ == "__main__":
    main()
