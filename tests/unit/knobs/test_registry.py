"""The table of knobs, and the document that describes it."""

import re
from pathlib import Path

import pytest

from schedtuna.errors import UsageError
from schedtuna.knobs.registry import all_knobs, knob_named

DOCUMENT = Path(__file__).parents[3] / "docs/knobs.md"


def test_every_knob_is_documented_and_nothing_else():
    section = DOCUMENT.read_text().split("\n## Which there are\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    documented = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(documented) == sorted(knob.name for knob in all_knobs())


def test_machine_wide_knobs_come_first_and_realtime_last():
    names = [knob.name for knob in all_knobs()]
    assert names.index("autogroup") < names.index("cpuset") < names.index("affinity")
    assert names.index("slice_us") < names.index("policy")
    assert names[-1] == "realtime"


def test_a_name_that_is_not_there_gets_the_nearest():
    with pytest.raises(UsageError) as raised:
        knob_named("slice")
    assert "slice_us" in str(raised.value.hint)
