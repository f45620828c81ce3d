"""docs/api.md, history.md and migrating.md name what is there."""

import re
from pathlib import Path

import pytest

import schedtuna
from schedtuna.cli.main import load
from schedtuna.tune.options import OptimizerConfig

DOCS = Path(__file__).parents[3] / "docs"


def options_of(command):
    click_command = load(command)
    return {option for parameter in click_command.params for option in parameter.opts}


@pytest.mark.parametrize("name", ["api.md", "history.md", "migrating.md", "tuning.md"])
def test_every_option_exists(name):
    commands = ("tune", "replay", "analyze", "apply", "report", "bisect")
    known = set().union(*map(options_of, commands))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (DOCS / name).read_text()))
    benchmark = {"--quick", "--family", "--replicates", "--rows"}
    assert named - {"--groups", "--loops", "--slice-us"} - benchmark <= known


def test_every_key_is_documented_with_its_default():
    table = (DOCS / "api.md").read_text()
    rows = re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", table, re.MULTILINE)
    keys = [(key, rows_default) for names, rows_default in rows for key in re.findall(r"`(\w+)`", names)]
    documented = {key: text for key, text in keys if key in OptimizerConfig.model_fields}
    assert set(documented) == set(OptimizerConfig.model_fields)
    for key, text in documented.items():
        default = getattr(OptimizerConfig(), key)
        if isinstance(default, (int, float)) and not isinstance(default, bool):
            assert re.search(rf"(?<![\d.]){default:g}(?![\d])", text), key


@pytest.mark.parametrize("name", ["api.md", "migrating.md"])
def test_every_imported_name_is_public(name):
    text = (DOCS / name).read_text()
    for names in re.findall(r"from schedtuna import ([\w, ]+)", text):
        assert set(names.split(", ")) <= set(schedtuna.__all__)


def test_links_lead_somewhere():
    for name in ("api.md", "history.md", "migrating.md"):
        for target in re.findall(r"\]\(([^)#]+)", (DOCS / name).read_text()):
            assert (DOCS / target).exists(), (name, target)
