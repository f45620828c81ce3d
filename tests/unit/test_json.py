"""JSON of others is read by `parse_json` and `json_values` alone, which raise nothing but ValueError."""

from __future__ import annotations

import re
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src/schedtuna"
READING = re.compile(r"\bjson\.loads?\(|\braw_decode\(")
# File -> why it reads JSON by itself.
EXCEPT = {
    "configfile.py": "defines it",
    "lab/guest/adversaries.py": "runs in guests, without the package",
    "scheduler/scx_object.py": "runs in guests, without the package",
    "workload/programs/mix.py": "a program by itself",
}


def test_json_is_read_in_one_place():
    found = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        if any(READING.search(line) for line in path.read_text().splitlines())
    }
    assert found == EXCEPT.keys()
