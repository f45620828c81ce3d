"""The table of what acts where: it speaks of knobs that exist, and spaces, notes and documents follow it."""

import contextlib
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
from tests.kernel import knob_effects
from tests.kernel.knob_cells import cases_of
from tests.kernel.knob_effects import UNDER, as_text, asked, cancels_table, effects_table, planned, question

from schedtuna.errors import SpaceError
from schedtuna.knobs import effects
from schedtuna.knobs.base import Availability, Scope, Target
from schedtuna.knobs.effects import CANCELS, EFFECTS, Effect, conflicts, effect_of
from schedtuna.knobs.hierarchies import Hierarchy
from schedtuna.knobs.position import Position, position_of
from schedtuna.knobs.registry import all_knobs, knob_named
from schedtuna.machine.cgroups import has_own_share
from schedtuna.scheduler import fair as module
from schedtuna.scheduler.fair import examine, fair, left_out, notes, survey
from schedtuna.space import ParameterSpec, ParameterType

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs/knobs.md"
SEEN = json.loads((ROOT / "benchmarks/data/knob_effects.json").read_text())
MOVED, STILL = 1.45, 1.3  # how a figure changes, as a ratio, where a knob acts and where not
# % of the CPU, or switches per second, beside whatever a setting undoes; else an equal share.
USUAL = {
    ("policy=idle", "share"): (0, 12),
    ("realtime", "share"): (80, 100),
    ("realtime", "switches"): (0, 5),
}
KNOBS = [knob.name for knob in all_knobs()]
ROWS = [row for row in CANCELS if row.holds(Scope.TREE)]
CELLS = list(itertools.product(KNOBS, Position))


def parameters(*names, **defaults):
    text = ParameterType.CATEGORICAL
    return {
        name: ParameterSpec(name=name, type=text, default=defaults.get(name, "a"), choices=("a", "idle"))
        for name in names
    }


def is_at(monkeypatch, position):
    monkeypatch.setattr(module, "position_of", lambda _target: position)


def test_the_table_speaks_of_knobs_and_values_that_exist():
    settings = [*EFFECTS, *(name for row in CANCELS for name in (row.setting, *row.cancelled))]
    for knob, _, value in (name.partition("=") for name in settings):
        spec = knob_named(knob).spec(Target()) if value else None
        assert knob in KNOBS
        assert spec is None or value in spec.choices
    assert {len(cells) for cells in EFFECTS.values()} == {len(Position)}


@pytest.mark.parametrize(("knob", "position"), CELLS)
def test_what_does_less_than_it_seems_says_why(knob, position):
    effect, reason, _ = effect_of(knob, position)
    less = (Effect.NOTHING, Effect.INSIDE, Effect.SCHEDULERS, Effect.UNMEASURED)
    assert bool(reason) == (effect in less)


@pytest.mark.parametrize("position", Position)
def test_what_does_nothing_is_refused_and_what_counts_inside_alone_is_not_searched(monkeypatch, position):
    is_at(monkeypatch, position)
    searched, possible = fair().parameters, fair(include=["all"]).parameters
    told = {name: line for line in left_out(Target()) for name in line.split(": ")[1].split(", ")}
    for row in survey(Target()):
        name = row.knob.name
        effect, reason, hint = effect_of(name, position)
        offered = Scope.TREE in row.knob.offered_in
        if effect is Effect.NOTHING:
            assert name not in possible
            assert not row.availability.ok
        if effect is Effect.UNMEASURED and row.spec is not None:
            assert name in possible
            assert not row.searched(Scope.TREE)
        if effect is Effect.INSIDE and row.spec is not None:
            assert name in possible
            assert notes(Target(), {name: 5}) == [f"{name}: {reason}; {hint}"]
        less = (Effect.NOTHING, Effect.INSIDE, Effect.UNMEASURED)
        left = effect in less and offered and row.condition is None
        assert (name in told) == left
        assert not left or reason in told[name]
        assert (name in searched) == (offered and not left and row.spec is not None)


def test_a_search_of_the_machine_under_sched_ext_tries_nothing_that_was_not_seen_to_act_there(monkeypatch):
    is_at(monkeypatch, Position.EXT)
    machine = Target(Scope.MACHINE)
    told = " ".join(left_out(machine))
    for row in survey(machine):
        measured_there = any(name.partition("=")[0] == row.knob.name for name in EFFECTS)
        if not measured_there:
            assert row.effect is Effect.UNMEASURED
            assert not row.searched(Scope.MACHINE)
        if not measured_there and Scope.MACHINE in row.knob.offered_in:
            assert row.knob.name in told
    assert "not measured" in told


def test_a_process_is_one_of_its_session_so_its_nice_stays_in_the_search(monkeypatch):
    is_at(monkeypatch, Position.SESSION)
    target = Target(Scope.PID, pid=os.getpid())
    row = examine(knob_named("nice"), target, Position.SESSION)
    assert row.effect is Effect.INSIDE
    assert row.searched(Scope.PID) == row.availability.ok
    assert not row.searched(Scope.TREE)


@pytest.mark.parametrize("may", [True, False])
def test_a_command_is_niced_in_a_search_where_that_turns_autogroup_off_too(monkeypatch, may):
    is_at(monkeypatch, Position.SESSION)
    autogroup = type(knob_named("autogroup"))
    monkeypatch.setattr(autogroup, "probe", lambda *_: Availability(may))
    monkeypatch.setattr(autogroup, "show", lambda *_: True)
    searched = fair().parameters
    assert ("nice" in searched) is may
    assert any("nice" in line for line in left_out(Target())) is not may
    if may:
        assert str(searched["nice"].condition) == "autogroup is false"
    assert fair(include=["nice"]).parameters["nice"].condition is None
    assert notes(Target(), {"autogroup": False, "nice": 5}) == []


def test_why_a_knob_can_not_be_turned_comes_before_what_it_does(monkeypatch):
    knob = knob_named("autogroup_nice")
    monkeypatch.setattr(type(knob), "probe", lambda *_: Availability(False, "no privilege"))
    assert examine(knob, Target(), Position.CHILD).availability.reason == "no privilege"


def test_no_assignment_sets_what_would_undo_another():
    scheduler = fair(include=["all"])
    rng = np.random.default_rng(1)
    default = scheduler.space.default()
    for _ in range(300):
        drawn = scheduler.space.sample(rng)
        changed = {name for name in drawn if drawn[name] != default[name]}
        changed |= {f"{name}={drawn[name]}" for name in ("policy",)}
        for row in ROWS:
            assert row.setting not in changed or not changed & set(row.cancelled), (drawn, row)


@pytest.mark.parametrize(
    ("setting", "other"), [(row.setting, other) for row in ROWS for other in row.cancelled]
)
def test_each_of_two_is_allowed_alone_and_both_are_refused_with_the_reason(setting, other):
    scheduler = fair(include=["all"])
    values = {}
    for name in (setting, other):
        knob, _, value = name.partition("=")
        if knob not in scheduler.parameters:
            pytest.skip(f"{knob} can't be turned here")
        spec = scheduler.parameters[knob]
        values[knob] = value or next(
            v
            for v in (*(spec.choices or ()), spec.min_value, spec.max_value)
            if v not in (spec.default, None)
        )
        scheduler.with_values({knob: values[knob]})
    lost = other.partition("=")[0]
    with pytest.raises(SpaceError, match=rf"at most one of.*; leave {lost} out\)"):
        scheduler.with_values(values)


def test_rules_name_only_knobs_that_are_there():
    assert conflicts(parameters("nice", "slice_us"), Scope.TREE) == ()
    found = conflicts(parameters("nice", "cpu_weight"), Scope.TREE)
    assert {rule.names for rule in found} == {("cpu_weight", "nice")}


def test_a_group_that_is_there_already_is_not_moved_anywhere():
    assert conflicts(parameters("nice", "cpu_weight"), Scope.CGROUP) == ()


def test_a_policy_that_is_there_anyhow_hinders_no_weight():
    """A command of an idle shell: its group's weight acts, and no policy was set that would be lost."""
    found = conflicts(parameters("cpu_weight", "policy", "nice", policy="idle"), Scope.TREE)
    assert {rule.names for rule in found} == {("cpu_weight", "nice"), ("policy", "nice")}


@pytest.mark.parametrize(("handed", "lost"), [("cpuset", False), ("cpuset cpu", True)])
def test_a_group_for_cpus_alone_weighs_only_where_the_weight_is_handed_down_too(
    monkeypatch, tmp_path, handed, lost
):
    (tmp_path / "cgroup.subtree_control").write_text(handed)
    (tmp_path / "cgroup.procs").touch()
    hierarchy = Hierarchy(2, "cpuset", tmp_path, tmp_path)
    monkeypatch.setattr(effects, "find_hierarchy", lambda _name: hierarchy)
    monkeypatch.setattr(Hierarchy, "group_of", lambda *_: tmp_path)
    assert bool(conflicts(parameters("cpuset", "nice"), Scope.TREE)) is lost


@pytest.mark.parametrize(
    ("files", "own"),
    [
        ((), False),
        (("cpu.weight",), True),
        (("cpu.max",), False),
        (("cpu.shares",), True),
        (("cpu.shares", "release_agent"), False),  # the root of version 1
    ],
)
def test_a_group_is_weighed_where_the_controller_was_handed_to_it(tmp_path, files, own):
    for name in files:
        (tmp_path / name).touch()
    assert has_own_share(tmp_path) is own


def test_the_machine_has_no_position():
    if position_of(Target()) is not Position.EXT:
        assert position_of(Target(Scope.MACHINE)) is None
    assert effect_of("autogroup", None) == (Effect.WORKS, "", "")


def test_the_document_has_both_tables():
    text = DOCUMENT.read_text()
    assert "\n\n" + "\n".join(effects_table()) + "\n\n" in text
    assert "\n\n" + "\n".join(cancels_table()) + "\n\n" in text


def measured(setting, position, beside=""):
    """What was measured of a setting in all kernels, beside another; a slice alone shows its effect."""
    (knob, _, value), (other, _, other_value) = setting.partition("="), beside.partition("=")
    for row in (row for rows in SEEN.values() for row in rows):
        here = row["position"] == position.name.lower() and row["knob"] == knob
        near = {name: text for name, text in row["beside"].items() if name != "slice_us" or beside}
        wanted = {other: other_value or near.get(other)} if beside else {}
        if here and near == wanted and value in ("", row["set"][knob]):
            yield row


def moved(row):
    low, high = sorted((row["with"], row["without"]))
    return high / max(low, 0.05)


@pytest.mark.parametrize(("setting", "position"), list(itertools.product(EFFECTS, Position)))
def test_each_cell_is_what_was_measured(setting, position):
    effect = EFFECTS[setting][list(Position).index(position)]
    rows = list(measured(setting, position))
    seen = [moved(row) for row in rows if "with" in row]
    if effect is Effect.UNMEASURED:
        assert max(seen, default=1) < MOVED
        return
    assert rows
    if effect is Effect.WORKS:
        assert max(seen) >= MOVED
    elif effect in (Effect.REFUSED, Effect.NONE):
        assert not seen
    elif effect in (Effect.NOTHING, Effect.INSIDE):
        assert seen
        assert max(seen) <= STILL
    else:
        assert seen


@pytest.mark.parametrize(
    ("row", "other"),
    [pytest.param(row, other, id=f"{row.setting} {other}") for row in CANCELS for other in row.cancelled],
)
def test_each_setting_was_seen_to_undo_what_it_undoes(row, other):
    """Beside it there is an equal share again, or what is usual for it."""
    seen = [
        found
        for position in (Position.ROOT, Position.SESSION)
        for found in measured(row.setting, position, other)
        if "with" in found and not 40 < found["without"] < 60
    ]
    usual = [USUAL.get((row.setting, found["measure"]), (45, 55)) for found in seen]
    assert any(low <= found["with"] <= high for (low, high), found in zip(usual, seen, strict=True))
    assert max(map(moved, seen)) >= MOVED


def test_each_row_answers_a_question_that_is_asked_once():
    for rows in SEEN.values():
        answered = list(map(question, rows))
        assert set(answered) <= knob_effects.ASKED
        assert len(answered) == len(set(answered))
        assert {row["seconds"] for row in rows} == {knob_effects.SECONDS}


def rows_of(place, seconds):
    where = {"position": "ext", "under": place} if place in UNDER else {"position": place}
    return [
        where
        | {"measure": case.measure, "set": dict(case.setting), "beside": dict(case.beside), "knob": case.knob}
        | {"seconds": seconds, "with": 1.0, "without": 1.0}
        for case in cases_of(place)
    ]


@pytest.mark.parametrize("cut", [0, 1, 7, None])
def test_a_measurement_that_is_cut_short_loses_no_row_and_goes_on_with_what_is_missing(
    monkeypatch, tmp_path, cut
):
    """What is stored after `cut` of all rows that were asked for."""
    output, kernel = tmp_path / "found.json", "7.3.4"
    before = [*rows_of("child", 1.0), *rows_of("scx_flash", 1.0)]
    stale = before[0] | {"beside": {"nice": 19}}
    output.write_text(as_text({kernel: [stale, *before]}))

    def measured(_lab, _kernel, seconds, plan):
        new = {question(row): row for place in plan for row in rows_of(place, seconds)}
        questions = [asked(place, cases_of(place)[number]) for place in plan for number in plan[place]]
        yield from (new[name] for name in questions[:cut])
        if cut is not None:
            raise KeyboardInterrupt

    monkeypatch.setattr(knob_effects, "in_guest", measured)
    monkeypatch.setattr(knob_effects, "read_lab", lambda: None)
    arguments = ["--no-host", "--kernel", kernel, "--missing", "--output", str(output)]
    monkeypatch.setattr("sys.argv", ["knob_effects", *arguments, "--only", "group,scx_flash,child"])
    with contextlib.suppress(KeyboardInterrupt):
        knob_effects.main()
    rows = json.loads(output.read_text())[kernel]
    fresh = [row for row in rows if row["seconds"] == knob_effects.SECONDS]
    asked_for = [*rows_of("group", 5.0), *rows_of("scx_flash", 5.0), *rows_of("child", 5.0)]
    assert set(map(question, before)) <= set(map(question, rows))
    assert (stale in rows) == (cut is not None)
    assert len(fresh) == len(set(map(question, fresh))) == (len(asked_for) if cut is None else cut)
    left = planned(["group", "scx_flash", "child"], [], fresh)
    assert sum(map(len, left.values())) == len(asked_for) - len(fresh)
    assert planned(["child"], ["nice"], [])["child"] == [0]


def test_the_document_names_the_kernels_and_the_schedulers():
    schedulers = {row["under"] for rows in SEEN.values() for row in rows if row["position"] == "ext"}
    assert len(schedulers) > 1
    for name in {*SEEN, *schedulers}:
        assert f"`{name}`" in DOCUMENT.read_text()


def test_nothing_acts_under_one_scheduler_that_is_said_to_do_nothing_under_any():
    for rows in SEEN.values():
        for row in rows:
            effect, *_ = effect_of(row["knob"], Position.EXT)
            if row["position"] == "ext" and effect is Effect.NOTHING and "with" in row:
                assert moved(row) <= STILL, row
