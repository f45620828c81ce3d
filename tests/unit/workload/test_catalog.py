"""One list has every name that `--metric` takes; the page in docs/ is made of it."""

import json

import pytest
from tests.commands import run_schedtuna
from tests.metrics_page import PAGE, page

from schedtuna.errors import UsageError
from schedtuna.workload.catalog import find, groups
from schedtuna.workload.metrics import parse_metric
from schedtuna.workload.own_metrics import OWN_FIELDS
from schedtuna.workload.parsers import PARSERS
from schedtuna.workload.spec import Workload


def test_the_page_is_what_the_tables_say():
    assert PAGE.read_text() == page(), "run `python -m tests.metrics_page`"


def test_every_metric_is_listed_and_taken():
    listed = {(group.name, field.name) for group in groups() if group.is_metric for field in group.fields}
    own = {(group, name) for group, name in listed if group not in PARSERS}
    assert {name for _, name in own} == {field.name for field in OWN_FIELDS}
    assert listed - own == {
        (parser.name, field.name) for parser in PARSERS.values() for field in parser.fields
    }
    for group, name in listed:
        workload = Workload(argv=("x",), parser=group if group in PARSERS else "")
        assert parse_metric(f"{name}:min", workload).name == name


@pytest.mark.parametrize(
    ("name", "groups_", "field"),
    [
        ("p99_9_us", {"stress-ng", "cyclictest", "wrk", "json"}, "pNN_us"),
        ("cpu.bogo_ops", {"stress-ng"}, "bogo_ops"),
        ("wall_time_s", {"run"}, "wall_time_s"),
        ("steal_fraction", {"covariates"}, "steal_fraction"),
    ],
)
def test_a_name_is_found_wherever_it_has_a_meaning(name, groups_, field):
    found = find(name, groups())
    assert {group.name for group in found} == groups_
    assert field in {row.name for group in found for row in group.fields}


def test_a_group_is_found_whole_and_a_misspelt_name_gets_the_nearest():
    [group] = find("hackbench", groups())
    assert group.fields == PARSERS["hackbench"].fields
    for wrong, meant in (("wal_time_s", "wall_time_s"), ("hackbnch", "hackbench")):
        with pytest.raises(UsageError, match=f"there is no metric {wrong}: did you mean .*{meant}"):
            find(wrong, groups())
    with pytest.raises(UsageError) as caught:
        find("xyzzy", groups())
    assert str(caught.value) == "there is no metric xyzzy"
    assert caught.value.hint == "`schedtuna metrics` lists them"


def test_the_command_says_what_is_missing_here(tmp_path):
    (tmp_path / "hackbench").touch(mode=0o755)
    told = {}
    for name in ("hackbench", "wrk", "run"):
        done = run_schedtuna("metrics", name, "--json", env={"PATH": str(tmp_path)})
        assert done.returncode == 0, done.stderr
        told |= {row["name"]: row for row in json.loads(done.stdout)["metrics"]}
    assert told["time_s"]["available"] and told["wall_time_s"]["available"]
    assert told["requests_per_s"]["missing"] == "wrk or wrk2 is not installed"
    assert told["time_s"]["better"] == "min"
    text = run_schedtuna("metrics", "wrk", env={"PATH": str(tmp_path)}).stdout
    assert "not here: wrk or wrk2 is not installed" in text
    done = run_schedtuna("metrics", "p99us")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean p99_us?" in done.stderr
