import numpy as np
import pytest

from schedtuna.errors import DatasetError
from schedtuna.features.table import SWAPPED
from schedtuna.learn import scheduler_rows
from schedtuna.learn.building import build_dataset
from schedtuna.learn.dataset_form import TIE
from schedtuna.learn.made_rows import BuildOptions
from schedtuna.learn.scheduler_rows import NR_SEEDS, separated
from schedtuna.learn.sources import RunSource
from schedtuna.sim import simulate

pytest.importorskip("polars")


def drawn(rng, means, spread=0.1, common=0.3):
    """Losses of seeds that are hard or easy for all schedulers alike."""
    hard = rng.normal(0, common, (NR_SEEDS, 1))
    return np.exp(np.log(means) + hard + rng.normal(0, spread, (NR_SEEDS, len(means))))


def test_of_equal_schedulers_hardly_any_is_best():
    rng = np.random.default_rng(1)
    found = [separated(drawn(rng, [3, 3, 3, 3])) for _ in range(400)]
    assert np.mean([one is not None for one in found]) <= 0.05


def test_one_that_is_clearly_better_is_found_though_seeds_differ():
    rng = np.random.default_rng(2)
    assert [separated(drawn(rng, [3, 2, 3, 3])) for _ in range(20)] == [1] * 20
    assert [separated(drawn(rng, [3, 2, 2, 3])) for _ in range(20)].count(None) >= 18


def test_alike_runs_tie_and_one_seed_is_no_evidence():
    assert separated(np.full((8, 4), 3.0)) is None
    assert separated(np.array([[3.0, 1.0, 3.0, 3.0]])) is None


def test_a_dataset_has_windows_under_each_scheduler(monkeypatch):
    monkeypatch.setattr(scheduler_rows, "NR_SEEDS", 3)
    sources = [
        RunSource.of(simulate(f"{name}:load=0.9", cpus=2, duration_s=1, seed=n), name)
        for n, name in enumerate(("poisson", "bursts"), 1)
    ]
    loads = [scheduler_rows.under_each(source) for source in sources]
    assert (loads[0].losses[:, 0] == 3).all()  # the default is the measure: 1 for each term
    assert loads[0].window_losses.shape == (2, 3, 4)
    assert (loads[0].window_losses[:, :, 0] == 3).all()
    # The second window of the first load has a best scheduler, and each load as a whole.
    monkeypatch.setattr(scheduler_rows, "separated", lambda losses: _is(losses, loads[0].window_losses[1]))
    monkeypatch.setattr(
        scheduler_rows, "under_each", lambda source, _: _as_found(loads[sources.index(source)])
    )
    data = build_dataset(sources, BuildOptions("scheduler", split="time"))
    assert data.card.classes == [*SWAPPED, TIE]
    assert np.bincount(data.rows["scheduler_now"]).tolist() == [12] * 4
    first, second = (data.where(data.column("group") == group) for group in (0, 1))
    ends = first.column("time_ns")
    assert [set(first.where(ends == ns).labels().tolist()) for ns in (500_000_000, 10**9)] == [{4}, {2}]
    assert set(second.labels()) == {4}
    assert set(data.column("best_of_load")) == {1}
    assert data.card.settings["windows_by_best"] == {"tie": 3, "las": 1}


def _is(losses, wanted):
    return 2 if np.array_equal(losses, wanted) else None


def _as_found(load):
    return scheduler_rows.LoadUnderEach(load.losses, 1, load.window_losses, load.traces)


def test_windows_of_a_load_that_changes_have_other_labels_than_the_load():
    """Where nothing competes nobody is best; short sleepers beside hogs wait less under `las`."""
    asleep, busy = {"loop": 1, "sleep": 500_000}, {"loop": -1, "run": 60_000, "sleep": 1000}
    short = {"instance": 4, "phases": {"a": {"loop": -1, "run": 300, "sleep": 4000}}}
    hog = {"instance": 3, "phases": {"a": asleep, "b": busy}}
    load = {"tasks": {"hog": hog, "short": short}, "global": {"duration": 1}}
    source = RunSource.of(simulate(load, cpus=1, duration_s=1, seed=1), "changing")
    found = scheduler_rows.under_each(source)
    assert found.window_losses.shape[0] == 2
    assert (found.window_losses[0].std(axis=1) < found.window_losses[1].std(axis=1)).all()


def test_a_recording_is_refused():
    trace = simulate("poisson:load=0.5", cpus=2, duration_s=0.3)
    del trace.manifest["simulation"]
    with pytest.raises(DatasetError, match="no evidence"):
        build_dataset([RunSource.of(trace, "recorded")], BuildOptions("scheduler"))
