"""The sets that ship: sound, small, and what their recipe makes."""

import numpy as np
import pytest

from schedtuna.errors import UsageError
from schedtuna.learn.building import build_dataset
from schedtuna.learn.controls import check_dataset
from schedtuna.learn.dataset_form import read_dataset
from schedtuna.learn.made_rows import BuildOptions
from schedtuna.learn.reference import SETS, SUITE, load_names, reference_folder, reference_source

pytest.importorskip("polars")


@pytest.mark.parametrize("task", SETS)
def test_a_set_is_sound(task):
    pytest.importorskip("lightgbm")
    flaws = [
        one for one in check_dataset(read_dataset(reference_folder(SUITE, task))) if one.outcome == "flaw"
    ]
    assert flaws == []


def test_all_sets_are_small():
    sizes = [path.stat().st_size for task in SETS for path in reference_folder(SUITE, task).iterdir()]
    assert sum(sizes) < 10 << 20


def test_rows_are_what_the_recipe_makes():
    """Of one run: its rows, whose draw hangs on nothing but itself."""
    stored = read_dataset(reference_folder(SUITE, "burst"))
    number = 5
    rows = stored.where(stored.column("group") == number)
    most = SETS["burst"].most_rows // len(load_names())
    options = BuildOptions("burst", split="time", most_rows=most, seed=stored.card.seed)
    made = build_dataset([reference_source(number)], options)
    assert stored.card.runs[number].sha256 == made.card.runs[0].sha256
    assert np.array_equal(rows.features(), made.features())
    assert np.array_equal(rows.labels(), made.labels())


def test_what_is_not_there_is_refused():
    with pytest.raises(UsageError, match="did you mean burst"):
        reference_folder(SUITE, "bursts")
