"""Configuration files: three formats, and what is wrong with a malformed one."""

import json
import os
import time

import pytest
from pydantic import BaseModel, ValidationError

from schedtuna.configfile import first_fault, json_values, load_config, parse_json
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
        ("a.yaml", "a: 1\nb: !!bool 7\n", 2),
        ("a.yaml", "a: 1\nb: !!timestamp x\n", 2),
        ("a.yaml", "a: 1\nb:\n- !!int \u00b2\n", 3),
        ("a.yaml", "a: 1\nb: 2026-99-99\n", 2),
        ("a.yaml", "a: 1\nb: " + "1:" * 5000 + "1.5\n", 2),
        ("a.yaml", "a: 1\nb: &b [*b]\n", 2),
        ("a.yaml", "a: 1\nb: &b {<<: *b}\n", 2),
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


REPEATED = "a: &a0 [0]\n" + "".join(f"b{n}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9))
MERGED = "a: &a0 {k: 0}\n" + "".join(
    f"b{n}: &a{n + 1} {{<<: [{', '.join([f'*a{n}'] * 9)}]}}\n" for n in range(9)
)


@pytest.mark.parametrize("text", [REPEATED, MERGED])
def test_aliases_that_grow_are_refused_before_they_do(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(
        ConfigFileError, match=r"line 7: written out, its aliases are more than 500,000 values"
    ):
        load_config(tmp_path / "a.yaml")


def test_aliases_that_stay_small_are_read(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {x: 1}\nb: {<<: *a, y: [*a, *a]}\n")
    assert load_config(tmp_path / "a.yaml") == {"a": {"x": 1}, "b": {"x": 1, "y": [{"x": 1}] * 2}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps({f"key_{n}": n for n in range(60_000)})),
        ("a.yaml", "".join(f"key_{n}: 1\n" for n in range(8_000))),
        ("a.toml", "".join(f"key_{n} = 1\n" for n in range(8_000))),
    ],
)
def test_many_names_take_no_forever(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    began = time.process_time()
    assert len(load_config(tmp_path / name)) >= 8_000
    assert time.process_time() - began < 20


def test_a_key_of_thousands_of_parts_is_refused(tmp_path):
    (tmp_path / "a.toml").write_text("b = 1\na" + ".a" * 501 + " = 1\n")
    with pytest.raises(ConfigFileError, match="line 2: more than 500 dots"):
        load_config(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"a": "\\u0000"}'),
        ("a.json", '{"a": [{"\\ud800": 1}]}'),
        ("a.yaml", 'a: "\\0"'),
        ("a.yaml", 'a: ["\\uD800"]'),
        ("a.toml", 'a = "\\u0000"'),
        ("a.yaml", "a: [0x" + "f" * 5000 + "]"),
        ("a.json", '{"a": ' + "9" * 400 + "}"),
        ("a.toml", "a = 0x" + "f" * 5000),
    ],
)
def test_what_no_text_or_number_can_be_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigFileError, match=r"a character that no text can have|more than 300 digits"):
        load_config(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10**5,
        '{"a":' * 10**5,
        '"\\u0000"',
        '["\\ud800"]',
        b'{"\\udfff": 1}',
        b"\xff",
        "9" * 301,
        "9" * 5000,
        "",
        "{",
    ],
)
def test_json_that_can_not_be_used_is_a_value_error(text):
    with pytest.raises(ValueError, match=r".."):
        parse_json(text)


@pytest.mark.parametrize("text", ["caf\u00e9", "\U0001f600", "not UTF-8: \udcff", "a spelled \\u0000"])
def test_texts_of_files_and_commands_are_read_back(text):
    assert parse_json(json.dumps([text])) == [text]
    assert parse_json(json.dumps({text: text}).encode()) == {text: text}


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
    for suffix, limit in {"json": "4 MiB", "yaml": "512 KiB", "toml": "512 KiB"}.items():
        (tmp_path / f"huge.{suffix}").write_text(" " * (5 << 20))
        with pytest.raises(ConfigFileError, match=f"larger than {limit}"):
            load_config(tmp_path / f"huge.{suffix}")


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


@pytest.mark.parametrize(
    "broken", ["", "{\n", "[1,", "{'a': 1}", "[" * 100_000, "9" * 5000, "[" + "9" * 5000 + "]"]
)
@pytest.mark.parametrize(
    ("begin", "expected"),
    [(r"^[\[{]", [{"a": {"b": 1}}, [2], {"c": 3}]), (r"^\[", [[2]]), (r'\{"[bc]"', [{"b": 1}, {"c": 3}])],
)
def test_json_among_other_text_is_found_once_whatever_is_broken_before_it(broken, begin, expected):
    text = f'note: [1]\n{broken}\n{{"a":\n{{"b": 1}}}} end\n[2]\n5\n{broken}\n{{"c": 3}}'
    assert [*json_values(text, begin)] == expected


def test_the_first_fault_of_a_model_is_told_with_its_place():
    class Rule(BaseModel):
        nice: int

    class Table(BaseModel):
        rules: list[Rule]

    with pytest.raises(ValidationError) as error:
        Table.model_validate({"rules": [{"nice": 1}, {"nice": "x"}, {}]})
    assert first_fault(error.value).startswith("rules.1.nice: Input should be a valid integer")
