"""`schedtuna dataset`, as it is typed."""

import json
import shutil
from pathlib import Path

import pytest

from schedtuna.cli.main import main

pytest.importorskip("polars")

from schedtuna.record.suite import INDEX_FILE, SET_FILE
from schedtuna.sim import simulate


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("traces")
    names = ("interactive", "poisson", "bursts")
    for name in names:
        simulate(f"{name}:load=0.7", cpus=2, duration_s=0.5, trace=root / name)
    return [str(root / name) for name in names]


def run(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as ended:
        main(["dataset", *map(str, arguments)])
    said = capsys.readouterr()
    assert ended.value.code == code, said.err
    return said


def last_json(said):
    return json.loads(said.out.splitlines()[-1])


def test_build_and_show(folders, tmp_path, capsys):
    built = last_json(run(capsys, "build", *folders, "-o", tmp_path / "d", "--task", "burst", "--json"))
    shown = last_json(run(capsys, "show", tmp_path / "d", "--json"))
    assert shown == built
    assert built["counts"]["nr_rows"] == sum(one["nr_rows"] for one in built["labels"]) > 500
    assert [run["kind"] for run in built["runs"]] == ["simulated"] * 3
    text = run(capsys, "show", tmp_path / "d").out
    assert "burst_average_ns" in text
    assert "divided by family" in text
    assert "the trace ends in it" in text


def test_a_set_is_its_traces_however_it_is_named(folders, tmp_path, capsys):
    traces = tmp_path / "set"
    shutil.copytree(Path(folders[0]).parent, traces)
    for name in (SET_FILE, INDEX_FILE):
        (traces / name).write_text("{}\n")
    shutil.copytree(folders[0], traces / ".poisson_1.partial")
    alike = {
        run(capsys, "build", *named, "-o", tmp_path / str(len(named)), "--task", "burst", "--json").out
        for named in ([traces], sorted(traces.glob("[!.]*")))
    }
    [built] = map(json.loads, alike)
    assert len(built["runs"]) == 3
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / SET_FILE).write_text("{}\n")
    assert (
        "no trace is in" in run(capsys, "build", empty, "-o", tmp_path / "d", "--task", "burst", code=2).err
    )


def test_what_is_there_is_kept(folders, tmp_path, capsys):
    run(capsys, "build", folders[0], "-o", tmp_path / "d", "--task", "burst")
    said = run(capsys, "build", folders[0], "-o", tmp_path / "d", "--task", "burst", code=2)
    assert "holds a dataset already" in said.err
    run(capsys, "build", folders[1], "-o", tmp_path / "d", "--task", "burst", "--force", "--max-rows", "100")
    shown = last_json(run(capsys, "show", tmp_path / "d", "--json"))
    assert shown["counts"]["nr_rows"] <= 100


def test_labels_of_a_file_are_classes(folders, tmp_path, capsys):
    rules = tmp_path / "labels.yaml"
    rules.write_text("labels: [{label: people, comm: 'typ*'}, {label: film, comm: video}]")
    built = last_json(
        run(capsys, "build", folders[0], "-o", tmp_path / "d", "--task", "class", "--labels", rules, "--json")
    )
    assert built["classes"] == ["film", "people"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["build", "nowhere", "-o", "d", "--task", "burst"], 1, "nowhere"),
        (["show", "nowhere"], 1, "no card.json"),
        (["build", "x", "-o", "d", "--task", "brust"], 2, "brust"),
    ],
)
def test_mistakes_are_told(arguments, code, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in run(capsys, *arguments, code=code).err


def test_check_tells_flaws(folders, tmp_path, capsys):
    pytest.importorskip("lightgbm")
    run(capsys, "build", *folders, "-o", tmp_path / "d", "--task", "burst")
    sound = last_json(run(capsys, "check", tmp_path / "d", "--json"))
    assert sound["is_sound"]
    assert {one["outcome"] for one in sound["controls"]} <= {"ok", "told", "not judged"}
    run(capsys, "build", folders[0], *folders, "-o", tmp_path / "twice", "--task", "burst", "--split", "run")
    said = run(capsys, "check", tmp_path / "twice", code=1)
    assert "parts share nothing" in said.err
    assert "more than once: interactive, interactive" in " ".join(said.out.split())


@pytest.mark.parametrize("task", ["burst", "class", "next", "migrate"])
def test_reference_sets_come_along(task, tmp_path, capsys):
    loaded = last_json(run(capsys, "load", "suite-v1", "--task", task, "-o", tmp_path / "d", "--json"))
    assert loaded["counts"]["nr_train"] > loaded["counts"]["nr_test"] > 100
    assert len({one["family"] for one in loaded["runs"]}) == 7
    assert (
        "no reference set 'suite-v2'"
        in run(capsys, "load", "suite-v2", "--task", task, "-o", tmp_path / "e", code=2).err
    )
