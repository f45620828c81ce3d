"""Parsers of other packages: found by name, refused with the reason, and held to what holds for ours."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from tests.old_files import LATER, OLD

from schedtuna.errors import MetricError, NothingMeasuredError, UsageError
from schedtuna.history.studies import parse_metrics, read_study
from schedtuna.workload.command import run
from schedtuna.workload.metrics import default_metric, parse_metric, read_metrics
from schedtuna.workload.parsers import PARSERS, find_parser, named_parser
from schedtuna.workload.spec import Workload

OWN = """
import dataclasses
from schedtuna.workload.parsers.base import MAX, MIN, Basis, Field, OutputParser

def parse(text):
    return {"laps": text.count("lap"), "lap_ms": float(text.split()[-1])} if "lap" in text else {}

FIELDS = (Field("laps", "", MAX, "laps"), Field("lap_ms", "ms", MIN, "time of a lap"))
LAPS = OutputParser(
    name="laps", commands=(("laps",),), fields=FIELDS, primary="lap_ms", parse=parse, throughput="laps",
    bases=(Basis("laps", ("lap_ms",)),),
)
ODD = dataclasses.replace(LAPS, primary="lap_us")
NO_MAIN = dataclasses.replace(LAPS, primary="")
NO_COUNT = dataclasses.replace(LAPS, bases=(Basis("lapz", ("lap_ms",)),))
NO_FIELD = dataclasses.replace(LAPS, bases=(Basis("laps", ("lap_us",)),))
BROKEN = dataclasses.replace(LAPS, parse=lambda text: {"lap_ms": {}["no"]})
WORDS = dataclasses.replace(LAPS, parse=lambda text: {"lap_ms": "many"})
NONE = dataclasses.replace(LAPS, parse=lambda text: None)
UNNAMED = dataclasses.replace(LAPS, parse=lambda text: {3: 1.0, "lap_ms": 1.0})
EXITS = dataclasses.replace(LAPS, parse=lambda text: exit(3))
NEGATIVE = dataclasses.replace(LAPS, parse=lambda text: {"lap_ms": -1})
NOTHING = dataclasses.replace(LAPS, parse=lambda text: {"laps": 0, "lap_ms": 0})
"""


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    """An installed package that brings a parser, and would like to take the name of one of ours."""
    (tmp_path / "own_laps.py").write_text(OWN)
    info = tmp_path / "own_laps-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-laps\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[schedtuna.parsers]\nlaps = own_laps:LAPS\nwrk = own_laps:LAPS\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("own_laps", None)
    named_parser.cache_clear()


@pytest.mark.parametrize("name", ["laps", "own_laps:LAPS"])
def test_it_reads_the_output_and_knows_its_fields(name):
    workload = Workload(argv=("echo", "lap lap 2.5"), parser=name)
    assert parse_metric("throughput", workload).name == "laps"
    values = read_metrics(workload, [default_metric(workload)], run(workload, seed=1))
    assert (values["laps"], values["lap_ms"]) == (2, 2.5)


def test_ours_keep_their_names():
    assert named_parser("wrk") is PARSERS["wrk"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lapz", "unknown parser 'lapz': did you mean laps"),
        ("own_laps:LAP", "own_laps has no OutputParser of that name"),
        ("own_laps:parse", "own_laps has no OutputParser of that name"),
        ("own_laps:ODD", "names the field 'lap_us', which its fields lack"),
        ("own_laps:NO_MAIN", "names the field '', which its fields lack"),
        ("own_laps:NO_COUNT", "names the field 'lapz', which its fields lack"),
        ("own_laps:NO_FIELD", "names the field 'lap_us', which its fields lack"),
        ("no_such_module:X", "no_such_module can't be imported: ModuleNotFoundError"),
    ],
)
def test_what_is_no_parser_is_refused_with_the_reason(name, says):
    with pytest.raises(UsageError, match=says):
        find_parser(Workload(argv=("true",), parser=name))


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("BROKEN", MetricError, "can't be read: KeyError"),
        ("WORDS", MetricError, "can't be read: could not convert string to float: 'many'"),
        ("NONE", MetricError, "can't be read: AttributeError"),
        ("UNNAMED", MetricError, "can't be read: it names a number 3"),
        ("EXITS", MetricError, "can't be read: SystemExit"),
        ("NEGATIVE", MetricError, "lap_ms is -1 ms: a time can't be negative"),
        ("NOTHING", NothingMeasuredError, "laps is 0"),
    ],
)
def test_what_it_may_not_return_fails_the_run(name, error, says):
    workload = Workload(argv=("echo", "lap 2"), parser=f"own_laps:{name}")
    with pytest.raises(error, match=says):
        read_metrics(workload, [default_metric(workload)], run(workload, seed=1))


def test_a_stored_study_that_names_one_is_read_without_importing_it(tmp_path):
    study = Path(shutil.copytree(OLD / LATER / "studies/random", tmp_path / "study"))
    plan = json.loads((study / "study.json").read_text())
    plan["workload"]["parser"] = "own_laps:LAPS"
    (study / "study.json").write_text(json.dumps(plan))
    assert parse_metrics(["wall_time_s"], read_study(study))[0].name == "wall_time_s"
    assert "own_laps" not in sys.modules
