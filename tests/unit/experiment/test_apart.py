import csv
import math

import pytest

from schedtuna.backend.base import Trial, Validity
from schedtuna.errors import ConfigFileError
from schedtuna.experiment.apart import differences
from schedtuna.experiment.runtable import Sample, read_sample, write_tables


def trial(seed, value, *, extra=None, validity=Validity.OK):
    return Trial(
        scheduler="fair",
        seed=seed,
        validity=validity,
        metrics={"wall_time_s": value} | (extra or {}),
        covariates={"steal_fraction": 0.0},
    )


def machines():
    first = [trial(seed, 1.0 + seed / 10) for seed in range(20)]
    second = [trial(seed, 2.0 + seed / 5, extra={"rps": 5.0}) for seed in range(20)]
    return {"one": first, "two": second}


def test_machines_are_held_against_the_first_by_whole_rounds():
    trials = machines()
    trials["one"][3] = trial(3, 99.0, validity=Validity.FAILED)
    trials["two"][5] = trial(5, 99.0, validity=Validity.TIMEOUT)
    wall, steal = differences(trials, {"one": 2, "two": 8})
    assert (wall.metric, wall.host, wall.against, wall.rounds) == ("wall_time_s", "two", "one", 18)
    assert wall.mean.ratio == pytest.approx(2.0)
    assert wall.mean.ci95 == pytest.approx((2.0, 2.0))
    assert wall.per_core == pytest.approx(0.5)
    assert wall.cv.ratio == pytest.approx(1.0)
    assert (steal.metric, steal.mean, steal.per_core, steal.cv) == ("steal_fraction", None, None, None)


def test_a_round_in_which_one_lacks_the_metric_does_not_count():
    trials = machines()
    for number, one in enumerate(trials["one"]):
        if number % 2:
            trials["one"][number] = one.model_copy(update={"metrics": {"rps": 1.0}})
    found = {one.metric: one for one in differences(trials, {"one": 1, "two": 1})}
    assert found["wall_time_s"].rounds == 10
    assert found["rps"].rounds == 10
    assert found["rps"].mean.ratio == pytest.approx(5.0)


def test_each_machine_has_a_table_of_its_own_and_their_summary_is_no_sample(tmp_path):
    trials = machines()
    described = [(Sample.of(own, host=name, nr_cpus=2), own) for name, own in trials.items()]
    files = write_tables(tmp_path, described, differences(trials, {"one": 2, "two": 2}))
    assert list(files) == ["runs of one", "runs of two", "summary", "differences"]
    assert read_sample(files["runs of two"]).host == "two"
    with pytest.raises(ConfigFileError, match="is of 2 machines"):
        read_sample(files["summary"])
    with files["differences"].open(newline="") as file:
        rows = {row["metric"]: row for row in csv.DictReader(file)}
    assert float(rows["wall_time_s"]["mean_ratio_low"]) == pytest.approx(2.0)
    assert rows["steal_fraction"]["mean_ratio"] == ""
    assert not math.isnan(float(rows["wall_time_s"]["cv_ratio"]))
