"""Configuration files: three formats, and what is wrong with a malformed one."""

import os

import pytest

from schedtuna.configfile import load_config
from schedtuna.errors import ConfigFileError, StudyError
from schedtuna.experiment.triallog import LOG_NAME, read_trials
from schedtuna.history.plan import PLAN_NAME, StudyPlan

EXPECTED = {"scheduler": "fair", "parameters": {"slice_us": 500, "policy": "batch", "autogroup": False}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "scheduler: fair\nparameters:\n  slice_us: 500\n  policy: batch\n  autogroup: false\n"),
        ("a.yml", "{scheduler: fair, parameters: {slice_us: 500, policy: batch, autogroup: off}}"),
        (
            "a.json",
            '{"scheduler": "fair", "parameters": {"slice_us": 500, "policy": "batch", "autogroup": false}}',
        ),
        (
            "a.TOML",
            'scheduler = "fair"\n[parameters]\nslice_us = 500\npolicy = "batch"\nautogroup = false\n',
        ),
    ],
)
def test_the_formats_say_the_same(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())  # with the mark that some editors put first
    assert load_config(path) == EXPECTED


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.yaml", "scheduler: fair\nparameters:\n  a: [1\n  b: 2\n", 4),
        ("a.yaml", "a: 1\nb: 2\na: 3\n", 3),
        ("a.yaml", "a: 1\nb: \x07\n", 2),
        ("a.yaml", "a: !!python/object/apply:os.system ['true']\n", 1),
        ("a.yaml", "a: 1\n---\nb: 1\n", 2),
        ("a.json", '{"a": 1,\n "b": }', 2),
        ("a.json", '{"a": 1,\n "a": 2}', 2),
        ("a.json", '{"a": 1}\n\nx', 3),
        ("a.json", '{"a":\n NaN}', 2),
        ("a.toml", "a = 1\nb = \n", 2),
        ("a.toml", "a = 1\na = 2\n", 2),
        ("a.toml", "a = [1,", 1),
    ],
)
def test_what_is_malformed_is_refused_with_its_line(tmp_path, name, text, line):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigFileError, match=f"{name}, line {line}:"):
        load_config(path)


@pytest.mark.parametrize("name", ["a.yaml", "a.json", "a.toml"])
def test_bytes_that_are_not_text(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\n\n\xff\xfe")
    with pytest.raises(ConfigFileError, match="line 3: not UTF-8"):
        load_config(path)


@pytest.mark.parametrize("text", ["", "[1, 2]", "7", "{1: 2}"])
def test_only_a_mapping_of_names_is_a_configuration(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigFileError, match="expected a mapping"):
        load_config(path)


@pytest.mark.parametrize("text", ["[" * 5000, '{"a":' * 5000, '{"a": ' + "9" * 5000 + "}"])
@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_hostile_files_are_refused_quickly(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigFileError):
        load_config(path)


def test_other_suffixes_missing_files_folders_and_huge_files(tmp_path):
    with pytest.raises(ConfigFileError, match=r"there is no .*a\.ini"):
        load_config(tmp_path / "a.ini")
    (tmp_path / "a.ini").touch()
    with pytest.raises(ConfigFileError, match="unknown format") as raised:
        load_config(tmp_path / "a.ini")
    assert ".toml" in str(raised.value.hint)
    with pytest.raises(ConfigFileError, match="No such file"):
        load_config(tmp_path / "a.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(ConfigFileError, match="Is a directory"):
        load_config(tmp_path / "folder.json")
    (tmp_path / "huge.json").write_text(" " * (5 << 20))
    with pytest.raises(ConfigFileError, match="larger than 4 MiB"):
        load_config(tmp_path / "huge.json")


@pytest.mark.parametrize("suffix", ["yaml", "json", "toml"])
def test_a_pipe_is_not_waited_for(tmp_path, suffix):
    os.mkfifo(tmp_path / f"x.{suffix}")
    with pytest.raises(ConfigFileError, match="is a pipe"):
        load_config(tmp_path / f"x.{suffix}")


def test_a_study_of_pipes_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / PLAN_NAME)
    os.mkfifo(tmp_path / LOG_NAME)
    with pytest.raises(StudyError, match="holds no study"):
        StudyPlan.read(tmp_path)
    with pytest.raises(StudyError, match="is a pipe"):
        read_trials(tmp_path)
