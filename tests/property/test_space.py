"""What holds for every space: assignments are valid, encodings and files give back what went in."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.spaces import spaces

from schedtuna.configfile import load_config
from schedtuna.space import ParameterSpace, spell_value
from schedtuna.space.files import dump_space

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=40, deadline=None)


@quick
@given(spaces(), seeds)
def test_every_way_to_an_assignment_gives_a_valid_one(space, seed):
    rng = np.random.default_rng(seed)
    drawn = space.sample(rng)
    found = [
        space.default(),
        drawn,
        space.from_unit(rng.random(space.unit_size)),
        space.from_one_hot(rng.random(space.one_hot_size)),
        space.from_levels([int(rng.integers(len(row))) for row in space.levels(4)], 4),
        *space.neighbours(drawn, step=rng.random()),
        *space.candidates(12, rng),
    ]
    for values in found:
        assert space.validate_assignment(values) == values


@quick
@given(spaces(), seeds)
def test_encodings_give_back_the_assignment(space, seed):
    values = space.sample(np.random.default_rng(seed))
    # Floats come back to about six digits of their range; everything else exactly.
    assert space.distance(space.from_unit(space.to_unit(values)), values) < 1e-4
    assert space.distance(space.from_one_hot(space.to_one_hot(values)), values) < 1e-4
    assert space.from_levels(space.to_levels(space.default())) == space.default()


@quick
@given(spaces(), seeds)
def test_encoded_points_lie_in_the_unit_cube(space, seed):
    values = space.sample(np.random.default_rng(seed))
    for point in (space.to_unit(values), space.to_one_hot(values)):
        assert np.all((point >= 0) & (point <= 1))


@quick
@given(spaces(), seeds)
def test_distance_is_a_metric(space, seed):
    rng = np.random.default_rng(seed)
    a, b, c = (space.sample(rng) for _ in range(3))
    assert space.distance(a, a) == 0
    assert space.distance(a, b) == pytest.approx(space.distance(b, a))
    assert space.distance(a, c) <= space.distance(a, b) + space.distance(b, c) + 1e-9
    assert 0 <= space.distance(a, b) <= 1
    assert (space.distance(a, b) == 0) <= (a == b)


@quick
@given(spaces(), seeds)
def test_neighbours_are_other_assignments(space, seed):
    values = space.sample(np.random.default_rng(seed))
    keys = [space.key(n) for n in space.neighbours(values)]
    assert space.key(values) not in keys
    assert len(set(keys)) == len(keys)


@quick
@given(spaces(), seeds)
def test_repair_keeps_what_is_valid(space, seed):
    values = space.sample(np.random.default_rng(seed))
    assert space.repair(values) == values


@quick
@given(spaces(), seeds)
def test_candidates_are_distinct_and_start_with_the_default(space, seed):
    found = space.candidates(10, np.random.default_rng(seed))
    keys = [space.key(values) for values in found]
    assert found[0] == space.default()
    assert len(set(keys)) == len(keys) <= 10


@quick
@given(spaces(), seeds)
def test_the_command_line_spells_what_parse_reads(space, seed):
    values = space.sample(np.random.default_rng(seed))
    for spec in space.specs:
        assert spec.parse(spell_value(values[spec.name])) == values[spec.name]


@quick
@given(spaces(), st.sampled_from(["json", "yaml", "toml"]))
def test_files_give_back_an_equal_space(space, text_format):
    with tempfile.TemporaryDirectory() as folder:  # tmp_path would be shared by the examples
        path = Path(folder) / f"space.{text_format}"
        path.write_text(dump_space(space, text_format))
        read = ParameterSpace.from_mapping(load_config(path))
    assert read == space
    assert read.stable_hash() == space.stable_hash()


@quick
@given(spaces())
def test_a_model_dump_gives_back_an_equal_space(space):
    assert ParameterSpace.model_validate_json(space.model_dump_json()) == space


@quick
@given(spaces(), seeds)
def test_equal_seeds_draw_equal_assignments(space, seed):
    first, second = (space.sample(np.random.default_rng(seed)) for _ in range(2))
    assert first == second
