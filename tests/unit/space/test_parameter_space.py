import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schedtuna.configfile import load_config
from schedtuna.errors import SpaceError
from schedtuna.space import ParameterSpace

# The shape of real schedulers' traps: p2dq's -t needs exactly -q increasing slices, and -i < -q;
# one lavd flag needs another below a threshold; rusty's -c excludes -C.
MAPPING = {
    "parameters": {
        "queues": {"type": "integer", "default": 2, "min_value": 1, "max_value": 4},
        "first_queue": {"type": "integer", "default": 0, "min_value": 0, "max_value": 3},
        "slices": {
            "type": "list",
            "default": [1, 5],
            "min_value": 1,
            "max_value": 100,
            "max_length": 4,
            "increasing": True,
        },
        "slice_max_us": {"type": "integer", "default": 5000, "min_value": 500, "max_value": 20000},
        "pinned": {"type": "boolean", "default": False},
        "greedy": {"type": "boolean", "default": False},
        "mode": {"type": "categorical", "default": "auto", "choices": ["auto", "power", "off"]},
        "power_share": {
            "type": "float",
            "default": 0.5,
            "min_value": 0,
            "max_value": 1,
            "condition": {"parameter": "mode", "values": ["power"]},
        },
    },
    "constraints": [
        {"kind": "equal_count", "lists": ["slices"], "count": "queues"},
        {"kind": "ordering", "parameters": ["first_queue", "queues"], "strict": True},
        {
            "kind": "requirement",
            "when": {"parameter": "slice_max_us", "at_most": 4999},
            "any_of": [{"parameter": "pinned"}],
        },
        {"kind": "conflict", "at_most_one_of": [{"parameter": "pinned"}, {"parameter": "greedy"}]},
    ],
}


@pytest.fixture
def space():
    return ParameterSpace.from_mapping(MAPPING)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"queues": 3}, "slices have equal lengths, queues"),
        ({"slices": (1, 2, 3)}, "slices have equal lengths, queues"),
        ({"first_queue": 2}, "first_queue < queues"),
        ({"slice_max_us": 1000}, "if slice_max_us <= 4999, then pinned is set"),
        ({"pinned": True, "greedy": True}, "at most one of: pinned is set, greedy is set"),
        ({"power_share": 0.1}, "power_share=0.1 has no effect unless mode is power"),
        ({"slice_maxus": 1000}, "did you mean slice_max_us"),
    ],
)
def test_assignments_that_break_a_rule_are_refused_and_can_be_repaired(space, values, says):
    with pytest.raises(SpaceError, match=says):
        space.validate_assignment(values)
    if "slice_maxus" not in values:
        repaired = space.repair({**space.default(), **values})
        assert space.validate_assignment(repaired) == repaired


def test_assignments_that_follow_the_rules_are_kept(space):
    given = {"queues": 3, "slices": [1, 2, 3], "first_queue": 2, "slice_max_us": 900, "pinned": True}
    complete = space.validate_assignment({**given, "mode": "power", "power_share": 1})
    assert complete["slices"] == (1, 2, 3)
    assert complete["power_share"] == 1.0
    assert space.changed(complete).keys() == {*given, "mode", "power_share"}
    assert space.repair(complete) == complete


def test_draws_reach_every_active_part_of_the_space(space):
    drawn = [space.sample(np.random.default_rng(seed)) for seed in range(300)]
    assert {len(v["slices"]) for v in drawn} == {1, 2, 3, 4}
    assert any(v["pinned"] and v["slice_max_us"] < 5000 for v in drawn)
    assert any(v["greedy"] for v in drawn)
    assert len({v["power_share"] for v in drawn if v["mode"] == "power"}) > 50
    assert {v["power_share"] for v in drawn if v["mode"] != "power"} == {0.5}


def broken(**changes):
    data: dict[str, Any] = copy.deepcopy(MAPPING)
    data["constraints"] = changes.pop("constraints", data["constraints"])
    for name, fields in changes.items():
        data["parameters"][name] = {**data["parameters"].get(name, {}), **fields}
    return data


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (broken(queues={"default": 3}), "the default assignment breaks the constraint 'slices have"),
        (broken(constraints=[{"kind": "ordering", "parameters": ["queues", "slices"]}]), "slices is list"),
        (broken(constraints=[{"kind": "ordering", "parameters": ["queues", "quues"]}]), "mean queues"),
        (
            broken(
                constraints=[
                    {"kind": "ordering", "parameters": ["first_queue", "queues"]},
                    {"kind": "ordering", "parameters": ["queues", "first_queue"]},
                ]
            ),
            "orderings contradict each other",
        ),
        (
            broken(constraints=[{"kind": "ordering", "parameters": ["slice_max_us", "queues"]}]),
            "contradicts the bounds: slice_max_us is at least 500, queues at most 4",
        ),
        (broken(constraints=[{"kind": "equal_count", "lists": ["slices"]}]), "two lists, or one list"),
        (broken(constraints=[{"kind": "equal_count", "lists": ["mode"], "count": "queues"}]), "a list"),
        (broken(constraints=[{"kind": "order", "parameters": ["a", "b"]}]), "constraints 0"),
        (broken(constraints=[{"kind": "ordering", "parameters": ["queues", "queues"]}]), "listed twice"),
        (broken(power_share={"condition": {"parameter": "mod"}}), "did you mean mode"),
        (broken(power_share={"condition": {"parameter": "mode", "values": ["x"]}}), "mode='x'"),
        (broken(power_share={"condition": {"parameter": "power_share"}}), "circle"),
        (broken(queues={"maxvalue": 3}), "unknown key 'maxvalue': did you mean max_value"),
        (broken(queues={"min_value": "one"}), "parameter queues min_value"),
        (broken(queues={"type": "int"}), "parameter queues type"),
        ({"parameters": {"a": 3}}, "parameter a: expected a mapping"),
        ({"parameters": ["a"]}, "expected parameters as a mapping"),
        ({"params": {}}, "unknown key 'params': did you mean parameters"),
    ],
)
def test_contradictory_and_malformed_spaces_are_refused_with_the_place(data, says):
    with pytest.raises(SpaceError, match=says):
        ParameterSpace.from_mapping(data)


def test_the_hash_speaks_of_the_search_only(space):
    assert space.stable_hash() == "8ed173bc67b3ef7b"
    renamed = broken(queues={"description": "Number of queues", "command_arg": "-q", "unit": "queues"})
    assert ParameterSpace.from_mapping(renamed).stable_hash() == space.stable_hash()
    for other in (broken(queues={"max_value": 3}), broken(constraints=[]), broken(pinned={"default": True})):
        other["constraints"] = other["constraints"][:2]
        assert ParameterSpace.from_mapping(other).stable_hash() != space.stable_hash()


def test_candidates_enumerate_small_spaces():
    small = ParameterSpace.from_mapping(
        {
            "parameters": {
                "x": {"type": "boolean", "default": True},
                "n": {"type": "integer", "default": 2, "min_value": 1, "max_value": 3},
            }
        }
    )
    found = small.candidates(10, np.random.default_rng(0))
    assert {small.key(v) for v in found} == {(x, n) for x in (True, False) for n in (1, 2, 3)}
    assert found[0] == small.default()


def test_points_of_the_wrong_size_are_refused(space):
    for call in (space.from_unit, space.from_one_hot):
        with pytest.raises(SpaceError, match="expected"):
            call(np.zeros(3))
    with pytest.raises(SpaceError, match="levels"):
        space.from_levels([0, 1])
    with pytest.raises(SpaceError, match="levels"):
        space.from_levels([99] * len(space))


def test_a_copy_with_other_specs_forgets_the_old_ones(space):
    assert space.default()
    one = space["pinned"]
    copied = space.model_copy(update={"specs": (one,), "constraints": ()})
    assert copied.default() == {"pinned": False}
    assert "queues" not in copied


def test_the_space_in_the_documentation_can_be_loaded(tmp_path):
    text = (Path(__file__).parents[3] / "docs/tuning.md").read_text()
    block = text.split("```yaml\n")[1].split("```")[0]
    (tmp_path / "space.yaml").write_text(block)
    documented = ParameterSpace.from_mapping(load_config(tmp_path / "space.yaml"))
    assert len(documented) == 6
    assert len(documented.constraints) == 2
