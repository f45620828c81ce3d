"""How benchmarks end where this machine can't run them."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from schedtuna.errors import SchedtunaError
from skipping import skipping

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.mark.parametrize("name", ["lab_boot", "lab_deterministic", "scx_control"])
def test_what_has_no_lab_says_so_in_one_object(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SCHEDTUNA_LAB_DIR", str(tmp_path / "none"))
    monkeypatch.setattr(sys, "argv", [name, "--quick"])
    runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
    told = json.loads(capsys.readouterr().out)
    assert told["benchmark"] == name
    assert "the lab is not set up" in told["skipped"]
    assert told["hint"] == "schedtuna lab setup"


def test_an_error_of_another_kind_is_none_of_the_machines():
    with pytest.raises(SchedtunaError), skipping("any"):
        raise SchedtunaError("it went wrong")
