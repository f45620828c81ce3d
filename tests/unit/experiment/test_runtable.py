import csv

import pytest

from schedtuna.backend.base import Trial, Validity
from schedtuna.errors import ConfigFileError
from schedtuna.experiment.runtable import Sample, read_sample, write_runs, write_summary

TRIALS = [
    Trial(
        scheduler="fair",
        seed=1,
        metrics={"wall_time_s": 1.25, "rps": 800.0},
        covariates={"steal_fraction": 0.0},
    ),
    Trial(
        scheduler="fair", seed=2, validity=Validity.FAILED, reason="exit code 1", metrics={"wall_time_s": 0.1}
    ),
    Trial(scheduler="fair", seed=3, metrics={"wall_time_s": 1.75}, covariates={"steal_fraction": 0.5}),
]
SAMPLE = Sample.of(TRIALS, host="one", nr_cpus=2)


def test_runs_read_back_describe_the_same_sample(tmp_path):
    write_runs(tmp_path / "runs.csv", TRIALS, host="one", nr_cpus=2)
    read = read_sample(tmp_path / "runs.csv")
    assert (read.host, read.nr_cpus) == ("one", 2)
    # repr: nan equals itself there
    assert {repr(spread) for spread in read.spreads} == {repr(spread) for spread in SAMPLE.spreads}


def test_a_summary_reads_back_as_the_same_sample(tmp_path):
    write_summary(tmp_path / "summary.csv", [SAMPLE])
    assert repr(read_sample(tmp_path / "summary.csv")) == repr(SAMPLE)


def test_every_run_has_a_row_the_failed_ones_too(tmp_path):
    write_runs(tmp_path / "runs.csv", TRIALS, host="one", nr_cpus=2)
    with (tmp_path / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["validity"] for row in rows] == ["ok", "failed", "ok"]
    assert [row["rps"] for row in rows] == ["800.0", "", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a table of a variability study"),
        ("a,b\n1,2\n", "not a table of a variability study: its columns are a, b"),
        ("run,host,cpus,validity,m\n", "no rows"),
        ("run,host,cpus,validity,m\n1,h,2,ok,1\n2,h,2,ok,fast\n", "line 3: m is 'fast'"),
        ("run,host,cpus,validity,m\n1,h,2,ok,nan\n", "line 2: m is 'nan'"),
        ("run,host,cpus,validity,m\n1,h,none,ok,1\n", "line 2: cpus is 'none'"),
        ("run,host,cpus,validity,m\n1,h,0,ok,1\n", "expected at least 1"),
    ],
)
def test_a_malformed_file_names_what_is_wrong(tmp_path, text, message):
    (tmp_path / "other.csv").write_text(text)
    with pytest.raises(ConfigFileError, match=message):
        read_sample(tmp_path / "other.csv")


def test_a_missing_or_binary_file_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigFileError, match="No such file"):
        read_sample(tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigFileError, match="can't read"):
        read_sample(tmp_path / "binary.csv")
