"""Schedulers as people name them."""

import json

import pytest

from schedtuna.errors import ConfigFileError, SpaceError, UsageError, nearest
from schedtuna.scheduler.parse import parse_scheduler
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec, ParameterType

SPECS = (
    ParameterSpec(
        name="slice_us", type=ParameterType.INTEGER, default=3000, min_value=100, max_value=100_000
    ),
    ParameterSpec(name="ratio", type=ParameterType.FLOAT, default=0.5, min_value=0.0, max_value=1.0),
    ParameterSpec(name="autogroup", type=ParameterType.BOOLEAN, default=True),
    ParameterSpec(name="policy", type=ParameterType.CATEGORICAL, default="other", choices=("other", "batch")),
    ParameterSpec(
        name="cpus",
        type=ParameterType.LIST,
        element_type=ParameterType.INTEGER,
        default=(1,),
        min_value=0,
        max_value=9,
        min_length=1,
        max_length=4,
    ),
)
FAIR = SchedulerConfig(name="fair", parameters={spec.name: spec for spec in SPECS})


def lookup(name):
    if name != "fair":
        raise UsageError(f"unknown scheduler {name!r}", hint=nearest(name, ["fair"]))
    return FAIR


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("fair", {}),
        (" fair ", {}),
        ("fair:slice_us=500", {"slice_us": 500}),
        (
            "fair: slice_us = 500, policy=batch,autogroup=off,ratio=1",
            {"slice_us": 500, "policy": "batch", "autogroup": False, "ratio": 1.0},
        ),
        ("fair:slice_us=3000", {}),  # the default
        ("fair:cpus=3,5,7,slice_us=500", {"cpus": (3, 5, 7), "slice_us": 500}),
    ],
)
def test_names_and_values(text, values):
    scheduler = parse_scheduler(text, lookup)
    assert (scheduler.name, scheduler.values) == ("fair", values)


@pytest.mark.parametrize(
    "text", ["fair", "fair:slice_us=500,policy=batch", "fair:cpus=1/2/3,autogroup=false"]
)
def test_a_label_reads_back_as_the_same_scheduler(text):
    scheduler = parse_scheduler(text, lookup)
    assert parse_scheduler(scheduler.label(), lookup) == scheduler


def test_default_is_the_machine_as_it_is():
    scheduler = parse_scheduler("default", lookup)
    assert (scheduler.name, scheduler.values, scheduler.parameters) == ("default", {}, {})


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("fare", UsageError, "unknown scheduler 'fare'"),
        ("", UsageError, "unknown scheduler ''"),
        ("fair:", UsageError, "'' sets nothing"),
        ("fair:slice_us", UsageError, "'slice_us' sets nothing"),
        ("fair:=5", UsageError, "sets nothing"),
        ("fair:slice_us=1,", SpaceError, "slice_us"),
        ("fair:slice=500", SpaceError, "unknown parameter 'slice': did you mean slice_us?"),
        ("fair:slice_us=5", SpaceError, "out of bounds, expected 100 to 100000"),
        ("fair:slice_us=soon", SpaceError, "expected a whole number"),
        ("fair:ratio=nan", SpaceError, "finite"),
        ("fair:policy=fifo", SpaceError, "batch"),
        ("fair:slice_us=500,slice_us=600", UsageError, "sets slice_us twice"),
    ],
)
def test_what_can_not_be_meant_is_an_error_that_helps(text, error, message):
    with pytest.raises(error) as raised:
        parse_scheduler(text, lookup)
    assert message in str(raised.value)
    assert raised.value.hint


@pytest.mark.parametrize("name", ["best.json", "my settings.yaml", "sub/x.toml"])
def test_files(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    content = {"scheduler": "fair", "parameters": {"slice_us": 500, "autogroup": False}}
    if path.suffix == ".toml":
        path.write_text('scheduler = "fair"\n[parameters]\nslice_us = 500\nautogroup = false\n')
    else:
        path.write_text(json.dumps(content))  # which is YAML, too
    assert parse_scheduler(str(path), lookup).values == content["parameters"]


def test_a_file_beside_us_needs_no_slash(tmp_path, monkeypatch):
    (tmp_path / "best.yaml").write_text("scheduler: fair\n")
    monkeypatch.chdir(tmp_path)
    assert parse_scheduler("best.yaml", lookup) == FAIR


def test_a_studys_folder_stands_for_its_best_parameters(tmp_path, monkeypatch):
    best = {"scheduler": "fair", "parameters": {"slice_us": 500}, "verdict": "improved", "command": ["true"]}
    (tmp_path / "best_parameters.json").write_text(json.dumps(best))
    assert parse_scheduler(str(tmp_path), lookup).values == {"slice_us": 500}
    monkeypatch.chdir(tmp_path.parent)
    assert parse_scheduler(tmp_path.name, lookup).values == {"slice_us": 500}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"scheduler": "fair", "paramters": {}}, "unknown key 'paramters'"),
        ({"parameters": {}}, "'scheduler' must name one"),
        ({"scheduler": 3}, "'scheduler' must name one"),
        ({"scheduler": "fair", "parameters": [1]}, "'parameters' must map"),
        ({"scheduler": "fare"}, "unknown scheduler"),
        ({"scheduler": "fair", "parameters": {"slice": 1}}, "did you mean slice_us?"),
        ({"scheduler": "fair", "parameters": {"slice_us": 1}}, "out of bounds"),
        ({"scheduler": "fair", "parameters": {"slice_us": "500"}}, "expected a number"),
        ({"scheduler": "fair", "parameters": {"policy": ["batch"]}}, "policy"),
    ],
)
def test_files_that_say_something_wrong(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError) as raised:
        parse_scheduler(str(path), lookup)
    assert message in f"{raised.value} {raised.value.hint}"


def test_malformed_and_missing_files(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(ConfigFileError, match="No such file"):
        parse_scheduler(str(path), lookup)
    path.write_text('{"scheduler":\n fair}')
    with pytest.raises(ConfigFileError, match="line 2"):
        parse_scheduler(str(path), lookup)


def test_a_program_is_not_taken_for_a_file_and_what_makes_one_is_said(tmp_path):
    program = tmp_path / "scx_mine-1.0"
    program.touch(mode=0o755)
    with pytest.raises(UsageError, match="is a program") as caught:
        parse_scheduler(str(program), lookup)
    assert f"schedulers probe {program} -o scx_mine-1.0.toml" in caught.value.hint
