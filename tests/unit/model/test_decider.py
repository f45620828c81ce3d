"""Migrations are decided alike one by one, in batches, awaited and remembered; mistakes are told."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import models

import schedtuna
from schedtuna.errors import ModelError, UsageError
from schedtuna.model.decider import CACHE_ROWS, MigrationDecider, MigrationFeatures, rows_worth_remembering
from schedtuna.model.file import write_model
from schedtuna.model.migration import INPUTS, LABELS, group_load, made_by_hand
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.rows import checked


def rows_of(*features: MigrationFeatures) -> np.ndarray:
    rows = np.zeros((len(features), 10), np.float32)
    for row, one in zip(rows, features, strict=True):
        row[:5] = one.cpu, one.cpu_idle, one.cpu_not_idle, one.src_dom_load, one.dst_dom_load
    return rows


def random_rows(count: int, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = np.zeros((count, 10), np.float32)
    rows[:, 0] = random.choice([0, 3, 64, 4096], count)
    rows[:, 1:3] = random.integers(0, 20, (count, 2))
    rows[:, 3:5] = random.random((count, 2))
    rows[:, 5:] = np.nan  # nobody looks at these
    return rows


@pytest.fixture(scope="module")
def trained() -> DecisionModel:
    """A net over all five inputs, of random weights."""
    random = np.random.default_rng(4)
    bins = dict(INPUTS) | {"cpu": type(INPUTS["cpu"])("linear", 0, 255, 256)}
    inputs = tuple(ModelInput(name, rows) for name, rows in bins.items())
    return checked(DecisionModel("net", inputs, LABELS, models.mlp(random, 5, 64, 64, 1, deviation=60), ""))


HAND = [
    (MigrationFeatures(4, 2, 6, 0.9, 0.2), True),
    (MigrationFeatures(2, 4, 4, 0.5, 0.5), False),
    (MigrationFeatures(1, 7, 1, 0.1, 0.1), False),
    (MigrationFeatures(4096, 0, 0, 1.0, 0.0), True),
]


@pytest.mark.parametrize(("features", "migrates"), HAND)
def test_the_model_that_comes_along_decides_as_it_should(features, migrates):
    decider = schedtuna.MigrationDecider()
    assert decider.should_migrate(features) is migrates
    assert decider.decide_batch(rows_of(features)).tolist() == [migrates]


def test_the_model_that_comes_along_has_tendencies():
    decider = MigrationDecider()
    grid = np.linspace(0, 1, 11)
    for src in grid:
        for dst in grid:  # with those of idle CPUs 1,089 points
            found = [
                decider.should_migrate(MigrationFeatures(0, idle, 8 - idle, src, dst)) for idle in range(9)
            ]
            assert found == sorted(found)  # more idle CPUs never speak against it
            if src <= dst:
                assert not any(found)


def test_decisions_are_the_models_own(trained):
    rows = random_rows(5000)
    decider = MigrationDecider(trained, cache_rows=0)
    loads = np.floor(rows[:, 3:5].astype(float) * 1000 + 0.5).astype(np.int64)
    values = np.concatenate([rows[:, :3].astype(np.int64), loads], axis=1)
    expected = trained.decide(trained.quantise(values)).astype(bool)
    assert 0.05 < expected.mean() < 0.95
    assert np.array_equal(decider.decide_batch(rows), expected)
    one_by_one = [
        decider.should_migrate(MigrationFeatures(int(r[0]), int(r[1]), int(r[2]), float(r[3]), float(r[4])))
        for r in rows[:300]
    ]
    assert one_by_one == expected[:300].tolist()


@pytest.mark.parametrize("cache_rows", [1, 8, 64, 1000, CACHE_ROWS])
def test_what_is_remembered_is_what_was_decided(trained, cache_rows):
    rows = np.concatenate([random_rows(2000, seed) for seed in (1, 2, 1)])
    cached, plain = MigrationDecider(trained, cache_rows=cache_rows), MigrationDecider(trained, cache_rows=0)
    assert np.array_equal(cached.decide_batch(rows), plain.decide_batch(rows))
    hits, misses = cached.cache_hits
    assert hits + misses == len(rows)
    if cache_rows == CACHE_ROWS:
        assert hits >= 1000
    assert plain.cache_hits == (0, 0)


def test_the_least_recently_used_row_gives_way(trained):
    decider = MigrationDecider(trained, cache_rows=8)  # one set of eight
    asked = [MigrationFeatures(cpu, 1, 1, 0.5, 0.5) for cpu in range(9)]
    for features in (*asked[:8], asked[0], asked[8]):  # the ninth takes the place of the second
        decider.should_migrate(features)
    assert decider.cache_hits == (1, 9)
    decider.should_migrate(asked[0])
    assert decider.cache_hits == (2, 9)
    decider.should_migrate(asked[1])
    assert decider.cache_hits == (2, 10)


def test_tenths_are_one_row(trained):
    decider = MigrationDecider(trained, cache_rows=64)
    for load in (0.46, 0.5, 0.54):
        decider.should_migrate(MigrationFeatures(0, 1, 1, load, 0.5))
    assert decider.cache_hits == (2, 1)


def test_nothing_is_remembered_where_the_model_is_faster(trained):
    slow, fast = (100.0, 20.0), (30.0, 20.0)
    assert rows_worth_remembering(*slow) == CACHE_ROWS
    assert rows_worth_remembering(*fast) == 0
    for model in ("migration", trained):
        decider = MigrationDecider(model)
        assert decider.cache_rows in (0, CACHE_ROWS)
        assert min(decider._native.measure(3)) > 0


def test_loads_outside_are_clamped_and_counted():
    decider = MigrationDecider()
    rows = rows_of(MigrationFeatures(0, 8, 0, 1.5, -0.5), MigrationFeatures(0, 8, 0, 1.0, 0.0))
    assert decider.decide_batch(rows).tolist() == [True, True]
    assert decider.nr_clamped == 2


@pytest.mark.parametrize(
    ("features", "told"),
    [
        (MigrationFeatures(0, 1, 1, math.nan, 0), "src_dom_load is nan"),
        (MigrationFeatures(0, 1, 1, 0, math.inf), "dst_dom_load is inf"),
        (MigrationFeatures(0, -1, 1, 0, 0), "cpu_idle is -1"),
        (MigrationFeatures(0, 1, 1.5, 0, 0), "cpu_not_idle is 1.5"),  # type: ignore[arg-type]
        (MigrationFeatures(0, "2", 1, 0, 0), "numbers"),  # type: ignore[arg-type]
        (MigrationFeatures(0, 1, None, 0, 0), "numbers"),  # type: ignore[arg-type]
    ],
)
def test_features_that_are_none_are_refused(features, told):
    with pytest.raises(ModelError, match=told):
        MigrationDecider().should_migrate(features)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (np.zeros((3, 5), np.float32), r"\[any number, 10\], not \[3, 5\]"),
        (np.zeros(10, np.float32), "any number"),
        (np.zeros((3, 10)), "float32, not float64"),
        ([[0] * 10], "not list"),
        (np.full((3, 10), np.nan, np.float32), "row 0: cpu_idle is nan"),
    ],
)
def test_batches_that_are_none_are_refused(rows, told):
    with pytest.raises(ModelError, match=told):
        MigrationDecider().decide_batch(rows)


def test_a_bad_row_is_named_and_nothing_is_decided():
    rows, out = random_rows(100), np.zeros(100, bool)
    rows[70, 3] = np.inf
    with pytest.raises(ModelError, match="row 70: src_dom_load is inf"):
        MigrationDecider().decide_batch(rows, out)
    assert not out.any()
    assert MigrationDecider().decide_batch(np.zeros((0, 10), np.float32)).shape == (0,)


def test_out_is_used_and_must_fit(trained):
    decider, rows, out = MigrationDecider(trained), random_rows(50), np.zeros(50, bool)
    assert decider.decide_batch(rows, out) is out
    assert np.array_equal(out, decider.decide_batch(rows))
    assert np.array_equal(decider.decide_batch(np.asfortranarray(rows)), out)
    wrongs: list[Any] = [np.zeros(49, bool), np.zeros(50, np.uint8), np.zeros(100, bool)[::2]]
    for wrong in wrongs:
        with pytest.raises(ModelError, match="out is"):
            decider.decide_batch(rows, wrong)


def test_a_model_in_a_file_decides(tmp_path, trained):
    write_model(trained, tmp_path / "net.safetensors")
    rows = random_rows(100)
    of_file = MigrationDecider(tmp_path / "net.safetensors")
    assert np.array_equal(of_file.decide_batch(rows), MigrationDecider(trained).decide_batch(rows))
    with pytest.raises(ModelError, match="there is no model"):
        MigrationDecider(tmp_path / "none")


def test_models_that_decide_something_else_are_refused(trained):
    with pytest.raises(ModelError, match="decides a or b, not stay or migrate"):
        MigrationDecider(DecisionModel("m", trained.inputs, ("a", "b"), trained.core, ""))
    with pytest.raises(ModelError, match="takes 'byte_0'"):
        MigrationDecider(models.make("mlp of signs"))
    with pytest.raises(UsageError, match="cache_rows"):
        MigrationDecider(trained, cache_rows=-1)


def test_coroutines_are_decided_in_batches(trained):
    asked = [
        MigrationFeatures(int(r[0]), int(r[1]), int(r[2]), float(r[3]), float(r[4])) for r in random_rows(100)
    ]
    decider = MigrationDecider(trained)

    async def ask() -> tuple[list[bool], int]:
        front = decider.batching(largest=32, wait_ms=1)
        answers = await asyncio.gather(*map(front.should_migrate, asked))
        return answers, front.nr_batches

    answers, nr_batches = asyncio.run(ask())
    assert answers == [decider.should_migrate(features) for features in asked]
    assert nr_batches == 4  # three full ones, and what was left after the wait


def test_a_batch_waits_for_nobody_once_it_is_closed_and_a_mistake_is_its_owners():
    decider = MigrationDecider()

    async def ask() -> list[bool | BaseException]:
        async with decider.batching(largest=32, wait_ms=1e9) as front:
            wrong = MigrationFeatures(0, 1, 1, math.nan, 0)
            tasks = [
                asyncio.ensure_future(front.should_migrate(one)) for one in (HAND[0][0], wrong, HAND[1][0])
            ]
            gone = asyncio.ensure_future(front.should_migrate(HAND[0][0]))
            await asyncio.sleep(0)
            gone.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third = asyncio.run(ask())
    assert (first, third) == (True, False)
    assert isinstance(second, ModelError) and "src_dom_load is nan" in str(second)
    with pytest.raises(UsageError):
        decider.batching(largest=0)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 2048)), min_size=1, max_size=8))
def test_a_groups_load_is_weighted_by_capacity(cpus):
    busy = [share * 1000 for share, _ in cpus]
    capacity = [weight for _, weight in cpus]
    expected = sum(share * weight for share, weight in cpus) / sum(capacity)
    assert group_load(busy, capacity, 1000) == pytest.approx(min(expected, 1))
    assert group_load([1500], [3], 1000) == 1


@pytest.mark.parametrize(
    "given_",
    [([], [], 1), ([1], [0], 1), ([1], [1, 2], 1), ([1], [1], 0), ([-1], [1], 1), ([math.nan], [1], 1)],
)
def test_a_load_of_nothing_is_refused(given_):
    with pytest.raises(ModelError):
        group_load(*given_)


def test_the_model_made_by_hand_says_so():
    assert "by hand" in made_by_hand().made_by
