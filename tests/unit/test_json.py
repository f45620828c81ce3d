"""JSON of files and programs is read by `parse_json` alone: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import re
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src/schedtuna"
# Those that look for a document among other text (`raw_decode`) are not meant: any text may be there.
READING = re.compile(r"\bjson\.loads?\(")
# File -> why it reads JSON by itself.
EXCEPT = {
    "configfile.py": "defines it",
    "workload/programs/mix.py": "a program by itself",
}


def test_json_is_read_in_one_place():
    found = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        if any(READING.search(line) for line in path.read_text().splitlines())
    }
    assert found == EXCEPT.keys()
