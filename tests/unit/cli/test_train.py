"""`schedtuna train`: from a dataset to models that `schedtuna model` takes."""

from __future__ import annotations

import json

import pytest
from tests import datasets

from schedtuna.cli.main import main
from schedtuna.learn.dataset_form import write_dataset

pytest.importorskip("lightgbm", reason="the extra 'learn' is not installed")
pytest.importorskip("xgboost", reason="the extra 'learn' is not installed")


def run(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    told = capsys.readouterr()
    code = ended.value.code
    return code if isinstance(code, int) else 0, told.out, told.err


def test_a_dataset_becomes_a_model_that_is_checked_and_exported(capsys, tmp_path):
    write_dataset(tmp_path / "data", datasets.make("class", nr_rows=200))
    out = tmp_path / "out"
    code, text, _ = run(
        capsys, "train", tmp_path / "data", "--model", "tree", "--model", "majority", "-o", out
    )
    assert code == 0
    assert "kind1 or kind0" in text and "permuted_labels" in text
    code, text, _ = run(capsys, "model", "check", out / "tree.safetensors")
    assert code == 0 and "differs" not in text
    code, text, _ = run(
        capsys, "model", "export", out / "tree.safetensors", "--to", "c", "-o", tmp_path / "c"
    )
    assert code == 0
    code, _, err = run(capsys, "train", tmp_path / "data", "-o", out)
    assert code == 2 and "holds a training already" in err


def test_json_is_the_card(capsys, tmp_path):
    write_dataset(tmp_path / "data", datasets.make("burst", nr_rows=200))
    code, text, _ = run(capsys, "train", tmp_path / "data", "--model", "last_value", "--json")
    assert code == 0
    (problem,) = json.loads(text)["problems"]
    assert [one["name"] for one in problem["models"]] == ["last_value"]
    assert problem["models"][0]["metrics"]["auc"]["mean"] > 0.8


def test_what_is_no_dataset_is_refused(capsys, tmp_path):
    code, _, err = run(capsys, "train", tmp_path / "none")
    assert code == 1 and "there is no dataset" in err and "dataset build" in err
