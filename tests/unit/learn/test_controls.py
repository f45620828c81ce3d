"""Controls of datasets: sound ones pass, and each planted flaw is found."""

import numpy as np
import pytest

from schedtuna.learn import controls
from schedtuna.learn.controls import check_dataset
from schedtuna.learn.dataset_form import COLUMNS, Dataset, DatasetCard, DatasetFeature, DatasetRun

pl = pytest.importorskip("polars")
pytest.importorskip("lightgbm")

NAMES = ("burst_ns", "sleep_ns", "nr_preempted")
NR_RUNS, NR_ROWS = 6, 300
SIDE = np.array(["train"] * 4 + ["validation", "test"], object)


def made(change=None, *, split="run", seed=1, noise=1.0):
    """Bursts that hang on the last one, of runs that differ."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(NR_RUNS), NR_ROWS)
    size = rng.lognormal(12, 1, NR_RUNS)[group]
    burst = (size * rng.lognormal(0, 1, len(group))).astype(int)
    columns = {
        "burst_ns": burst,
        "sleep_ns": rng.integers(1, 1 << 30, len(group)),
        "nr_preempted": rng.integers(0, 5, len(group)),
        "label": (burst * rng.lognormal(0, noise, len(group))).astype(int),
        "group": group,
        "family": [f"f{number}" for number in group],
        "host": ["simulated"] * len(group),
        "time_ns": np.tile(np.arange(NR_ROWS) * 10**9, NR_RUNS),
        "task": np.zeros(len(group), int),
        "candidate_set": np.zeros(len(group), int),
        "weight": np.ones(len(group)),
        "split": SIDE[group],
    }
    runs = [
        DatasetRun(
            name=f"run{n}",
            sha256=f"{n}" * 64,
            kind="simulated",
            family=f"f{n}",
            host="simulated",
            nr_rows=NR_ROWS,
        )
        for n in range(NR_RUNS)
    ]
    card = DatasetCard(
        task="burst",
        features=[DatasetFeature.of(name) for name in NAMES],
        label="",
        runs=runs,
        split=split,
        seed=1,
    )
    if change:
        card = change(columns, card) or card
    frame = pl.DataFrame(
        columns, schema_overrides={name: getattr(pl, kind) for name, kind in COLUMNS.items()}
    )
    return Dataset(card, frame)


def outcomes(data, seed=1):
    found = sorted(check_dataset(data, seed=seed), key=lambda control: control.outcome == "flaw")
    return {control.name: control for control in found}


@pytest.mark.parametrize("seed", range(4))
def test_a_sound_dataset_has_no_flaws(seed):
    found = outcomes(made(seed=seed), seed)
    assert [control for control in found.values() if control.outcome == "flaw"] == []
    assert found["features do not name the run"].value > 1 / NR_RUNS


def flawed(change, name, **given):
    assert outcomes(made(**given))[name].outcome == "ok"
    found = outcomes(made(change, **given))[name]
    assert found.outcome == "flaw", found
    return found.told


def test_a_feature_that_is_the_label_is_found():
    def change(columns, _card):
        columns["sleep_ns"] = columns["label"] * 3

    assert "sleep_ns alone" in flawed(change, "no feature tells the label alone")


def test_a_feature_that_tells_by_its_middle_is_found():
    def change(columns, _card):
        long = columns["label"] > np.median(columns["label"])
        columns["sleep_ns"] = np.where(long, 10**6, np.where(np.arange(len(long)) % 2, 10**3, 10**9))

    assert "sleep_ns alone" in flawed(change, "no feature tells the label alone")


def test_a_run_in_two_parts_is_found():
    def change(columns, _card):
        columns["split"] = columns["split"].copy()
        columns["split"][0] = "test"

    assert "0 in more than one part" in flawed(change, "parts share nothing")


def test_a_trace_that_is_there_twice_is_found():
    def change(_columns, card):
        runs = [*card.runs]
        runs[5] = runs[5].model_copy(update={"sha256": runs[0].sha256})
        return card.model_copy(update={"runs": runs})

    assert "run0, run5" in flawed(change, "parts share nothing")


def test_a_label_that_reaches_into_the_next_part_is_found():
    split = np.tile(np.repeat(["train", "none", "validation", "none", "test"], 60), NR_RUNS)

    def sound(columns, _card):
        columns["split"] = split

    def change(columns, card):
        sound(columns, card)
        columns["label"][50] = 100 * 10**9  # of a row at 50 s, when validation begins at 120 s

    assert outcomes(made(sound, split="time"))["parts share nothing"].outcome == "ok"
    found = outcomes(made(change, split="time"))["parts share nothing"]
    assert (found.outcome, found.value) == ("flaw", 1)


def test_a_label_that_grows_with_time_is_found():
    def change(columns, _card):
        columns["label"] = np.tile(np.arange(NR_ROWS), NR_RUNS)

    assert "time alone" in flawed(change, "labels do not follow the time")


def test_a_class_that_training_never_saw_is_found():
    def change(columns, card, classes):
        columns["label"] = np.where(columns["group"] == 5, classes - 1, np.arange(len(columns["group"])) % 2)
        return card.model_copy(update={"task": "class", "classes": list("abc")})

    assert (
        outcomes(made(lambda columns, card: change(columns, card, 2)))["labels are in training"].outcome
        == "ok"
    )
    assert (
        "no row of c"
        in outcomes(made(lambda columns, card: change(columns, card, 3)))["labels are in training"].told
    )


def test_a_part_without_rows_is_found():
    def change(columns, _card):
        columns["split"] = np.where(columns["split"] == "test", "train", columns["split"]).astype(object)

    assert "no rows for test" in flawed(change, "parts share nothing")


def test_what_foretells_permuted_labels_is_found(monkeypatch):
    """If permuting did nothing, a model would foretell them: that is what this control would tell."""
    data = made(noise=0.1)
    assert outcomes(data)["permuted labels give chance"].outcome == "ok"
    shuffled, calls = controls._shuffled, []

    def idle_at_first(truth, blocks, rng):
        calls.append(1)
        return truth if len(calls) <= 2 else shuffled(truth, blocks, rng)

    monkeypatch.setattr(controls, "_shuffled", idle_at_first)
    found = outcomes(data)["permuted labels give chance"]
    assert found.outcome == "flaw"
    assert found.value > 0.9


def test_labels_are_permuted_within_blocks_alone():
    rng = np.random.default_rng(1)
    blocks = rng.integers(0, 5, 200)
    truth = rng.random(200) < blocks / 5
    mixed = controls._shuffled(truth, blocks, rng)
    assert [mixed[blocks == b].sum() for b in range(5)] == [truth[blocks == b].sum() for b in range(5)]
    assert (mixed != truth).any()


def test_a_feature_that_tells_who_was_chosen_is_found():
    """Its values' order within each choice tells, though not their size."""

    def change(columns, card):
        nr_rows = len(columns["label"])
        columns["candidate_set"] = np.arange(nr_rows) // 3
        columns["label"] = (np.arange(nr_rows) % 3 == 1).astype(int)
        columns["burst_ns"] = columns["burst_ns"].repeat(3)[:nr_rows] - columns["label"]
        return card.model_copy(update={"task": "next"})

    found = outcomes(made(change))["no feature tells choices alone"]
    assert (found.outcome, found.told) == (
        "flaw",
        "who has least burst_ns is the chosen one in 100.0% of choices",
    )

    def sound(columns, card):
        columns["burst_ns"] = columns["sleep_ns"]
        burst = columns["burst_ns"].copy()
        card = change(columns, card)
        columns["burst_ns"] = burst
        return card

    found = outcomes(made(sound))["no feature tells choices alone"]
    assert found.outcome == "ok" and 0.3 < found.value < 0.45
