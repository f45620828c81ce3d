"""What the table of knobs' effects says, on this kernel: the cells that tell most, in short runs."""

import os
from typing import Any

import pytest
from tests.kernel.knob_cells import figure, position
from tests.kernel.knob_loads import MEASURES, Side, hog

from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.hierarchies import find_hierarchy, parent_for
from schedtuna.knobs.position import Position, position_of
from schedtuna.knobs.task_attributes import autogroup_enabled
from schedtuna.machine.cgroups import has_own_share
from schedtuna.scheduler.fair import survey

HIERARCHY: Any = find_hierarchy("cpu")
pytestmark = [
    pytest.mark.usefixtures("root"),
    pytest.mark.skipif(
        HIERARCHY is None or parent_for(HIERARCHY, os.getpid()) is None or has_own_share(HIERARCHY.mount),
        reason="the root of the cpu controller is not there to be written",
    ),
]
EQUAL, SMALL = (35, 65), (0, 25)  # % of a CPU that two sides contend for
SECONDS = 0.4


def require_autogroup(where):
    """Turn nothing for the whole machine: test_knobs_guest.py tries the other of the two."""
    if where == ("root" if autogroup_enabled() else "session"):
        pytest.skip(f"autogroup is {'on' if autogroup_enabled() else 'off'} here")


@pytest.mark.parametrize(
    ("where", "values", "expected"),
    [
        ("root", {"nice": 15}, SMALL),
        ("root", {"nice": 15, "cpu_weight": 101}, EQUAL),
        ("root", {"policy": "idle", "cpu_quota": 190}, EQUAL),
        ("session", {"nice": 15}, EQUAL),
        ("session", {"policy": "idle"}, EQUAL),
        ("session", {"autogroup_nice": 15}, SMALL),
        ("session", {"autogroup_nice": 15, "cpu_weight": 101}, EQUAL),
        ("child", {"autogroup_nice": 15}, EQUAL),
        ("child", {"nice": 15}, SMALL),
        ("group", {"nice": 15}, EQUAL),
        ("group", {"cpu_weight": 5}, SMALL),
    ],
)
def test_a_knob_does_here_what_the_table_says(where, values, expected):
    require_autogroup(where)
    if HIERARCHY.version == 2 and "cpu" not in (HIERARCHY.mount / "cgroup.subtree_control").read_text():
        pytest.skip("the root hands no cpu controller down")
    with position(where) as place:
        share = figure(place, MEASURES["share"], values, SECONDS)
    assert expected[0] < share < expected[1]


@pytest.mark.parametrize("where", ["root", "session", "child", "group"])
def test_where_a_target_is_is_seen(where):
    require_autogroup(where)
    with position(where) as place:
        side = Side(hog, None)
        try:
            place.put(side.pid, 0)
            target = Target(place.scope, cgroup=place.groups[0] if place.scope is Scope.CGROUP else None)
            if place.scope is Scope.TREE:
                target = Target(Scope.PID, pid=side.pid)
            assert position_of(target) is Position[where.upper()]
            rows = {row.knob.name: row for row in survey(target)}
            assert where != "child" or "root control group" in rows["autogroup"].availability.reason
        finally:
            side.close()
